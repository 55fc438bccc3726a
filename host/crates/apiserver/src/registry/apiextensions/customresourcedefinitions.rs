//! `apiextensions.k8s.io/v1` CustomResourceDefinition.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        unconditional_update: false,
        ..Kind::new(
            cluster("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition")
                .short(&["crd", "crds"])
                .categories(&["api-extensions"])
                .status(),
        )
    }
}
