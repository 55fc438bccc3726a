//! `apps/v1` Deployment.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(namespaced("apps/v1", "deployments", "Deployment").short(&["deploy"]).in_all().status().scale()) }
}
