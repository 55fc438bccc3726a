//! The checks on the content of writes that depend on who writes: what a node may write, which rights may be handed out, who
//! approves certificates.
//!
//! Runs after mutation and before the commit; refuses, never changes.

use pintle_api::{Object, Status};

use super::{Auth, User, certificate_admission, node_restriction, rbac};
use crate::admission::{self, AdmissionAttributes};
use crate::handlers::{Core, SubresourceCall};

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

/// Whether this user may write this. Superusers pass at once.
pub fn check(auth: &Auth, user: &User, write: &Write<'_>) -> Result<(), Status> {
    if user.in_group(super::SUPERUSERS) {
        return Ok(());
    }
    node_restriction::admit(user, write, &*auth.objects)?;
    let Some(new) = write.new else { return Ok(()) };
    match (write.group, write.resource, write.subresource) {
        (rbac::GROUP, resource, "") => rbac::check_escalation(&auth.rbac, auth, user, resource, new, write.old),
        ("certificates.k8s.io", "certificatesigningrequests", subresource) => certificate_admission::admit(auth, user, subresource, new, write.old),
        _ => Ok(()),
    }
}

impl Core {
    /// For the write pipeline: the gate with what admission was given. `new` is `None` on a deletion.
    pub fn gate(&self, user: &User, new: Option<&Object>, attributes: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let def = attributes.resource.def();
        let operation = match attributes.operation {
            admission::Operation::Create => Operation::Create,
            admission::Operation::Update => Operation::Update,
            admission::Operation::Delete => Operation::Delete,
            admission::Operation::Connect => return Ok(()),
        };
        let AdmissionAttributes { subresource, namespace, name, old, .. } = *attributes;
        self.authorizer.admit(user, &Write { operation, group: &def.group, resource: &def.resource, subresource, namespace, name, new, old })
    }
}

impl SubresourceCall {
    /// The gate for what is posted to a subresource: token requests, evictions, bindings.
    pub fn gate(&self) -> Result<(), Status> {
        let (scope, def) = (&self.scope, self.scope.resource.def());
        let write = Write {
            operation: Operation::Create,
            group: &def.group,
            resource: &def.resource,
            subresource: &scope.subresource,
            namespace: &scope.namespace,
            name: &scope.name,
            new: Some(&self.object),
            old: None,
        };
        self.core.authorizer.admit(&scope.user, &write)
    }
}
