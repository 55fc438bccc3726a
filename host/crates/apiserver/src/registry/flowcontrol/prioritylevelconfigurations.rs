//! `flowcontrol.apiserver.k8s.io/v1` PriorityLevelConfiguration.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        ..Kind::new(cluster("flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations", "PriorityLevelConfiguration").status())
    }
}
