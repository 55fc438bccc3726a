//! What the kinds that make pods from a template share: checks of selector and template, replicas, and their columns.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::checks::{is_empty_selector, label_selector, nonnegative};
use super::faults::{Faults, Path};
use super::fields::is_set;
use super::podspec::{template, validate_template, validate_template_labels};

pub const SPEC: Path<'static> = Path::root("spec");
const STATUS: Path<'static> = Path::root("status");

/// `kind` as messages write it: `ReplicaSet`.
pub fn validate_selector_and_template(object: &Value, kind: &str, faults: &mut Faults) {
    let null = Value::Null;
    let selector = object.at(&["spec", "selector"]).filter(|s| !s.is_null());
    let path = SPEC.field("selector");
    let mut own = Faults::default();
    match selector {
        None if kind == "DaemonSet" => {}
        None => faults.required(&path, ""),
        Some(selector) => {
            label_selector(selector, &path, &mut own);
            if is_empty_selector(Some(selector)) {
                // ReplicaSets are told what Deployments are.
                let told = if kind == "ReplicaSet" { "deployment".to_owned() } else { kind.to_ascii_lowercase() };
                faults.invalid_shown(&path, &shown_selector(selector), &format!("empty selector is invalid for {told}"));
            }
        }
    }
    let is_usable = own.is_empty();
    own.into_causes().into_iter().for_each(|cause| faults.push(cause));
    let template_path = SPEC.field("template");
    let template = object.at(&["spec", "template"]).unwrap_or(&null);
    match (selector, kind) {
        (Some(selector), "Deployment" | "ReplicaSet") if !is_usable => {
            // The template is not looked at then.
            return faults.invalid_shown(&path, &shown_selector(selector), "invalid label selector");
        }
        (Some(selector), "StatefulSet") if !is_usable => return faults.invalid_shown(&path, &shown_selector(selector), ""),
        (Some(_), _) if !is_usable => {}
        (Some(selector), _) if is_empty_selector(Some(selector)) => {}
        // No selector selects nothing.
        (selector, _) => validate_template_labels(selector.unwrap_or(&null), template, &template_path, faults),
    }
    validate_template(template, &template_path, faults);
    template::validate_restart_always(template, kind, &template_path, faults);
}

/// As upstream prints a `LabelSelector`, in the order of the type.
fn shown_selector(selector: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(labels) = selector.map_at(&["matchLabels"]).filter(|l| !l.is_empty()) {
        parts.push(format!("\"matchLabels\":{}", Value::Object(labels.clone())));
    }
    let expressions: Vec<String> = selector.list_at(&["matchExpressions"]).iter().map(shown_expression).collect();
    if !expressions.is_empty() {
        parts.push(format!("\"matchExpressions\":[{}]", expressions.join(",")));
    }
    format!("{{{}}}", parts.join(","))
}

fn shown_expression(expression: &Value) -> String {
    let text = |field: &str| Value::from(expression.str_at(&[field]));
    let values = expression.get("values").filter(|v| !super::fields::is_zero(v)).map_or(String::new(), |v| format!(",\"values\":{v}"));
    format!("{{\"key\":{},\"operator\":{}{values}}}", text("key"), text("operator"))
}

pub fn nonnegative_spec(object: &Value, fields: &[&str], faults: &mut Faults) {
    for field in fields {
        nonnegative(object.at(&["spec", field]), &SPEC.field(field), faults);
    }
}

/// Counts in the status are not negative, none is above `replicas`, and what is available is ready.
pub fn validate_replica_status(object: &Value, counted: &[&str], faults: &mut Faults) {
    let count = |field: &str| object.i64_at(&["status", field]).unwrap_or(0);
    for field in counted.iter().chain(&["replicas", "unavailableReplicas", "terminatingReplicas", "observedGeneration", "collisionCount"]) {
        nonnegative(object.at(&["status", field]), &STATUS.field(field), faults);
    }
    for field in counted.iter().filter(|f| count(f) > count("replicas")) {
        faults.invalid(&STATUS.field(field), &count(field).into(), "cannot be greater than status.replicas");
    }
    if counted.contains(&"availableReplicas") && count("availableReplicas") > count("readyReplicas") {
        // StatefulSets alone are told the whole path.
        let detail =
            if counted.contains(&"currentReplicas") { "cannot be greater than status.readyReplicas" } else { "cannot be greater than readyReplicas" };
        faults.invalid(&STATUS.field("availableReplicas"), &count("availableReplicas").into(), detail);
    }
}

pub fn no_smaller_collision_count(new: &Value, old: &Value, faults: &mut Faults) {
    let count = |o: &Value| o.i64_at(&["status", "collisionCount"]);
    if count(old).is_some_and(|before| count(new).unwrap_or(0) < before) {
        faults.invalid(&STATUS.field("collisionCount"), &count(new).unwrap_or(0).into(), "cannot be decremented");
    }
}

/// The number behind an `IntOrString`, percent or not; what a rolling update may do is judged by zero or not.
pub fn int_or_percent_value(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::String(text)) => super::checks::percent(text).or_else(|| text.parse().ok()).unwrap_or(0),
        other => other.and_then(Value::as_i64).unwrap_or(0),
    }
}

pub fn is_template_set(object: &Value) -> bool {
    is_set(object.at(&["spec", "template"]))
}
