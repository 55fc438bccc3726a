//! `v1` ReplicationController.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        propagation: "orphan",
        ..Kind::new(namespaced("v1", "replicationcontrollers", "ReplicationController").short(&["rc"]).in_all().status().scale())
    }
}
