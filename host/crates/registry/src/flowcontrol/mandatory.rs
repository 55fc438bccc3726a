//! The objects of flow control that every cluster has, and that nobody may change: made when a server starts, and held against what is written.

use serde_json::{Value, json};

const EXEMPT: &str = "exempt";
const CATCH_ALL: &str = "catch-all";
pub const NAMES: [&str; 2] = [EXEMPT, CATCH_ALL];

/// The spec of the FlowSchema of that name, where it is one of them.
pub fn flow_schema(name: &str) -> Option<Value> {
    let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
    let spec = |precedence: i64, subjects: Value| {
        json!({
            "matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": name},
            "rules": [{
                "subjects": subjects,
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }],
        })
    };
    Some(match name {
        EXEMPT => spec(1, json!([group("system:masters")])),
        CATCH_ALL => {
            let mut spec = spec(10_000, json!([group("system:unauthenticated"), group("system:authenticated")]));
            spec["distinguisherMethod"] = json!({"type": "ByUser"});
            spec
        }
        _ => return None,
    })
}

/// The same of the PriorityLevelConfiguration.
pub fn priority_level(name: &str) -> Option<Value> {
    Some(match name {
        EXEMPT => json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
        CATCH_ALL => {
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}})
        }
        _ => return None,
    })
}
