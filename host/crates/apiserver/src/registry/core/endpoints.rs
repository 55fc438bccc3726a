//! `v1` Endpoints.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { create_on_update: true, ..Kind::new(namespaced("v1", "endpoints", "Endpoints").short(&["ep"])) }
}
