//! `networking.k8s.io/v1` ServiceCIDR.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(cluster("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR").status())
}
