//! The checks on the content of writes that depend on who writes: what a node may write, which rights may be handed out, who
//! approves certificates.
//!
//! Runs after mutation and before the commit; refuses, never changes.

use pintle_api::{Object, Status};

use super::{Auth, User, certificate_admission, node_restriction, rbac};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// One write, as admission sees it.
pub struct Write<'a> {
    pub operation: Operation,
    pub group: &'a str,
    pub resource: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for cluster-scoped resources.
    pub namespace: &'a str,
    pub name: &'a str,
    /// The object to be; `None` on a deletion.
    pub new: Option<&'a Object>,
    /// The object before; `None` on a creation.
    pub old: Option<&'a Object>,
}

impl Auth {
    /// Whether this user may write this. Superusers pass at once.
    pub fn admit(&self, user: &User, write: &Write<'_>) -> Result<(), Status> {
        if user.in_group(super::SUPERUSERS) {
            return Ok(());
        }
        node_restriction::admit(user, write, &*self.objects)?;
        let Some(new) = write.new else { return Ok(()) };
        match (write.group, write.resource, write.subresource) {
            (rbac::GROUP, resource, "") => rbac::check_escalation(&self.rbac, self, user, resource, new, write.old),
            ("certificates.k8s.io", "certificatesigningrequests", subresource) => {
                certificate_admission::admit(self, user, subresource, new, write.old)
            }
            _ => Ok(()),
        }
    }
}
