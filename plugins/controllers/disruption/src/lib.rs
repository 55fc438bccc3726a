//! PodDisruptionBudgets: how many pods there are, how many are healthy, how many may go. The eviction handler of the API server reads and
//! spends what is written here.
//!
//! Counts of wanted pods come from ReplicaSets (through their Deployments), StatefulSets and ReplicationControllers. Pods of other owners
//! can be budgeted with a `minAvailable` number only.

mod status;
mod wanted;

use std::time::Duration;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{pods, resources};
use pintle_sdk::controller::{Api, ApiError, Controller, EventType, Failure, Key, Query, Relation, Watch};
use pintle_sdk::selector::Selector;
use serde_json::Value;

#[derive(Default)]
pub struct DisruptionController;

impl Controller for DisruptionController {
    fn watches() -> Vec<Watch> {
        vec![
            Watch::new(resources::POD_DISRUPTION_BUDGETS, Relation::Primary),
            Watch::new(resources::PODS, Relation::Local).reading(POD_READS),
            Watch::new(resources::REPLICA_SETS, Relation::Indexed),
            Watch::new(resources::DEPLOYMENTS, Relation::Indexed),
            Watch::new(resources::STATEFUL_SETS, Relation::Indexed),
            Watch::new(resources::REPLICATION_CONTROLLERS, Relation::Indexed),
        ]
    }

    fn route(&mut self, api: &dyn Api, _index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        if before.zip(after).is_some_and(|(b, a)| !matters(b, a)) {
            return Vec::new();
        }
        let Some(namespace) = after.or(before).map(Fields::namespace) else { return Vec::new() };
        let budgets = api.list(resources::POD_DISRUPTION_BUDGETS, &Query { namespace, ..Query::default() }).unwrap_or_default();
        let selects = |budget: &&Value| selector(budget).is_some_and(|s| [before, after].into_iter().flatten().any(|p| s.matches(p.labels())));
        budgets.iter().filter(selects).map(|b| Key { namespace: namespace.to_owned(), name: b.name().to_owned() }).collect()
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let budget = match api.get(resources::POD_DISRUPTION_BUDGETS, &key.namespace, &key.name) {
            Ok(budget) => budget,
            Err(ApiError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let selected = match selector(&budget) {
            Some(selector) => {
                api.list(resources::PODS, &Query { namespace: &key.namespace, label_selector: selector.to_string(), ..Query::default() })?
            }
            None => Vec::new(),
        };
        let event = |kind, reason, message: &str| api.event(resources::POD_DISRUPTION_BUDGETS, &key.namespace, &key.name, kind, reason, message);
        if selected.is_empty() {
            event(EventType::Normal, "NoPods", "No matching pods found");
        }
        match wanted::count(api, &budget, &selected) {
            Ok(wanted) => {
                if wanted.unmanaged {
                    event(EventType::Warning, "UnmanagedPods", wanted::UNMANAGED);
                }
                let again = status::write(api, &budget, &selected, &wanted)?;
                Ok(again.map(|seconds| Duration::from_secs(seconds.max(1).unsigned_abs())))
            }
            Err(why) => {
                event(EventType::Warning, "CalculateExpectedPodCountFailed", &format!("Failed to calculate the number of expected pods: {why}"));
                // Unknown is unsafe: nothing may go.
                status::write_failure(api, &budget, &why)?;
                Err(Failure::Retry(why))
            }
        }
    }
}

/// An empty selector selects every pod of the namespace, a missing one none.
fn selector(budget: &Value) -> Option<Selector> {
    Selector::from_object(budget.at(&["spec", "selector"]).filter(|s| !s.is_null()))
}

/// What [`DisruptionController::route`] looks at.
const POD_READS: &[&str] = &[
    "metadata.namespace",
    "metadata.labels",
    "metadata.deletionTimestamp",
    "metadata.ownerReferences",
    "status.conditions.type",
    "status.conditions.status",
];

fn matters(before: &Value, after: &Value) -> bool {
    let part = |p: &Value| (p.labels().cloned(), p.deleting(), pods::is_ready(p), p.controller().cloned());
    part(before) != part(after)
}

pintle_sdk::export_controller!(DisruptionController);

#[cfg(test)]
mod tests;
