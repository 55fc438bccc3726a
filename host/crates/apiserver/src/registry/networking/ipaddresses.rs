//! `networking.k8s.io/v1` IPAddress.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(cluster("networking.k8s.io/v1", "ipaddresses", "IPAddress").short(&["ip"]))
}
