//! `rbac.authorization.k8s.io/v1` Role. Whether the writer may grant these rules is the authorizer's question, asked by the handlers.

use pintle_api::names::NameRule;

use super::rules::validate_rules;
use crate::def::namespaced;
use crate::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        names: NameRule::PathSegment,
        create_on_update: true,
        validate: |role, faults| validate_rules(role, true, faults),
        ..Kind::new(namespaced("rbac.authorization.k8s.io/v1", "roles", "Role"))
    }
}
