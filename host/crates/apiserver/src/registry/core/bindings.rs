//! `v1` Binding.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(namespaced("v1", "bindings", "Binding").verbs(&["create"]))
}
