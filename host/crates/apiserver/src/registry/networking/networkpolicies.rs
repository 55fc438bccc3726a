//! `networking.k8s.io/v1` NetworkPolicy.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(namespaced("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy").short(&["netpol"])) }
}
