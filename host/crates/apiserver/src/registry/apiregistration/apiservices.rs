//! `apiregistration.k8s.io/v1` APIService.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        unconditional_update: false,
        ..Kind::new(cluster("apiregistration.k8s.io/v1", "apiservices", "APIService").categories(&["api-extensions"]).status())
    }
}
