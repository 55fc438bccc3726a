//! `v1` PodTemplate.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(namespaced("v1", "podtemplates", "PodTemplate")) }
}
