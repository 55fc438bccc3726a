//! `rbac.authorization.k8s.io/v1` ClusterRole.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { create_on_update: true, ..Kind::new(cluster("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole")) }
}
