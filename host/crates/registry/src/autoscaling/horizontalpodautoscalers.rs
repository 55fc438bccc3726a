//! `autoscaling/v2` HorizontalPodAutoscaler, the form that all versions are stored in.

use pintle_api::metadata::Repeats;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::validate;
use crate::def::namespaced;
use crate::fields::{Fields, default_missing, ensure_object, is_zero, object_mut, spec_mut, text as field_text};
use crate::kind::Kind;
use crate::print::{AGE, NAME, NONE, UNKNOWN, UNSET, age, count, text};
use crate::strategy::{Column, Part};

const CPU_PERCENT: i64 = 80;
const SHOWN_METRICS: usize = 2;
pub const COLUMNS: &[Column] = &[
    NAME,
    text("Reference", "What is scaled."),
    text("Targets", "Measured and wanted values."),
    text("MinPods", "Fewest pods."),
    text("MaxPods", "Most pods."),
    text("Replicas", "Pods now."),
    AGE,
];

pub fn kind() -> Kind {
    Kind {
        repeats: Repeats::UPDATE,
        default,
        create: |scaler, _| {
            scaler.set_at(&["status"], json!({"currentMetrics": null, "desiredReplicas": 0}));
        },
        validate: validate::validate,
        validate_change: |scaler, _, part, faults| {
            if part == Part::Status {
                validate::status(scaler, faults);
            }
        },
        ..Kind::new(namespaced("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler").short(&["hpa"]).in_all().status())
            .table(COLUMNS, cells)
    }
}

fn default(scaler: &mut Value) {
    let Some(spec) = spec_mut(scaler) else { return };
    default_missing(spec, "minReplicas", 1);
    if spec.get("metrics").is_none_or(is_zero) {
        let target = json!({"type": "Utilization", "averageUtilization": CPU_PERCENT});
        spec.insert("metrics".to_owned(), json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    }
    if let Some(behavior) = object_mut(spec, "behavior") {
        default_rules(ensure_object(behavior, "scaleUp"), true);
        default_rules(ensure_object(behavior, "scaleDown"), false);
    }
}

/// Upwards at once and by doubling or four pods, downwards as far as needed.
fn default_rules(rules: &mut Fields, up: bool) {
    default_missing(rules, "selectPolicy", "Max");
    if up {
        default_missing(rules, "stabilizationWindowSeconds", 0);
    }
    // An empty list is not the same as none: it is refused.
    if rules.get("policies").is_none_or(Value::is_null) {
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        rules.insert("policies".to_owned(), if up { json!([pods, percent]) } else { json!([percent]) });
    }
}

pub fn cells(scaler: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let target = format!("{}/{}", scaler.str_at(&["spec", "scaleTargetRef", "kind"]), scaler.str_at(&["spec", "scaleTargetRef", "name"]));
    let min = scaler.i64_at(&["spec", "minReplicas"]).map_or(UNSET.to_owned(), |m| m.to_string());
    vec![
        scaler.name().into(),
        target.into(),
        metrics(scaler).into(),
        min.into(),
        count(scaler, &["spec", "maxReplicas"]),
        count(scaler, &["status", "currentReplicas"]),
        age(scaler, now),
    ]
}

fn metrics(scaler: &Value) -> String {
    let current = scaler.list_at(&["status", "currentMetrics"]);
    let words: Vec<String> = scaler.list_at(&["spec", "metrics"]).iter().enumerate().map(|(i, m)| metric(m, current.get(i))).collect();
    match words.len() {
        0 => NONE.to_owned(),
        n if n > SHOWN_METRICS => format!("{} + {} more...", words[..SHOWN_METRICS].join(", "), n - SHOWN_METRICS),
        _ => words.join(", "),
    }
}

fn metric(metric: &Value, status: Option<&Value>) -> String {
    let source = match metric.str_at(&["type"]) {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let known = |field: &str| {
        let found = status.map(|s| field_text(s, &[source, "current", field])).unwrap_or_default();
        if found.is_empty() { UNKNOWN.to_owned() } else { found }
    };
    let wanted = |field: &str| field_text(metric, &[source, "target", field]);
    let name = metric.str_at(&[source, "name"]);
    let head = if name.is_empty() { String::new() } else { format!("{name}: ") };
    let average = wanted("averageValue");
    if !average.is_empty() {
        let tail = if matches!(source, "external" | "object") { " (avg)" } else { "" };
        return format!("{head}{}/{average}{tail}", known("averageValue"));
    }
    if name.is_empty() {
        return format!("{}/{}", known("value"), wanted("value"));
    }
    let percent = |value: String| if value.is_empty() || value == UNKNOWN { value } else { format!("{value}%") };
    let target = percent(wanted("averageUtilization"));
    format!("{head}{}/{}", percent(known("averageUtilization")), if target.is_empty() { "<auto>" } else { &target })
}
