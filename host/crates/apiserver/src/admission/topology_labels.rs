//! PodTopologyLabels: a pod carries the zone and region of its node, from its binding or, where it comes with a node, from its creation on.

use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Status};
use pintle_registry::WriteContext;
use serde_json::Value;

use super::{AdmissionAttributes, Operation};

pub const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");
const COPIED: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub fn admit(pod: &mut Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<(), Status> {
    if attributes.operation != Operation::Create || !attributes.is("", "pods") || !attributes.is_main() {
        return Ok(());
    }
    let node = pod.str_at(&["spec", "nodeName"]);
    if let Some(node) = Some(node).filter(|name| !name.is_empty()).and_then(|name| context.objects.get(&NODES, None, name)) {
        copy(pod, |key| node.at(&["metadata", "labels", key]).and_then(Value::as_str).map(str::to_owned));
    }
    Ok(())
}

/// The node's word counts over the pod's own.
pub fn copy(pod: &mut Object, label_of_node: impl Fn(&str) -> Option<String>) {
    for key in COPIED {
        if let Some(value) = label_of_node(key) {
            pod.set_at(&["metadata", "labels", key], value.into());
        }
    }
}
