//! Where writes pass the authorizer's checks of their content ([`crate::auth::gate`]): after mutation, before the commit.

use pintle_api::{Object, Status};

use super::{Core, SubresourceCall};
use crate::admission::{self, AdmissionAttributes};
use crate::auth::User;
use crate::auth::write::{Operation, Write};

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
