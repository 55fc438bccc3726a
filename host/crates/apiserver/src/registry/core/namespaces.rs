//! `v1` Namespace.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(
        cluster("v1", "namespaces", "Namespace")
            .short(&["ns"])
            .verbs(&["create", "delete", "get", "list", "patch", "update", "watch"])
            .status()
            .sub("finalize", &["update"]),
    )
}
