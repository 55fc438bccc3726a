//! `rbac.authorization.k8s.io/v1` ClusterRoleBinding.

use pintle_api::names::NameRule;

use super::rules::{BINDING_COLUMNS, binding_cells, default_binding, fixed_role, validate_binding};
use crate::def::cluster;
use crate::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        names: NameRule::PathSegment,
        create_on_update: true,
        default: default_binding,
        validate: |binding, faults| validate_binding(binding, false, faults),
        validate_change: |new, old, _, faults| fixed_role(new, old, faults),
        ..Kind::new(cluster("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding")).table(BINDING_COLUMNS, binding_cells)
    }
}
