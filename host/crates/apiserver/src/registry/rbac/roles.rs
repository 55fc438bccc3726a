//! `rbac.authorization.k8s.io/v1` Role.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { create_on_update: true, ..Kind::new(namespaced("rbac.authorization.k8s.io/v1", "roles", "Role")) }
}
