//! RuntimeClass: a pod takes over its class's overhead and placement.

use std::sync::Arc;

use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use pintle_registry::WriteContext;
use pintle_registry::fields::{is_zero, same};
use serde_json::Value;

use super::{AdmissionAttributes, Operation};

const CLASSES: GroupVersionResource = GroupVersionResource::constant("node.k8s.io", "v1", "runtimeclasses");

pub fn admit(pod: &mut Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<(), Status> {
    if attributes.operation != Operation::Create || !attributes.is("", "pods") || !attributes.is_main() {
        return Ok(());
    }
    let Some(class) = class_of(pod, attributes, context)? else { return Ok(()) };
    if let Some(fixed) = overhead_of(&class) {
        let own = pod.at(&["spec", "overhead"]);
        if own.is_some_and(|o| !is_zero(o)) && !same(own, Some(fixed)) {
            return Err(attributes.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
        }
        pod.set_at(&["spec", "overhead"], fixed.clone());
    }
    placement(pod, &class, attributes)
}

/// An overhead comes from a class. Looked at when the pod is known to be valid.
pub fn validate(pod: &Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<Vec<String>, Status> {
    let concerns = attributes.operation == Operation::Create && attributes.is("", "pods") && attributes.is_main();
    if !concerns || pod.at(&["spec", "overhead"]).is_none_or(is_zero) {
        return Ok(Vec::new());
    }
    match class_of(pod, attributes, context)?.is_some_and(|class| overhead_of(&class).is_some()) {
        true => Ok(Vec::new()),
        false => Err(attributes.forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")),
    }
}

fn class_of(pod: &Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<Option<Arc<Object>>, Status> {
    match pod.at(&["spec", "runtimeClassName"]).and_then(Value::as_str) {
        None => Ok(None),
        // Upstream asks itself for the class, and fails at that.
        Some("") => Err(Status::new(500, Reason::Unknown, "resource name may not be empty")),
        Some(name) => {
            let class = context.objects.get(&CLASSES, None, name);
            class.map(Some).ok_or_else(|| attributes.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found")))
        }
    }
}

fn overhead_of(class: &Object) -> Option<&Value> {
    class.at(&["overhead", "podFixed"]).filter(|overhead| !is_zero(overhead))
}

fn placement(pod: &mut Object, class: &Object, attributes: &AdmissionAttributes<'_>) -> Result<(), Status> {
    for (key, value) in class.map_at(&["scheduling", "nodeSelector"]).into_iter().flatten() {
        let own = pod.at(&["spec", "nodeSelector", key]);
        if let Some(own) = own.filter(|own| *own != value) {
            let (theirs, own) = (value.as_str().unwrap_or(""), own.as_str().unwrap_or(""));
            let why = format!("conflict: runtimeClass.scheduling.nodeSelector[{key}] = {theirs}; pod.spec.nodeSelector[{key}] = {own}");
            return Err(attributes.forbidden(&why));
        }
        pod.set_at(&["spec", "nodeSelector", key], value.clone());
    }
    let more = class.list_at(&["scheduling", "tolerations"]);
    if !more.is_empty() {
        let mut all = pod.list_at(&["spec", "tolerations"]).to_vec();
        all.extend(more.iter().filter(|t| !pod.list_at(&["spec", "tolerations"]).contains(t)).cloned());
        pod.set_at(&["spec", "tolerations"], all.into());
    }
    Ok(())
}
