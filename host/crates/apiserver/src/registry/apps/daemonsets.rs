//! `apps/v1` DaemonSet.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(namespaced("apps/v1", "daemonsets", "DaemonSet").short(&["ds"]).in_all().status()) }
}
