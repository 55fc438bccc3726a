//! `autoscaling/v1` Scale: the view of a workload that `kubectl scale` and autoscalers use.
//!
//! Called by the handlers of the `scale` subresource for deployments, replicasets, statefulsets and replicationcontrollers.

use pintle_api::object::ObjectExt;
use pintle_api::{Cause, Object};
use serde_json::{Value, json};

use super::print::selector_text;

/// The Scale of a workload.
pub fn scale_of(workload: &Object) -> Object {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = workload.at(&["metadata", field]) {
            metadata[field] = value.clone();
        }
    }
    let replicas = workload.i64_at(&["spec", "replicas"]).unwrap_or(0);
    let mut spec = json!({});
    if replicas != 0 {
        spec["replicas"] = replicas.into();
    }
    let mut status = json!({"replicas": workload.i64_at(&["status", "replicas"]).unwrap_or(0)});
    let selector = selector_of(workload);
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// Sets the workload's replicas from a Scale; its `resourceVersion`, where there is one, becomes the precondition.
pub fn apply_scale(workload: &mut Object, scale: &Object) -> Result<(), Vec<Cause>> {
    let replicas = scale.i64_at(&["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        return Err(vec![Cause::invalid("spec.replicas", &replicas.into(), "must be greater than or equal to 0")]);
    }
    workload.set_at(&["spec", "replicas"], replicas.into());
    let version = scale.resource_version();
    if !version.is_empty() {
        workload.set_at(&["metadata", "resourceVersion"], version.into());
    }
    Ok(())
}

/// A ReplicationController's selector is a plain map, the others' a `LabelSelector`.
fn selector_of(workload: &Value) -> String {
    let selector = workload.at(&["spec", "selector"]);
    if workload.kind() == "ReplicationController" {
        let as_labels = selector.map(|labels| json!({"matchLabels": labels}));
        return selector_text(as_labels.as_ref());
    }
    selector_text(selector)
}
