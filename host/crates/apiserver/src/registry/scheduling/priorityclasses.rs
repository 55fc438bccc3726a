//! `scheduling.k8s.io/v1` PriorityClass.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(cluster("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass").short(&["pc"])) }
}
