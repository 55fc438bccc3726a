//! `pintle.dev/v1alpha1` Plugin.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(cluster("pintle.dev/v1alpha1", "plugins", "Plugin").short(&["plug"]).status()) }
}
