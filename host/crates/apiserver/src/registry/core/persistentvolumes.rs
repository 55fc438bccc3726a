//! `v1` PersistentVolume.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(cluster("v1", "persistentvolumes", "PersistentVolume").short(&["pv"]).status())
}
