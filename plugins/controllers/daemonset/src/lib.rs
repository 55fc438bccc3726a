//! DaemonSets: one pod on every node that fits, and the roll-out of a new template from node to node.
//!
//! Each pod is bound to its node by a required affinity on the node's name; placing it is the scheduler's. Order of a reconcile: find or
//! make the revision of the template, see which nodes should run a pod, make what is missing and delete what is too much, roll, write status.

mod backoff;
mod fleet;
mod placement;
mod rolling;
mod status;

use std::time::Duration;

use pintle_controller_common::claim::{Claimant, claim};
use pintle_controller_common::fields::Fields;
use pintle_controller_common::route::{Owners, spec_selector};
use pintle_controller_common::{resources, revisions, time};
use pintle_sdk::controller::{Api, ApiError, Controller, EventType, Failure, Key, Query, Relation, Watch};
use serde_json::{Value, json};

use crate::backoff::Backoff;
use crate::fleet::Fleet;
use crate::placement::Placement;

const HASH_LABEL: &str = "controller-revision-hash";
const OWNERS: Owners = Owners { resource: resources::DAEMON_SETS, kind: "DaemonSet", selector: spec_selector };

#[derive(Default)]
pub struct DaemonSetController {
    backoff: Backoff,
}

impl Controller for DaemonSetController {
    fn watches() -> Vec<Watch> {
        vec![
            Watch::new(resources::DAEMON_SETS, Relation::Primary),
            Watch::new(resources::PODS, Relation::Claimed("DaemonSet")),
            Watch::new(resources::NODES, Relation::Routed).reading(&["metadata.name", "metadata.labels", "spec.taints"]),
            // History that somebody else touches is looked at when the set is next; only orphans may belong to it now.
            Watch::new(resources::CONTROLLER_REVISIONS, Relation::Local),
        ]
    }

    fn route(&mut self, api: &dyn Api, index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        match index {
            1 => OWNERS.of(api, before, after),
            2 => of_node(api, before, after),
            _ => after.filter(|r| r.controller().is_none()).map(|r| OWNERS.adopters(api, r)).unwrap_or_default(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let set = match api.get(resources::DAEMON_SETS, &key.namespace, &key.name) {
            Ok(set) => set,
            Err(ApiError::NotFound(_)) => {
                self.backoff.forget(key);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(selector) = spec_selector(&set) else { return Ok(None) };
        if selector.is_empty() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            api.event(resources::DAEMON_SETS, &key.namespace, &key.name, EventType::Warning, "SelectingAll", message);
            return Ok(None);
        }
        if set.deleting() {
            return Ok(None);
        }
        let claimant = Claimant { resource: resources::DAEMON_SETS, object: &set, api_version: "apps/v1", kind: "DaemonSet", selector: &selector };
        let mut history = revisions::list(api, &claimant)?;
        let labels = set.at(&["spec", "template", "metadata", "labels"]).cloned().unwrap_or_else(|| json!({}));
        let (newest, collisions) = revisions::current(api, &claimant, &mut history, &labels, HASH_LABEL)?;
        let hash = revisions::hash_of(&history[newest], HASH_LABEL).to_owned();

        let pods = claim(api, &claimant, resources::PODS)?;
        let mut fleet = Fleet::new(api, &set, hash, pods, &api.list(resources::NODES, &Query::default())?);
        let worked = self.work(&mut fleet);
        let cleaned = worked.as_ref().map_or(Ok(()), |_| prune(&fleet, &history, newest));
        let again = status::write(&fleet, collisions)?;
        let retry = worked?;
        cleaned?;
        Ok([again, retry].into_iter().flatten().min().map(|seconds| Duration::from_secs(seconds.unsigned_abs())))
    }
}

impl DaemonSetController {
    /// Returns when a failed pod's back-off ends.
    fn work(&mut self, fleet: &mut Fleet<'_>) -> Result<Option<i64>, Failure> {
        let plan = fleet.plan(&mut self.backoff);
        let wait = plan.wait;
        // Rolling begins from a settled state; the pods made or deleted here bring the key back.
        if fleet.carry_out(plan)? || fleet.set.text(&["spec", "updateStrategy", "type"]) != "RollingUpdate" {
            return Ok(wait);
        }
        let step = rolling::step(fleet);
        fleet.carry_out(step)?;
        Ok(wait)
    }
}

/// Revisions whose hash no pod bears may go.
fn prune(fleet: &Fleet<'_>, history: &[Value], newest: usize) -> Result<(), Failure> {
    let used = |revision: &Value| {
        revision.name() == history[newest].name() || fleet.pods().any(|p| p.label(HASH_LABEL) == revisions::hash_of(revision, HASH_LABEL))
    };
    revisions::truncate(fleet.api, fleet.set, history, used)
}

/// The sets for which the node begins or ceases to fit.
fn of_node(api: &dyn Api, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
    let all = api.list(resources::DAEMON_SETS, &Query::default()).unwrap_or_default();
    let concerned = |set: &&Value| {
        let placement = Placement::of(set);
        let verdict = |node: Option<&Value>| node.map_or((false, false), |n| placement.judge(n));
        verdict(before) != verdict(after) || before.is_none() != after.is_none()
    };
    all.iter().filter(concerned).map(|s| Key { namespace: s.namespace().to_owned(), name: s.name().to_owned() }).collect()
}

pintle_sdk::export_controller!(DaemonSetController);

/// Seconds now, for all judgements of one reconcile.
fn now(api: &dyn Api) -> i64 {
    time::now_seconds(api)
}

#[cfg(test)]
mod tests;
