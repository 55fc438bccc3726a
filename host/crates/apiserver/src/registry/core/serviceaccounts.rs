//! `v1` ServiceAccount.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(namespaced("v1", "serviceaccounts", "ServiceAccount").short(&["sa"]).sub_of_kind(
        "token",
        "authentication.k8s.io/v1",
        "TokenRequest",
        &["create"],
    ))
}
