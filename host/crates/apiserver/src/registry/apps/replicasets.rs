//! `apps/v1` ReplicaSet.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(namespaced("apps/v1", "replicasets", "ReplicaSet").short(&["rs"]).in_all().status().scale()) }
}
