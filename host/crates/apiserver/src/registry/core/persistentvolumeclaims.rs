//! `v1` PersistentVolumeClaim.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(namespaced("v1", "persistentvolumeclaims", "PersistentVolumeClaim").short(&["pvc"]).status())
}
