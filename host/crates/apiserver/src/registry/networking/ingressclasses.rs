//! `networking.k8s.io/v1` IngressClass.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(cluster("networking.k8s.io/v1", "ingressclasses", "IngressClass")) }
}
