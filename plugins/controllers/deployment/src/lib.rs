//! Deployments: one ReplicaSet for each version of the template, and the roll-out from one to the next.
//!
//! It writes ReplicaSets only; pods are the ReplicaSet controller's. Order of a reconcile: claim sets, find or make the new one, scale
//! (proportionally, recreating, or rolling), prune history, write status.

mod rolling;
mod scale;
mod sets;
mod status;

use std::time::Duration;

use pintle_controller_common::claim::{Claimant, claim};
use pintle_controller_common::fields::Fields;
use pintle_controller_common::route::{Owners, spec_selector};
use pintle_controller_common::{pods, resources};
use pintle_sdk::controller::{Api, ApiError, Controller, EventType, Failure, Key, Query, Relation, Watch};
use serde_json::Value;

use crate::sets::Sets;

const OWNERS: Owners = Owners { resource: resources::DEPLOYMENTS, kind: "Deployment", selector: spec_selector };

#[derive(Default)]
pub struct DeploymentController;

impl Controller for DeploymentController {
    fn watches() -> Vec<Watch> {
        vec![
            Watch::new(resources::DEPLOYMENTS, Relation::Primary),
            Watch::new(resources::REPLICA_SETS, Relation::Claimed("Deployment")),
            // Recreating waits for the old ones to be gone: their sets' status tells of it.
            Watch::new(resources::PODS, Relation::Indexed),
        ]
    }

    fn route(&mut self, api: &dyn Api, _index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        OWNERS.of(api, before, after)
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let deployment = match api.get(resources::DEPLOYMENTS, &key.namespace, &key.name) {
            Ok(deployment) => deployment,
            Err(ApiError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(selector) = spec_selector(&deployment) else { return Ok(None) };
        if selector.is_empty() {
            api.event(
                resources::DEPLOYMENTS,
                &key.namespace,
                &key.name,
                EventType::Warning,
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            );
            return Ok(None);
        }
        let claimant =
            Claimant { resource: resources::DEPLOYMENTS, object: &deployment, api_version: "apps/v1", kind: "Deployment", selector: &selector };
        let owned = claim(api, &claimant, resources::REPLICA_SETS)?;
        roll(api, deployment, owned)
    }
}

fn roll(api: &dyn Api, deployment: Value, owned: Vec<Value>) -> Result<Option<Duration>, Failure> {
    let mut sets = Sets::sort(deployment, owned);
    if sets.deployment.deleting() {
        return status::write(api, &mut sets);
    }
    status::note_pause(api, &mut sets)?;
    if sets.deployment.flag(&["spec", "paused"]) {
        sets.adopt_revision(api, false)?;
        scale::proportionally(api, &mut sets)?;
        sets.prune(api)?;
        return status::write(api, &mut sets);
    }
    if sets.was_resized() {
        sets.adopt_revision(api, false)?;
        scale::proportionally(api, &mut sets)?;
        return status::write(api, &mut sets);
    }
    if sets.deployment.text(&["spec", "strategy", "type"]) == "Recreate" {
        rolling::recreate(api, &mut sets)?;
    } else {
        sets.adopt_revision(api, true)?;
        rolling::step(api, &mut sets)?;
    }
    if sets.is_complete() {
        sets.prune(api)?;
    }
    status::write(api, &mut sets)
}

/// Whether pods of the old sets still run.
fn old_pods_run(api: &dyn Api, sets: &Sets) -> Result<bool, Failure> {
    for set in &sets.old {
        let query = Query { namespace: set.namespace(), owner_uid: set.uid(), ..Query::default() };
        if api.list(resources::PODS, &query)?.iter().any(|p| !pods::is_finished(p)) {
            return Ok(true);
        }
    }
    Ok(false)
}

pintle_sdk::export_controller!(DeploymentController);

#[cfg(test)]
mod tests;
