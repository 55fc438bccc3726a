//! `resource.k8s.io/v1` ResourceClaim.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(namespaced("resource.k8s.io/v1", "resourceclaims", "ResourceClaim").status())
}
