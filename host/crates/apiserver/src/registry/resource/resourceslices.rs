//! `resource.k8s.io/v1` ResourceSlice.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(cluster("resource.k8s.io/v1", "resourceslices", "ResourceSlice")) }
}
