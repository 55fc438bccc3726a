//! `v1` ServiceAccount. Tokens are given out by the `token` subresource, which the handlers answer.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;
use crate::registry::print::{NAME_AND_AGE, name_and_age};

pub fn kind() -> Kind {
    let def = namespaced("v1", "serviceaccounts", "ServiceAccount").short(&["sa"]);
    Kind::new(def.sub_of_kind("token", "authentication.k8s.io/v1", "TokenRequest", &["create"])).table(NAME_AND_AGE, name_and_age)
}
