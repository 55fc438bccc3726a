//! `v1` Node.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(cluster("v1", "nodes", "Node").short(&["no"]).status().sub_of_kind(
        "proxy",
        "v1",
        "NodeProxyOptions",
        &["create", "delete", "get", "patch", "update"],
    ))
}
