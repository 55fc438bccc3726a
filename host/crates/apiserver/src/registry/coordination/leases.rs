//! `coordination.k8s.io/v1` Lease.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { create_on_update: true, unconditional_update: false, ..Kind::new(namespaced("coordination.k8s.io/v1", "leases", "Lease")) }
}
