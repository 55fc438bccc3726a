//! `pods/binding`: gives a pod its node.
//!
//! The handler reads the pod, calls [`bind`], and commits the pod at the revision that it read; the answer is a `Success` Status.

use pintle_api::object::ObjectExt;
use pintle_api::{Cause, Object, Status};
use serde_json::json;

use super::context::WriteContext;

/// Faults of a Binding itself.
pub fn validate(binding: &Object) -> Vec<Cause> {
    let mut causes = Vec::new();
    let kind = binding.str_at(&["target", "kind"]);
    if !kind.is_empty() && kind != "Node" {
        causes.push(Cause::not_supported("target.kind", &kind.into(), &["Node", "<empty>"]));
    }
    if binding.str_at(&["target", "name"]).is_empty() {
        causes.push(Cause::required("target.name", ""));
    }
    causes
}

/// Sets the pod's node, the binding's annotations and labels, and the condition `PodScheduled`.
pub fn bind(pod: &mut Object, binding: &Object, context: &WriteContext<'_>) -> Result<(), Status> {
    let causes = validate(binding);
    if !causes.is_empty() {
        return Err(Status::invalid("", "Binding", binding.name(), causes));
    }
    let name = pod.name().to_owned();
    let refuse = |why: String| Err(Status::conflict("", "pods/binding", &name, &why));
    let uid = binding.uid();
    if !uid.is_empty() && uid != pod.uid() {
        return refuse(format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", pod.uid()));
    }
    if pod.is_being_deleted() {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let bound = pod.str_at(&["spec", "nodeName"]);
    if !bound.is_empty() {
        return refuse(format!("pod {name} is already assigned to node {bound:?}"));
    }
    if !pod.list_at(&["spec", "schedulingGates"]).is_empty() {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod.set_at(&["spec", "nodeName"], binding.str_at(&["target", "name"]).into());
    pod.remove_at(&["status", "nominatedNodeName"]);
    for field in ["annotations", "labels"] {
        for (key, value) in binding.map_at(&["metadata", field]).into_iter().flatten() {
            pod.set_at(&["metadata", field, key], value.clone());
        }
    }
    set_scheduled(pod, context);
    Ok(())
}

fn set_scheduled(pod: &mut Object, context: &WriteContext<'_>) {
    let now = context.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    let mut conditions = pod.list_at(&["status", "conditions"]).to_vec();
    match conditions.iter_mut().find(|c| c.str_at(&["type"]) == "PodScheduled") {
        Some(present) => *present = condition,
        None => conditions.push(condition),
    }
    pod.set_at(&["status", "conditions"], conditions.into());
}
