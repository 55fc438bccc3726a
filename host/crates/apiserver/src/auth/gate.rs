//! The checks on the content of writes that depend on who writes: what a node may write, which rights may be handed out, who
//! approves certificates.
//!
//! Runs after mutation and before the commit; refuses, never changes.

use pintle_api::Status;

use super::write::Write;
use super::{Auth, User, certificate_admission, node_restriction, plugin_grants, rbac};

/// Whether this user may write this. Superusers pass at once.
pub fn check(auth: &Auth, user: &User, write: &Write<'_>) -> Result<(), Status> {
    if user.in_group(super::SUPERUSERS) {
        return Ok(());
    }
    node_restriction::admit(user, write, &*auth.objects)?;
    let Some(new) = write.new else { return Ok(()) };
    match (write.group, write.resource, write.subresource) {
        (rbac::GROUP, resource, "") => rbac::check_escalation(&auth.rbac, auth, user, resource, new, write.old),
        (super::PLUGIN_GROUP, "plugins", "") => plugin_grants::check(&auth.rbac, auth, user, new, write.old),
        ("certificates.k8s.io", "certificatesigningrequests", subresource) => certificate_admission::admit(auth, user, subresource, new, write.old),
        _ => Ok(()),
    }
}
