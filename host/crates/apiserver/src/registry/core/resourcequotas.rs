//! `v1` ResourceQuota.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(namespaced("v1", "resourcequotas", "ResourceQuota").short(&["quota"]).status())
}
