//! `resource.k8s.io/v1` ResourceClaimTemplate.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(namespaced("resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate"))
}
