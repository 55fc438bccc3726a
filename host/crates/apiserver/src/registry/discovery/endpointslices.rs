//! `discovery.k8s.io/v1` EndpointSlice.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(namespaced("discovery.k8s.io/v1", "endpointslices", "EndpointSlice")) }
}
