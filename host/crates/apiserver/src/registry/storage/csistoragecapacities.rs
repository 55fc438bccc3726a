//! `storage.k8s.io/v1` CSIStorageCapacity.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { unconditional_update: false, ..Kind::new(namespaced("storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity")) }
}
