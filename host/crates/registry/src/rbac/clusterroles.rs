//! `rbac.authorization.k8s.io/v1` ClusterRole. Whether the writer may grant these rules is the authorizer's question, asked by the handlers.

use pintle_api::names::NameRule;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::rules::validate_rules;
use crate::checks::label_selector;
use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        names: NameRule::PathSegment,
        create_on_update: true,
        validate: |role, faults| {
            validate_rules(role, false, faults);
            aggregation(role, faults);
        },
        ..Kind::new(cluster("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole"))
    }
}

fn aggregation(role: &Value, faults: &mut Faults) {
    let Some(rule) = role.get("aggregationRule").filter(|r| !r.is_null()) else { return };
    let list = Path::root("aggregationRule.clusterRoleSelectors");
    let selectors = rule.list_at(&["clusterRoleSelectors"]);
    if selectors.is_empty() {
        faults.required(&list, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for (i, selector) in selectors.iter().enumerate() {
        let (here, mut own) = (list.index(i), Faults::default());
        label_selector(selector, &here, &mut own);
        if !own.is_empty() {
            faults.invalid(&here, &Value::Null, "invalid label selector.");
        }
        own.into_causes().into_iter().for_each(|cause| faults.push(cause));
    }
}
