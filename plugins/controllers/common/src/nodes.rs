//! Which nodes a pod may run on: node selector, required node affinity, taints and tolerations. As the scheduler judges, for controllers
//! that must know before it.

use serde_json::Value;

use crate::fields::Fields;

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// `spec.nodeSelector` and the required part of `spec.affinity.nodeAffinity` of a pod's spec.
pub fn is_selected_by(node: &Value, pod_spec: &Value) -> bool {
    let wanted = pod_spec.at(&["nodeSelector"]).and_then(Value::as_object);
    if wanted.into_iter().flatten().any(|(key, value)| node.labels().and_then(|l| l.get(key)) != Some(value)) {
        return false;
    }
    let required = pod_spec.at(&["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"]).filter(|r| !r.is_null());
    required.is_none_or(|r| r.items(&["nodeSelectorTerms"]).iter().any(|term| term_matches(term, node)))
}

/// A term without requirements matches no node.
fn term_matches(term: &Value, node: &Value) -> bool {
    let (labels, fields) = (term.items(&["matchExpressions"]), term.items(&["matchFields"]));
    let field = |key: &str| (key == "metadata.name").then(|| node.name());
    let label = |key: &str| node.labels().and_then(|l| l.get(key)).and_then(Value::as_str);
    !(labels.is_empty() && fields.is_empty())
        && labels.iter().all(|r| requirement_holds(r, label(r.text(&["key"]))))
        && fields.iter().all(|r| requirement_holds(r, field(r.text(&["key"]))))
}

fn requirement_holds(requirement: &Value, found: Option<&str>) -> bool {
    let values = requirement.items(&["values"]);
    let listed = || found.is_some_and(|f| values.iter().any(|v| v == f));
    let compared = |test: fn(i64, i64) -> bool| {
        let bound = values.first().and_then(Value::as_str).and_then(|v| v.parse().ok());
        found.and_then(|f| f.parse().ok()).zip(bound).is_some_and(|(f, b)| test(f, b))
    };
    match requirement.text(&["operator"]) {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => compared(|f, b| f > b),
        "Lt" => compared(|f, b| f < b),
        _ => false,
    }
}

pub fn taints(node: &Value) -> &[Value] {
    node.items(&["spec", "taints"])
}

/// The first taint of one of these effects that no toleration covers.
pub fn untolerated<'a>(taints: &'a [Value], tolerations: &[Value], effects: &[&str]) -> Option<&'a Value> {
    taints.iter().filter(|t| effects.contains(&t.text(&["effect"]))).find(|taint| !tolerations.iter().any(|t| tolerates(t, taint)))
}

pub fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let (effect, key) = (toleration.text(&["effect"]), toleration.text(&["key"]));
    if !effect.is_empty() && effect != taint.text(&["effect"]) || !key.is_empty() && key != taint.text(&["key"]) {
        return false;
    }
    match toleration.text(&["operator"]) {
        "" | "Equal" => !key.is_empty() && toleration.text(&["value"]) == taint.text(&["value"]),
        "Exists" => true,
        _ => false,
    }
}
