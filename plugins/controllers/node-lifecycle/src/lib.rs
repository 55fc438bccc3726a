//! Nodes that fall silent: their conditions become Unknown, taints keep pods away and drive those away that are there, and pods of nodes
//! that are gone are deleted.
//!
//! A key is a node. Order of a reconcile: signs of life, taints, readiness of the pods, evictions; the key comes back when the next sign of
//! life is due or a pod's time is over.

mod config;
mod eviction;
mod health;
mod taints;
mod zones;

use std::collections::HashMap;
use std::time::Duration;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{resources, time};
use pintle_sdk::controller::{Api, ApiError, Controller, Failure, Key, Query, Relation, Watch};
use serde_json::Value;

use crate::config::Config;

#[derive(Default)]
pub struct NodeLifecycleController {
    signs: health::Signs,
    pace: zones::Pace,
    waiting: eviction::Waiting,
    /// Nodes that are gone while pods still name them: since when.
    missing: HashMap<String, i64>,
}

impl Controller for NodeLifecycleController {
    fn watches() -> Vec<Watch> {
        vec![
            Watch::new(resources::NODES, Relation::Primary),
            Watch::new(resources::PODS, Relation::Routed).reading(&["metadata.deletionTimestamp", "spec.nodeName", "spec.tolerations"]),
            // Renewed all the time; looked at when the grace period is over.
            Watch::new(resources::LEASES, Relation::Indexed),
        ]
    }

    /// A pod concerns its node when it comes to one that drives pods away, or that is not there.
    fn route(&mut self, api: &dyn Api, _index: usize, _before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        let Some(pod) = after else { return Vec::new() };
        let name = pod.text(&["spec", "nodeName"]);
        if name.is_empty() {
            return Vec::new();
        }
        let quiet = api
            .get(resources::NODES, "", name)
            .is_ok_and(|node| pintle_controller_common::nodes::taints(&node).iter().all(|t| t.text(&["effect"]) != "NoExecute"));
        if quiet { Vec::new() } else { vec![Key { namespace: String::new(), name: name.to_owned() }] }
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let config = Config::parse(&api.config()).map_err(Failure::Terminal)?;
        let mut node = match api.get(resources::NODES, "", &key.name) {
            Ok(node) => node,
            Err(ApiError::NotFound(_)) => return self.forget(api, &key.name, &config),
            Err(error) => return Err(error.into()),
        };
        self.missing.remove(&key.name);
        let silence = health::watch(api, &mut self.signs, &mut node, &config)?;
        let taint = taints::write(api, &mut self.pace, &mut node, &config)?;
        let mut pods = if is_troubled(&node) || self.waiting.on(&key.name) { pods_on(api, &key.name)? } else { Vec::new() };
        health::doubt_pods(api, &node, &mut pods)?;
        let eviction = eviction::evict(api, &mut self.waiting, &node, &pods)?;
        eviction::delete_out_of_service(api, &node, &pods)?;
        Ok([silence, taint, eviction].into_iter().flatten().min().map(seconds))
    }
}

impl NodeLifecycleController {
    /// The node is gone. It may come back, as after a mistake; so its pods wait a while.
    fn forget(&mut self, api: &dyn Api, name: &str, config: &Config) -> Result<Option<Duration>, Failure> {
        self.signs.forget(name);
        self.waiting.forget(name);
        let pods = pods_on(api, name)?;
        if pods.is_empty() {
            self.missing.remove(name);
            return Ok(None);
        }
        let now = time::now_seconds(api);
        let since = *self.missing.entry(name.to_owned()).or_insert(now);
        if now < since + config.orphan_seconds {
            return Ok(Some(seconds(since + config.orphan_seconds - now)));
        }
        match api.get_live(resources::NODES, "", name) {
            Ok(_) => return Ok(None),
            Err(ApiError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        eviction::delete_orphans(api, &pods)?;
        self.missing.remove(name);
        Ok(None)
    }
}

/// Pods of most nodes need no look.
fn is_troubled(node: &Value) -> bool {
    let ready = pintle_controller_common::conditions::is_true(node, "Ready");
    !ready || pintle_controller_common::nodes::taints(node).iter().any(|t| t.text(&["effect"]) == "NoExecute")
}

fn pods_on(api: &dyn Api, node: &str) -> Result<Vec<Value>, Failure> {
    Ok(api.list(resources::PODS, &Query { field_selector: format!("spec.nodeName={node}"), ..Query::default() })?)
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(seconds.max(1).unsigned_abs())
}

pintle_sdk::export_controller!(NodeLifecycleController);

#[cfg(test)]
mod tests;
