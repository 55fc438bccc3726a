//! `apps/v1` ControllerRevision.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(namespaced("apps/v1", "controllerrevisions", "ControllerRevision"))
}
