//! `v1` ServiceAccount. Tokens are given out by the `token` subresource, which the handlers answer.

use crate::def::namespaced;
use crate::kind::Kind;
use crate::print::{NAME_AND_AGE, name_and_age};
use crate::warnings;

pub fn kind() -> Kind {
    let def = namespaced("v1", "serviceaccounts", "ServiceAccount").short(&["sa"]);
    let def = def.sub_of_kind("token", "authentication.k8s.io/v1", "TokenRequest", &["create"]);
    Kind { warn: warnings::service_account, ..Kind::new(def).table(NAME_AND_AGE, name_and_age) }
}
