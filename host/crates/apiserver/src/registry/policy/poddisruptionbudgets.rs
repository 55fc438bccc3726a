//! `policy/v1` PodDisruptionBudget.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        unconditional_update: false,
        ..Kind::new(namespaced("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget").short(&["pdb"]).status())
    }
}
