//! Signs of life: a node's Lease, and the heartbeat in its status. When both stop, its conditions become Unknown.

use std::collections::HashMap;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{conditions, resources, time};
use pintle_sdk::controller::{Api, ApiError, EventType, Failure};
use serde_json::{Value, json};

use crate::config::Config;

const LEASES: &str = "kube-node-lease";
/// Conditions that the kubelet keeps.
const KEPT_BY_KUBELET: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// When each node was last known to live. In memory: a fresh instance gives every node its whole grace period.
#[derive(Default)]
pub struct Signs(HashMap<String, Sign>);

struct Sign {
    renewed: String,
    heartbeat: String,
    alive: i64,
    looked: i64,
}

impl Signs {
    pub fn forget(&mut self, node: &str) {
        self.0.remove(node);
    }

    /// When the node last lived, and whether it is new to us.
    fn observe(&mut self, node: &Value, lease: Option<&Value>, now: i64) -> (i64, bool) {
        let renewed = lease.map_or("", |l| l.text(&["spec", "renewTime"]));
        let heartbeat = conditions::find(node, "Ready").map_or("", |c| c.text(&["lastHeartbeatTime"]));
        let Some(sign) = self.0.get_mut(node.name()) else {
            let alive = if heartbeat.is_empty() && renewed.is_empty() { node.created() } else { now };
            let sign = Sign { renewed: renewed.to_owned(), heartbeat: heartbeat.to_owned(), alive, looked: now };
            self.0.insert(node.name().to_owned(), sign);
            return (alive, true);
        };
        if sign.heartbeat != heartbeat {
            // A change of the node brings its key at once: this is fresh.
            sign.heartbeat = heartbeat.to_owned();
            sign.alive = now;
        }
        if sign.renewed != renewed {
            // Leases are looked at now and then. The node's own clock says when, within what is possible.
            sign.renewed = renewed.to_owned();
            sign.alive = sign.alive.max(time::seconds(renewed).unwrap_or(now).clamp(sign.looked, now));
        }
        sign.looked = now;
        (sign.alive, false)
    }
}

/// Seconds until the node must have shown another sign of life. The node's conditions are Unknown when it has not.
pub fn watch(api: &dyn Api, signs: &mut Signs, node: &mut Value, config: &Config) -> Result<Option<i64>, Failure> {
    let now = time::now_seconds(api);
    let lease = match api.get(resources::LEASES, LEASES, node.name()) {
        Ok(lease) => Some(lease),
        Err(ApiError::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let (alive, new) = signs.observe(node, lease.as_ref(), now);
    if new {
        event(api, node, "RegisteredNode", &format!("Node {0} event: Registered Node {0} in Controller", node.name()));
    }
    let reported = conditions::find(node, "Ready").is_some();
    let grace = if reported { config.grace_seconds } else { config.startup_grace_seconds };
    if now <= alive + grace {
        return Ok(Some(alive + grace + 1 - now));
    }
    let was_ready = conditions::is_true(node, "Ready");
    let mut next = node.clone();
    if doubt(&mut next, &time::text(now)) {
        *node = api.update_status(resources::NODES, "", node.name(), &next)?;
        if was_ready {
            event(api, node, "NodeNotReady", &format!("Node {} status is now: NodeNotReady", node.name()));
        }
    }
    // The lease may begin again without a change of the node.
    Ok(Some(config.grace_seconds.max(1)))
}

/// True when something changed.
fn doubt(node: &mut Value, now: &str) -> bool {
    let created = node.text(&["metadata", "creationTimestamp"]).to_owned();
    if !node["status"]["conditions"].is_array() {
        node["status"]["conditions"] = json!([]);
    }
    let list = node["status"]["conditions"].as_array_mut().expect("made a list above");
    let mut changed = false;
    for kind in KEPT_BY_KUBELET {
        match list.iter_mut().find(|c| c.text(&["type"]) == kind) {
            Some(condition) if condition.text(&["status"]) == "Unknown" => {}
            Some(condition) => {
                condition["status"] = json!("Unknown");
                condition["reason"] = json!("NodeStatusUnknown");
                condition["message"] = json!("Kubelet stopped posting node status.");
                condition["lastTransitionTime"] = json!(now);
                changed = true;
            }
            None => {
                list.push(
                    json!({"type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status.",
                                 "lastHeartbeatTime": created, "lastTransitionTime": now}),
                );
                changed = true;
            }
        }
    }
    changed
}

/// Nobody vouches for the pods of a node that is silent: they are not ready.
pub fn doubt_pods(api: &dyn Api, node: &Value, pods: &mut [Value]) -> Result<(), Failure> {
    let silent = conditions::find(node, "Ready").is_some_and(|c| c.text(&["status"]) == "Unknown");
    if !silent {
        return Ok(());
    }
    let now = time::now_text(api);
    for pod in pods.iter_mut().filter(|p| conditions::is_true(p, "Ready")) {
        let mut next = pod.clone();
        for condition in next["status"]["conditions"].as_array_mut().into_iter().flatten().filter(|c| c.text(&["type"]) == "Ready") {
            condition["status"] = json!("False");
            condition["lastTransitionTime"] = json!(now);
        }
        match api.update_status(resources::PODS, pod.namespace(), pod.name(), &next) {
            Ok(updated) => {
                *pod = updated;
                api.event(resources::PODS, pod.namespace(), pod.name(), EventType::Warning, "NodeNotReady", "Node is not ready");
            }
            Err(ApiError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn event(api: &dyn Api, node: &Value, reason: &str, message: &str) {
    api.event(resources::NODES, "", node.name(), EventType::Normal, reason, message);
}
