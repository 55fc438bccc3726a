//! `node.k8s.io/v1` RuntimeClass.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { create_on_update: true, unconditional_update: false, ..Kind::new(cluster("node.k8s.io/v1", "runtimeclasses", "RuntimeClass")) }
}
