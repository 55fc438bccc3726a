//! `autoscaling/v1` HorizontalPodAutoscaler: the view that knows one target, the processor. Stored as `autoscaling/v2`; what
//! this version has no field for travels in annotations, so a client that writes back loses nothing.

use pintle_api::GroupVersionResource;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::horizontalpodautoscalers::{COLUMNS, cells};
use super::validate::validate;
use crate::def::namespaced;
use crate::fields::{default_missing, is_zero, spec_mut};
use crate::kind::Kind;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";

pub fn kind() -> Kind {
    let def = namespaced("autoscaling/v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler").short(&["hpa"]).in_all().status();
    Kind {
        default: |scaler| {
            if let Some(spec) = spec_mut(scaler) {
                default_missing(spec, "minReplicas", 1);
            }
        },
        create: |scaler, _| scaler.set_at(&["status"], json!({"currentReplicas": 0, "desiredReplicas": 0})),
        validate,
        storage: Some(GroupVersionResource::constant("autoscaling", "v2", "horizontalpodautoscalers")),
        to_storage,
        from_storage,
        ..Kind::new(def).table(COLUMNS, |scaler, now| {
            let mut newer = scaler.clone();
            to_storage(&mut newer);
            cells(&newer, now)
        })
    }
}

fn cpu_metric(field: &str, percent: Value) -> Value {
    let part = if field == "target" { json!({"type": "Utilization", "averageUtilization": percent}) } else { json!({"averageUtilization": percent}) };
    json!({"type": "Resource", "resource": {"name": "cpu", field: part}})
}

fn is_cpu_target(metric: &Value) -> bool {
    metric.str_at(&["resource", "name"]) == "cpu" && metric.at(&["resource", "target", "averageUtilization"]).is_some_and(|v| !v.is_null())
}

fn to_storage(scaler: &mut Value) {
    scaler.set_at(&["apiVersion"], "autoscaling/v2".into());
    let mut metrics: Vec<Value> = Vec::new();
    if let Some(percent) = scaler.remove_at(&["spec", "targetCPUUtilizationPercentage"]).filter(|p| !p.is_null()) {
        metrics.push(cpu_metric("target", percent));
    }
    if let Some(Value::Array(more)) = take_annotation(scaler, METRICS) {
        metrics.extend(more);
    }
    if !metrics.is_empty() {
        scaler.set_at(&["spec", "metrics"], metrics.into());
    }
    if let Some(behavior) = take_annotation(scaler, BEHAVIOR) {
        scaler.set_at(&["spec", "behavior"], behavior);
    }
    if let Some(conditions) = take_annotation(scaler, CONDITIONS) {
        scaler.set_at(&["status", "conditions"], conditions);
    }
    let measured = scaler.remove_at(&["status", "currentCPUUtilizationPercentage"]).filter(|p| !p.is_null());
    match take_annotation(scaler, CURRENT) {
        Some(current) => scaler.set_at(&["status", "currentMetrics"], current),
        None => {
            if let Some(percent) = measured {
                scaler.set_at(&["status", "currentMetrics"], json!([cpu_metric("current", percent)]));
            }
        }
    }
}

fn from_storage(scaler: &mut Value) {
    scaler.set_at(&["apiVersion"], "autoscaling/v1".into());
    if let Some(Value::Array(mut metrics)) = scaler.remove_at(&["spec", "metrics"]) {
        if let Some(i) = metrics.iter().position(is_cpu_target) {
            let percent = metrics.remove(i)["resource"]["target"]["averageUtilization"].take();
            scaler.set_at(&["spec", "targetCPUUtilizationPercentage"], percent);
        }
        put_annotation(scaler, METRICS, &Value::Array(metrics));
    }
    if let Some(behavior) = scaler.remove_at(&["spec", "behavior"]) {
        put_annotation(scaler, BEHAVIOR, &behavior);
    }
    if let Some(conditions) = scaler.remove_at(&["status", "conditions"]) {
        put_annotation(scaler, CONDITIONS, &conditions);
    }
    if let Some(current) = scaler.remove_at(&["status", "currentMetrics"]) {
        let cpu = |m: &&Value| m.str_at(&["resource", "name"]) == "cpu";
        let measured = current.as_array().into_iter().flatten().find(cpu).and_then(|m| m.at(&["resource", "current", "averageUtilization"]).cloned());
        if let Some(percent) = measured.filter(|p| !p.is_null()) {
            scaler.set_at(&["status", "currentCPUUtilizationPercentage"], percent);
        }
        put_annotation(scaler, CURRENT, &current);
    }
    if scaler.at(&["status"]).is_some_and(Value::is_object) && scaler.at(&["status", "currentReplicas"]).is_none() {
        scaler.set_at(&["status", "currentReplicas"], 0.into());
    }
}

fn take_annotation(scaler: &mut Value, name: &str) -> Option<Value> {
    let text = scaler.remove_at(&["metadata", "annotations", name])?;
    serde_json::from_str(text.as_str()?).ok()
}

fn put_annotation(scaler: &mut Value, name: &str, value: &Value) {
    if !is_zero(value) {
        scaler.set_at(&["metadata", "annotations", name], value.to_string().into());
    }
}
