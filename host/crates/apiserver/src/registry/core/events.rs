//! `v1` Event.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { create_on_update: true, ..Kind::new(namespaced("v1", "events", "Event").short(&["ev"])) }
}
