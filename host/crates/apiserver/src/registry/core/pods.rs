//! `v1` Pod.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        ..Kind::new(
            namespaced("v1", "pods", "Pod")
                .short(&["po"])
                .in_all()
                .status()
                .sub_of_kind("attach", "v1", "PodAttachOptions", &["create", "get"])
                .sub_of_kind("binding", "v1", "Binding", &["create"])
                .sub("ephemeralcontainers", &["get", "patch", "update"])
                .sub_of_kind("eviction", "policy/v1", "Eviction", &["create"])
                .sub_of_kind("exec", "v1", "PodExecOptions", &["create", "get"])
                .sub("log", &["get"])
                .sub_of_kind("portforward", "v1", "PodPortForwardOptions", &["create", "get"])
                .sub_of_kind("proxy", "v1", "PodProxyOptions", &["create", "delete", "get", "patch", "update"])
                .sub("resize", &["get", "patch", "update"]),
        )
    }
}
