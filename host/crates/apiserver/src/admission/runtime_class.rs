//! RuntimeClass: a pod takes over its class's overhead and placement.

use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Status};

use super::{AdmissionAttributes, Operation};
use crate::registry::WriteContext;
use crate::registry::fields::{is_zero, same};

const CLASSES: GroupVersionResource = GroupVersionResource::constant("node.k8s.io", "v1", "runtimeclasses");

pub fn admit(pod: &mut Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<(), Status> {
    if attributes.operation != Operation::Create || !attributes.is("", "pods") || !attributes.is_main() {
        return Ok(());
    }
    let name = pod.str_at(&["spec", "runtimeClassName"]).to_owned();
    if name.is_empty() {
        return without_overhead(pod, attributes);
    }
    let Some(class) = context.objects.get(&CLASSES, None, &name) else {
        return Err(attributes.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found")));
    };
    match class.at(&["overhead", "podFixed"]).filter(|o| !is_zero(o)) {
        None => without_overhead(pod, attributes)?,
        Some(fixed) => {
            let own = pod.at(&["spec", "overhead"]);
            if own.is_some_and(|o| !is_zero(o)) && !same(own, Some(fixed)) {
                return Err(attributes.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
            }
            pod.set_at(&["spec", "overhead"], fixed.clone());
        }
    }
    placement(pod, &class, attributes)
}

fn without_overhead(pod: &Object, attributes: &AdmissionAttributes<'_>) -> Result<(), Status> {
    if pod.at(&["spec", "overhead"]).is_some_and(|o| !is_zero(o)) {
        return Err(attributes.forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"));
    }
    Ok(())
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
