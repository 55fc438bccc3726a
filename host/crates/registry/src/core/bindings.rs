//! `v1` Binding.

use crate::def::namespaced;
use crate::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(namespaced("v1", "bindings", "Binding").verbs(&["create"]))
}
