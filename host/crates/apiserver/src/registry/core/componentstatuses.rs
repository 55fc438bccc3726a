//! `v1` ComponentStatus.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(cluster("v1", "componentstatuses", "ComponentStatus").short(&["cs"]).verbs(&["get", "list"]))
}
