//! StatefulSets: pods with a name, a volume and an order of their own.
//!
//! Order of a reconcile: claim revisions and pods, find or make the revision of the template, bring the pods about (`replicas`), write
//! status, prune history. Pods are claimed only when their name is one that the set gives.

mod claims;
mod identity;
mod replicas;
mod status;

use std::time::Duration;

use pintle_controller_common::claim::{Claimant, claim_members};
use pintle_controller_common::fields::Fields;
use pintle_controller_common::route::{Owners, spec_selector};
use pintle_controller_common::{resources, revisions, time};
use pintle_sdk::controller::{Api, ApiError, Controller, Failure, Key, Relation, Watch};
use serde_json::{Value, json};

use crate::identity::{ordinal_in, revision_of};
use crate::replicas::Replicas;

/// On revisions; pods bear the revision's name.
const HASH_LABEL: &str = "controller.kubernetes.io/hash";
const OWNERS: Owners = Owners { resource: resources::STATEFUL_SETS, kind: "StatefulSet", selector: spec_selector };

#[derive(Default)]
pub struct StatefulSetController;

impl Controller for StatefulSetController {
    fn watches() -> Vec<Watch> {
        vec![
            Watch::new(resources::STATEFUL_SETS, Relation::Primary),
            Watch::new(resources::PODS, Relation::Claimed("StatefulSet")),
            Watch::new(resources::CONTROLLER_REVISIONS, Relation::Indexed),
            Watch::new(resources::PERSISTENT_VOLUME_CLAIMS, Relation::Indexed),
        ]
    }

    fn route(&mut self, api: &dyn Api, _index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        OWNERS.of(api, before, after)
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let set = match api.get(resources::STATEFUL_SETS, &key.namespace, &key.name) {
            Ok(set) => set,
            Err(ApiError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(selector) = spec_selector(&set) else { return Ok(None) };
        let claimant =
            Claimant { resource: resources::STATEFUL_SETS, object: &set, api_version: "apps/v1", kind: "StatefulSet", selector: &selector };
        let mut history = revisions::list(api, &claimant)?;
        let owned = claim_members(api, &claimant, resources::PODS, &|name| ordinal_in(set.name(), name).is_some())?;
        let labels = set.at(&["spec", "template", "metadata", "labels"]).cloned().unwrap_or_else(|| json!({}));
        let (newest, collisions) = revisions::current(api, &claimant, &mut history, &labels, HASH_LABEL)?;
        let update = &history[newest];
        let current = history.iter().find(|r| r.name() == set.text(&["status", "currentRevision"])).unwrap_or(update);

        let mut replicas = Replicas::new(api, &set, current, update, owned, time::now_seconds(api));
        let outcome = if set.deleting() { Ok(()) } else { replicas.bring_about() };
        let again = status::write(&replicas, collisions)?;
        outcome?;
        let used = |revision: &Value| {
            let name = revision.name();
            name == current.name() || name == update.name() || replicas.wanted.iter().chain(&replicas.condemned).any(|p| revision_of(p) == name)
        };
        revisions::truncate(api, &set, &history, used)?;
        Ok(again.map(|seconds| Duration::from_secs(seconds.max(1).unsigned_abs())))
    }
}

pintle_sdk::export_controller!(StatefulSetController);

#[cfg(test)]
mod tests;
