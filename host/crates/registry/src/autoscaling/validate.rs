//! What upstream refuses in HorizontalPodAutoscalers. Called by the strategies of both versions, on the stored form.

use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use pintle_api::{Cause, names};
use serde_json::Value;

use crate::checks::{nonnegative, nonnegative_quantity, one_of};
use crate::faults::{Faults, Path};
use crate::fields::is_set;
use crate::podspec::resources;
use crate::workload::SPEC;

const MAX_WINDOW_SECONDS: i64 = 3600;
const MAX_PERIOD_SECONDS: i64 = 1800;
/// In the order in which upstream looks at them.
const SOURCES: [(&str, &str); 5] =
    [("Object", "object"), ("External", "external"), ("Pods", "pods"), ("Resource", "resource"), ("ContainerResource", "containerResource")];
const SOURCE_NAMES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

pub fn validate(scaler: &Value, faults: &mut Faults) {
    let (min, max) = (scaler.i64_at(&["spec", "minReplicas"]), scaler.i64_at(&["spec", "maxReplicas"]).unwrap_or(0));
    if let Some(min) = min.filter(|m| *m < 1) {
        faults.invalid(&SPEC.field("minReplicas"), &min.into(), "must be greater than or equal to 1");
    }
    let path = SPEC.field("maxReplicas");
    match max {
        0 => faults.required(&path, "must be set and greater than 0"),
        ..0 => faults.invalid(&path, &max.into(), "must be greater than or equal to 1"),
        _ => {}
    }
    if min.is_some_and(|min| max < min) {
        faults.invalid(&path, &max.into(), "must be greater than or equal to `minReplicas`");
    }
    let target = scaler.at(&["spec", "scaleTargetRef"]).unwrap_or(&Value::Null);
    let core = target.str_at(&["kind"]) == "ReplicationController";
    reference(target, core, &SPEC.field("scaleTargetRef"), faults);
    let list = SPEC.field("metrics");
    let metrics = scaler.list_at(&["spec", "metrics"]);
    for (i, one) in metrics.iter().enumerate() {
        metric(one, &list.index(i), faults);
    }
    if min == Some(0) && !metrics.iter().any(|m| matches!(m.str_at(&["type"]), "Object" | "External")) {
        faults.forbidden(&list, "must specify at least one Object or External metric to support scaling to zero replicas");
    }
    let behavior = SPEC.field("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(asked) = scaler.at(&["spec", "behavior", direction]).filter(|r| !r.is_null()) {
            rules(asked, &behavior.field(direction), faults);
        }
    }
}

pub fn status(scaler: &Value, faults: &mut Faults) {
    let path = Path::root("status");
    for field in ["currentReplicas", "desiredReplicas"] {
        nonnegative(scaler.at(&["status", field]), &path.field(field), faults);
    }
}

/// A `CrossVersionObjectReference`. `core`: whether it may be of the group without a name. Of what is scaled only ReplicationControllers are.
fn reference(target: &Value, core: bool, path: &Path<'_>, faults: &mut Faults) {
    for field in ["kind", "name"] {
        match target.str_at(&[field]) {
            "" => faults.required(&path.field(field), ""),
            word => faults.texts(&path.field(field), word, names::path_segment(word, false)),
        }
    }
    let version = target.str_at(&["apiVersion"]);
    match version.matches('/').count() {
        0 if !core => faults.invalid_str(&path.field("apiVersion"), version, "apiVersion must specify API group"),
        0 | 1 => {}
        _ => faults.invalid_str(&path.field("apiVersion"), version, &format!("unexpected GroupVersion string: {version}")),
    }
}

fn metric(metric: &Value, path: &Path<'_>, faults: &mut Faults) {
    let kind = metric.str_at(&["type"]);
    let here = path.field("type");
    if kind.is_empty() {
        faults.required(&here, "must specify a metric source type");
    }
    let expected = SOURCES.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    if expected.is_none() {
        faults.not_supported(&here, kind, &SOURCE_NAMES);
    }
    let present: Vec<&str> = SOURCES.iter().map(|(_, field)| *field).filter(|field| is_set(metric.get(*field))).collect();
    if let Some(first) = present.first() {
        source(first, &metric[*first], &path.field(first), faults);
    }
    match expected {
        Some(field) if !present.contains(&field) => faults.required(&path.field(field), "must populate information for the given metric source"),
        Some(_) => {}
        // Upstream looks at the type twice.
        None => faults.not_supported(&here, kind, &SOURCE_NAMES),
    }
    if present.len() != 1 {
        for field in present.iter().filter(|field| Some(**field) != expected) {
            faults.forbidden(&path.field(field), "must populate the given metric source only");
        }
    }
}

fn source(kind: &str, source: &Value, path: &Path<'_>, faults: &mut Faults) {
    let target_path = path.field("target");
    let target = source.get("target").unwrap_or(&Value::Null);
    let has = |field: &str| is_set(target.get(field));
    match kind {
        "object" => reference(source.get("describedObject").unwrap_or(&Value::Null), true, &path.field("describedObject"), faults),
        "resource" | "containerResource" => {
            let (name, here) = (source.str_at(&["name"]), path.field("name"));
            if name.is_empty() {
                faults.required(&here, "must specify a resource name");
            } else if kind == "containerResource" {
                resources::resource_name(name, &here, faults);
            }
        }
        _ => {}
    }
    if kind == "containerResource" {
        match source.str_at(&["container"]) {
            "" => faults.required(&path.field("container"), "must specify a container"),
            name => faults.texts(&path.field("container"), name, names::dns1123_label(name)),
        }
    }
    if matches!(kind, "object" | "external" | "pods") {
        let here = path.field("metric");
        match source.str_at(&["metric", "name"]) {
            "" => faults.required(&here.field("name"), "must specify a metric name"),
            name => faults.texts(&here.field("name"), name, names::path_segment(name, false)),
        }
    }
    metric_target(target, &target_path, faults);
    let (missing, said) = match kind {
        "object" => (!has("value") && !has("averageValue"), ("averageValue", "must set either a target value or averageValue")),
        "external" => (!has("value") && !has("averageValue"), ("averageValue", "must set either a target value for metric or a per-pod target")),
        "pods" => (!has("averageValue"), ("averageValue", "must specify a positive target averageValue")),
        _ => {
            let neither = !has("averageUtilization") && !has("averageValue");
            (neither, ("averageUtilization", "must set either a target raw value or a target utilization"))
        }
    };
    if missing {
        faults.required(&target_path.field(said.0), said.1);
    }
    match kind {
        "external" if has("value") && has("averageValue") => {
            faults.forbidden(&target_path.field("value"), "may not set both a target value for metric and a per-pod target");
        }
        "resource" | "containerResource" if has("averageUtilization") && has("averageValue") => {
            faults.forbidden(&target_path.field("averageValue"), "may not set both a target raw value and a target utilization");
        }
        _ => {}
    }
}

fn metric_target(target: &Value, path: &Path<'_>, faults: &mut Faults) {
    let kind = target.str_at(&["type"]);
    if kind.is_empty() {
        faults.required(&path.field("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        faults.invalid_str(&path.field("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        let quantity = target.get(field).filter(|v| !v.is_null()).and_then(|v| Quantity::from_value(v).ok());
        if let Some(quantity) = quantity.filter(|q| q.is_zero() || q.is_negative()) {
            faults.invalid_str(&path.field(field), &quantity.to_string(), "must be positive");
        }
    }
    if let Some(percent) = target.i64_at(&["averageUtilization"]).filter(|p| *p < 1) {
        faults.invalid(&path.field("averageUtilization"), &percent.into(), "must be greater than 0");
    }
}

fn rules(rules: &Value, path: &Path<'_>, faults: &mut Faults) {
    let here = path.field("stabilizationWindowSeconds");
    match rules.i64_at(&["stabilizationWindowSeconds"]) {
        Some(seconds @ ..0) => faults.invalid(&here, &seconds.into(), "must be greater than or equal to zero"),
        Some(seconds) if seconds > MAX_WINDOW_SECONDS => {
            faults.invalid(&here, &seconds.into(), &format!("must be less than or equal to {MAX_WINDOW_SECONDS}"));
        }
        _ => {}
    }
    if let Some(policy) = rules.get("selectPolicy").and_then(Value::as_str) {
        let supported = ["Disabled", "Max", "Min"];
        if !supported.contains(&policy) {
            faults.push(Cause::not_supported(path.field("selectPolicy").to_string(), &policy.into(), &supported));
        }
    }
    let list = path.field("policies");
    let policies = rules.list_at(&["policies"]);
    if policies.is_empty() {
        faults.required(&list, "must specify at least one Policy");
    }
    for (i, policy) in policies.iter().enumerate() {
        scaling_policy(policy, &list.index(i), faults);
    }
    if let Some(tolerance) = rules.get("tolerance").filter(|t| !t.is_null()) {
        nonnegative_quantity(tolerance, &path.field("tolerance"), faults);
    }
}

fn scaling_policy(policy: &Value, path: &Path<'_>, faults: &mut Faults) {
    match policy.str_at(&["type"]) {
        "" => faults.not_supported(&path.field("type"), "", &["Percent", "Pods"]),
        kind => one_of(kind, &["Percent", "Pods"], &path.field("type"), faults),
    }
    for field in ["value", "periodSeconds"] {
        let number = policy.i64_at(&[field]).unwrap_or(0);
        if number <= 0 {
            faults.invalid(&path.field(field), &number.into(), "must be greater than zero");
        }
    }
    let period = policy.i64_at(&["periodSeconds"]).unwrap_or(0);
    if period > MAX_PERIOD_SECONDS {
        faults.invalid(&path.field("periodSeconds"), &period.into(), &format!("must be less than or equal to {MAX_PERIOD_SECONDS}"));
    }
}
