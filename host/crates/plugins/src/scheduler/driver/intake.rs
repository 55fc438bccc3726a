//! What changed in the cluster, taken in: the driver's picture follows it, and pods that it may help are tried again. Called by the driver's loop.

use std::collections::HashMap;
use std::sync::Arc;

use pintle_plugin_bindings::common::types::Pair;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Budget, Namespace};
use serde::Deserialize;
use tokio::time::Instant;

use super::super::cluster::Uid;
use super::super::inbox::{Change, Topic};
use super::super::podspec::{self, LabelSelector};
use super::super::queue::{Happened, NODE_CHANGED, POD_CHANGED, POD_GONE, VOLUME_CHANGED};
use super::Driver;
use crate::index::Entry;

impl Driver {
    pub(super) fn take_changes(&mut self) {
        let changes = self.inbox.take();
        if changes.is_empty() {
            return;
        }
        let mut happened = 0;
        let mut budgets = false;
        for change in changes {
            happened |= match change.topic {
                Topic::Pods => self.pod_changed(change),
                Topic::Nodes => self.node_changed(change),
                Topic::Namespaces => self.namespace_changed(change),
                Topic::Volumes => VOLUME_CHANGED,
                Topic::Services => {
                    self.defaults.service_changed(change.before.as_ref(), change.after.as_ref());
                    0
                }
                Topic::Budgets => {
                    budgets = true;
                    0
                }
            };
        }
        if budgets {
            self.cluster.set_budgets(self.budgets.all().iter().filter_map(budget).collect());
        }
        if happened != 0 {
            self.queue.happened(happened, Instant::now());
        }
    }

    fn pod_changed(&mut self, change: Change) -> Happened {
        let mut happened = 0;
        if let Some(before) = &change.before
            && change.after.as_ref().is_none_or(|after| after.meta.uid != before.meta.uid)
        {
            happened |= self.pod_gone(&before.meta.uid);
        }
        let Some(after) = change.after else { return happened };
        let uid = after.meta.uid.clone();
        let finished = matches!(&*after.meta.phase, "Succeeded" | "Failed");
        if finished {
            return happened | self.pod_gone(&uid);
        }
        if after.meta.node.is_empty() {
            self.pending(after);
            return happened;
        }
        self.queue.remove(&uid);
        self.evicting.remove(&uid);
        let known = self.cluster.placed_entry(&uid);
        let changed = known.is_none_or(|k| k.meta.labels != after.meta.labels || k.meta.generation != after.meta.generation);
        if let Err(error) = self.cluster.observe(&after) {
            tracing::error!(pod = %after.meta.name, %error, "a pod that cannot be read takes no room");
        }
        if changed { happened | POD_CHANGED } else { happened }
    }

    fn pending(&mut self, entry: Arc<Entry>) {
        if entry.meta.deleting {
            self.queue.remove(&entry.meta.uid);
            return;
        }
        // Bound already; this state is older than that.
        if self.cluster.is_placed(&entry.meta.uid) && self.queue.get(&entry.meta.uid).is_none() {
            return;
        }
        match podspec::parse(&entry.json) {
            Ok(spec) if *spec.scheduler == *self.scheduler => {
                match self.cluster.id(&spec.nominated) {
                    Some(node) => self.cluster.nominate(&spec.pod, node),
                    None => self.cluster.withdraw(&spec.pod.uid),
                }
                self.queue.upsert(entry, spec, Instant::now());
            }
            Ok(_) => {}
            Err(error) => tracing::error!(pod = %entry.meta.name, %error, "a pod that cannot be read is not scheduled"),
        }
    }

    fn pod_gone(&mut self, uid: &Uid) -> Happened {
        self.queue.remove(uid);
        self.evicting.remove(uid);
        let held_room = self.cluster.is_placed(uid);
        self.cluster.forget(uid);
        if held_room { POD_GONE } else { 0 }
    }

    fn node_changed(&mut self, change: Change) -> Happened {
        match change.after {
            Some(after) => match self.cluster.upsert_node(&after.json) {
                Ok(true) => NODE_CHANGED,
                Ok(false) => 0,
                Err(error) => {
                    tracing::error!(node = %after.meta.name, %error, "a node that cannot be read gets no pods");
                    0
                }
            },
            None => {
                if let Some(before) = change.before {
                    self.cluster.remove_node(&before.meta.name);
                }
                // A spread or an affinity may hold without it.
                NODE_CHANGED
            }
        }
    }

    fn namespace_changed(&mut self, change: Change) -> Happened {
        let Some(after) = change.after else {
            if let Some(before) = change.before {
                self.cluster.remove_namespace(&before.meta.name);
            }
            return 0;
        };
        let labels = after.meta.labels.iter().map(|(key, value)| Pair { key: key.to_string(), value: value.to_string() }).collect();
        let changed = self.cluster.upsert_namespace(Namespace { name: after.meta.name.to_string(), labels });
        if changed { POD_CHANGED } else { 0 }
    }
}

pub fn budget(entry: &Arc<Entry>) -> Option<Budget> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        spec: Spec,
        #[serde(default)]
        status: State,
    }
    #[derive(Default, Deserialize)]
    struct Spec {
        #[serde(default)]
        selector: Option<LabelSelector>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct State {
        #[serde(default)]
        disruptions_allowed: i32,
        #[serde(default)]
        disrupted_pods: Option<HashMap<String, serde::de::IgnoredAny>>,
    }
    let object: Object = serde_json::from_slice(&entry.json).ok()?;
    Some(Budget {
        namespace: entry.meta.namespace.to_string(),
        name: entry.meta.name.to_string(),
        selector: object.spec.selector.map(LabelSelector::lift),
        allowed: object.status.disruptions_allowed,
        disrupted: object.status.disrupted_pods.unwrap_or_default().into_keys().collect(),
    })
}
