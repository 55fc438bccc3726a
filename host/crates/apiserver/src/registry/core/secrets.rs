//! `v1` Secret.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(namespaced("v1", "secrets", "Secret"))
}
