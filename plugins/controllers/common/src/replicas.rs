//! As many pods of a template as asked for, no more: what the ReplicaSet and ReplicationController controllers do. [`Replicas`] says
//! in what the two differ; each has a component of its own.

use std::time::Duration;

use pintle_sdk::controller::{Api, ApiError, Failure, Key, Query, Relation, Resource, Watch};
use pintle_sdk::selector::Selector;
use serde_json::{Map, Value, json};

use crate::claim::{Claimant, claim};
use crate::conditions::{self, Condition};
use crate::fields::Fields;
use crate::route::Owners;
use crate::{pod_control, pods, resources, template, time};

/// Most pods made or deleted in one go; the rest follows at once in the next.
const BURST: usize = 500;

/// In what ReplicaSet and ReplicationController differ.
pub struct Replicas {
    pub resource: Resource,
    pub api_version: &'static str,
    pub kind: &'static str,
    pub selector: fn(&Value) -> Option<Selector>,
}

pub fn watches(kind: &Replicas) -> Vec<Watch> {
    vec![Watch::new(kind.resource, Relation::Primary), Watch::new(resources::PODS, Relation::Claimed(kind.kind))]
}

impl Replicas {
    /// A pod concerns its controller, before and after; an orphan concerns every set that would adopt it.
    pub fn route(&self, api: &dyn Api, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        Owners { resource: self.resource, kind: self.kind, selector: self.selector }.of(api, before, after)
    }

    pub fn reconcile(&self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let set = match api.get(self.resource, &key.namespace, &key.name) {
            Ok(set) => set,
            Err(ApiError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(selector) = (self.selector)(&set) else { return Ok(None) };
        let claimant = Claimant { resource: self.resource, object: &set, api_version: self.api_version, kind: self.kind, selector: &selector };
        let mut owned = claim(api, &claimant, resources::PODS)?;
        let terminating = owned.iter().filter(|p| !pods::is_finished(p) && p.deleting()).count();
        owned.retain(pods::is_active);
        let outcome = if set.deleting() { Ok(()) } else { self.scale(api, &set, &mut owned) };
        let again = self.write_status(api, &set, &owned, terminating, outcome.as_ref().err())?;
        outcome.map_err(|(_, failure)| failure)?;
        Ok(again)
    }

    /// Creates what is missing or deletes what is too much, and keeps `owned` true.
    fn scale(&self, api: &dyn Api, set: &Value, owned: &mut Vec<Value>) -> Result<(), (&'static str, Failure)> {
        let wanted = usize::try_from(set.integer(&["spec", "replicas"]).unwrap_or(1)).unwrap_or(0);
        if owned.len() < wanted {
            for _ in 0..(wanted - owned.len()).min(BURST) {
                let pod = template::pod(&set["spec"]["template"], set, self.api_version, self.kind);
                owned.push(pod_control::create(api, self.resource, set, &pod).map_err(|f| ("FailedCreate", f))?);
            }
        } else if owned.len() > wanted {
            let excess = (owned.len() - wanted).min(BURST);
            self.sort_for_deletion(api, set, owned);
            for pod in owned.drain(..excess).collect::<Vec<_>>() {
                pod_control::delete(api, self.resource, set, &pod).map_err(|f| ("FailedDelete", f))?;
            }
        }
        Ok(())
    }

    /// Pods that share a node with many of their kind go before those that stand alone. Kind: all sets of the same controller.
    fn sort_for_deletion(&self, api: &dyn Api, set: &Value, owned: &mut [Value]) {
        let related = match set.controller() {
            Some(owner) => self.pods_of_siblings(api, set.namespace(), owner.text(&["uid"])),
            None => owned.to_vec(),
        };
        let crowd = |pod: &Value| {
            let node = pod.text(&["spec", "nodeName"]);
            related.iter().filter(|other| pods::is_active(other) && other.text(&["spec", "nodeName"]) == node).count() as i64
        };
        owned.sort_by_cached_key(|pod| pods::deletion_rank(pod, crowd(pod)));
    }

    fn pods_of_siblings(&self, api: &dyn Api, namespace: &str, owner_uid: &str) -> Vec<Value> {
        let siblings = Query { namespace, owner_uid, ..Default::default() };
        let sets = api.list_summaries(self.resource, &siblings).unwrap_or_default();
        let pods = sets.iter().filter_map(|s| {
            let query = Query { namespace, owner_uid: &s.uid, ..Default::default() };
            api.list(resources::PODS, &query).ok()
        });
        pods.flatten().collect()
    }

    /// Returns when a pod becomes available by the passing of time.
    fn write_status(
        &self,
        api: &dyn Api,
        set: &Value,
        owned: &[Value],
        terminating: usize,
        failure: Option<&(&'static str, Failure)>,
    ) -> Result<Option<Duration>, Failure> {
        let now = time::now_seconds(api);
        let min_ready = set.integer(&["spec", "minReadySeconds"]).unwrap_or(0);
        let labels = set.at(&["spec", "template", "metadata", "labels"]);
        let of_template = Selector::from_map(labels).unwrap_or_default();
        let (mut ready, mut available, mut labelled, mut again) = (0, 0, 0, None);
        for pod in owned {
            labelled += usize::from(of_template.matches(pod.labels()));
            ready += usize::from(pods::is_ready(pod));
            match pods::availability(pod, min_ready, now) {
                Ok(()) => available += 1,
                Err(Some(left)) => again = Some(again.map_or(left, |a: i64| a.min(left))),
                Err(None) => {}
            }
        }
        let mut status = set["status"].clone();
        if !status.is_object() {
            status = json!({});
        }
        status["replicas"] = json!(owned.len());
        status["observedGeneration"] = set["metadata"]["generation"].clone();
        for (field, count) in [("fullyLabeledReplicas", labelled), ("readyReplicas", ready), ("availableReplicas", available)] {
            set_count(&mut status, field, count);
        }
        if self.kind == "ReplicaSet" {
            status["terminatingReplicas"] = json!(terminating);
        }
        match failure {
            Some((reason, failure)) => {
                let (Failure::Retry(message) | Failure::Terminal(message)) = failure;
                let condition = Condition { kind: "ReplicaFailure", status: true, reason, message };
                conditions::set(&mut status, &condition, &time::text(now), Map::new());
            }
            None => {
                conditions::remove(&mut status, "ReplicaFailure");
            }
        }
        if status["conditions"].as_array().is_some_and(Vec::is_empty) {
            status.as_object_mut().expect("made above").remove("conditions");
        }
        if status != set["status"] {
            let mut next = set.clone();
            next["status"] = status;
            match api.update_status(self.resource, set.namespace(), set.name(), &next) {
                Ok(_) | Err(ApiError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(again.map(|seconds| Duration::from_secs(seconds.unsigned_abs())))
    }
}

/// Counts of zero are left out, as the API's types do.
fn set_count(status: &mut Value, field: &str, count: usize) {
    if count == 0 {
        status.as_object_mut().expect("an object").remove(field);
    } else {
        status[field] = json!(count);
    }
}
