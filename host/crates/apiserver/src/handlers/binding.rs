//! `pods/binding`: a scheduler's decision becomes the pod's node.

use std::sync::Arc;

use pintle_api::client::BoxFuture;
use pintle_api::object::ObjectExt;
use pintle_api::{Cause, Object, Reason, Status};
use serde_json::{Value, json};

use super::{Core, Scope, SubresourceCall, SubresourceHandler};
use crate::admission::topology_labels::{self, NODES};
use crate::cache::Stored;
use pintle_api::metadata::seconds;

/// Answers `pods/NAME/binding`, and `bindings`, where the name stands in the body.
pub struct Binding;

impl SubresourceHandler for Binding {
    fn create(&self, call: SubresourceCall) -> BoxFuture<'static, Result<(u16, Object), Status>> {
        Box::pin(async move {
            let SubresourceCall { core, scope, object, options } = call;
            let scope = of_pod(&core, scope, &object)?;
            let node = target(&object)?;
            let place = core.node(&node)?;
            if options.dry_run {
                let present = core.get_ready(&scope).await?;
                bind(&scope, &mut scope.resource.parse(&present)?, &object, &node, place.as_deref())?;
            } else {
                core.rewrite(&scope, &|pod| bind(&scope, pod, &object, &node, place.as_deref())).await?;
            }
            Ok((201, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})))
        })
    }
}

impl Core {
    /// A scheduler may be ahead of who makes the nodes: then the pod learns nothing of its place.
    fn node(&self, name: &str) -> Result<Option<Arc<Stored>>, Status> {
        let nodes = self.resource(&NODES)?;
        Ok(self.cache.get(&nodes.slot, &nodes.key("", name)))
    }
}

fn of_pod(core: &Core, scope: Scope, binding: &Object) -> Result<Scope, Status> {
    let pods = core.resource(&pintle_api::GroupVersionResource::constant("", "v1", "pods"))?;
    let name = if scope.name.is_empty() { binding.name().to_owned() } else { scope.name.clone() };
    if name.is_empty() || (!binding.name().is_empty() && binding.name() != name) {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    Ok(Scope { resource: Arc::clone(&pods), name, subresource: "binding".to_owned(), ..scope })
}

fn target(binding: &Object) -> Result<String, Status> {
    let kind = binding.str_at(&["target", "kind"]);
    let name = binding.str_at(&["target", "name"]);
    let mut causes: Vec<Cause> = Vec::new();
    if !matches!(kind, "" | "Node") {
        causes.push(Cause::not_supported("target.kind", &json!(kind), &["Node", "<empty>"]));
    }
    if name.is_empty() {
        causes.push(Cause::required("target.name", ""));
    }
    let told: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    match &told[..] {
        [] => Ok(name.to_owned()),
        // Upstream passes on what its check says, which is no status.
        [only] => Err(Status::new(500, Reason::Unknown, only.as_str())),
        several => Err(Status::new(500, Reason::Unknown, format!("[{}]", several.join(", ")))),
    }
}

/// Why a pod cannot be bound, told as of the subresource.
fn conflict(scope: &Scope, why: &str) -> Status {
    Status::conflict("", "pods/binding", &scope.name, why)
}

fn bind(scope: &Scope, pod: &mut Object, binding: &Object, node: &str, place: Option<&Stored>) -> Result<(), Status> {
    let uid = binding.uid();
    if !uid.is_empty() && uid != pod.uid() {
        return Err(scope.conflict(&format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", pod.uid())));
    }
    if pod.is_being_deleted() {
        return Err(conflict(scope, &format!("pod {} is being deleted, cannot be assigned to a host", scope.name)));
    }
    let present = pod.str_at(&["spec", "nodeName"]);
    if !present.is_empty() {
        return Err(conflict(scope, &format!("pod {} is already assigned to node {present:?}", scope.name)));
    }
    if !pod.list_at(&["spec", "schedulingGates"]).is_empty() {
        return Err(conflict(scope, &format!("pod {} has non-empty .spec.schedulingGates", scope.name)));
    }
    pod.set_at(&["spec", "nodeName"], json!(node));
    // The nomination has served; left standing it would mislead who reads it.
    pod.remove_at(&["status", "nominatedNodeName"]);
    for map in ["annotations", "labels"] {
        for (key, value) in binding.map_at(&["metadata", map]).into_iter().flatten() {
            pod.set_at(&["metadata", map, key], value.clone());
        }
    }
    if let Some(place) = place {
        topology_labels::copy(pod, |key| place.index.label(key).map(str::to_owned));
    }
    set_scheduled(pod);
    Ok(())
}

fn set_scheduled(pod: &mut Object) {
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": seconds(jiff::Timestamp::now()),
        "observedGeneration": pod.i64_at(&["metadata", "generation"]),
    });
    let mut conditions: Vec<Value> = pod.list_at(&["status", "conditions"]).iter().filter(|c| c["type"] != "PodScheduled").cloned().collect();
    conditions.push(condition);
    pod.set_at(&["status", "conditions"], Value::Array(conditions));
}
