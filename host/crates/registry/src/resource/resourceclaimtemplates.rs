//! `resource.k8s.io/v1` ResourceClaimTemplate. Stored for its clients; nothing here allocates devices.

use crate::def::namespaced;
use crate::kind::Kind;
use crate::print::{NAME_AND_AGE, name_and_age};

pub fn kind() -> Kind {
    Kind {
        generation: false,
        ..Kind::new(namespaced("resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate")).table(NAME_AND_AGE, name_and_age)
    }
}
