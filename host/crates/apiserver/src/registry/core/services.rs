//! `v1` Service.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        create_on_update: true,
        ..Kind::new(namespaced("v1", "services", "Service").short(&["svc"]).in_all().status().sub_of_kind(
            "proxy",
            "v1",
            "ServiceProxyOptions",
            &["create", "delete", "get", "patch", "update"],
        ))
    }
}
