//! `rbac.authorization.k8s.io/v1` ClusterRole. Whether the writer may grant these rules is the authorizer's question, asked by the handlers.

use pintle_api::names::NameRule;

use super::rules::validate_rules;
use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        names: NameRule::PathSegment,
        create_on_update: true,
        validate: |role, faults| validate_rules(role, false, faults),
        ..Kind::new(cluster("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole"))
    }
}
