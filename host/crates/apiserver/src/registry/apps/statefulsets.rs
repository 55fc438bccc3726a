//! `apps/v1` StatefulSet.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(namespaced("apps/v1", "statefulsets", "StatefulSet").short(&["sts"]).in_all().status().scale()) }
}
