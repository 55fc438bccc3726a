//! `v1` ConfigMap.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(namespaced("v1", "configmaps", "ConfigMap").short(&["cm"]))
}
