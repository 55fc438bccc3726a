//! `pods/eviction`: a deletion that asks the pod's disruption budget first.
//!
//! The handler calls [`decide`] with the namespace's PodDisruptionBudgets. On [`Eviction::Charge`] it commits the given budget at its own
//! `resourceVersion` (trying again on a conflict); then it gives the pod the condition of [`mark_evicted`] and deletes it with the eviction's
//! `deleteOptions`. The answer is a `Success` Status with code 201.

use jiff::Timestamp;
use pintle_api::object::ObjectExt;
use pintle_api::{Cause, CauseKind, Object, Reason, Status};
use serde_json::{Value, json};

use super::checks::selector_matches;

/// Entries of `status.disruptedPods` that a budget may hold.
const MAX_DISRUPTED: usize = 2000;
const RETRY_SECONDS: u32 = 10;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

#[derive(Debug, PartialEq)]
pub enum Eviction {
    /// No budget has a say.
    Free,
    /// The budget with one disruption fewer and the pod noted: write it, then delete.
    Charge(Box<Object>),
}

pub fn decide(pod: &Object, budgets: &[Object], now: Timestamp) -> Result<Eviction, Status> {
    let phase = pod.str_at(&["status", "phase"]);
    if pod.is_being_deleted() || matches!(phase, "Succeeded" | "Failed" | "Pending") {
        return Ok(Eviction::Free);
    }
    let labels = pod.at(&["metadata", "labels"]).unwrap_or(&Value::Null);
    let covers = |b: &&Object| selector_matches(b.at(&["spec", "selector"]).unwrap_or(&Value::Null), labels);
    let mut covering = budgets.iter().filter(covers);
    let Some(budget) = covering.next() else { return Ok(Eviction::Free) };
    if covering.next().is_some() {
        let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::new(500, Reason::InternalError, message));
    }
    if !is_ready(pod) && unready_may_go(budget) {
        return Ok(Eviction::Free);
    }
    charge(pod, budget, now).map(|b| Eviction::Charge(Box::new(b)))
}

/// Notes on the pod why it ends, for Jobs that do not count it as a failure.
pub fn mark_evicted(pod: &mut Object, now: Timestamp) {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        "lastProbeTime": null, "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    let mut conditions = pod.list_at(&["status", "conditions"]).to_vec();
    conditions.retain(|c| c.str_at(&["type"]) != "DisruptionTarget");
    conditions.push(condition);
    pod.set_at(&["status", "conditions"], conditions.into());
}

fn is_ready(pod: &Object) -> bool {
    pod.list_at(&["status", "conditions"]).iter().any(|c| c.str_at(&["type"]) == "Ready" && c.str_at(&["status"]) == "True")
}

fn unready_may_go(budget: &Object) -> bool {
    let count = |field: &str| budget.i64_at(&["status", field]).unwrap_or(0);
    match budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]) {
        "AlwaysAllow" => true,
        _ => count("desiredHealthy") > 0 && count("currentHealthy") >= count("desiredHealthy"),
    }
}

fn charge(pod: &Object, budget: &Object, now: Timestamp) -> Result<Object, Status> {
    let count = |field: &str| budget.i64_at(&["status", field]).unwrap_or(0);
    let name = budget.name();
    if count("observedGeneration") < budget.i64_at(&["metadata", "generation"]).unwrap_or(0) {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(too_many(&cause, RETRY_SECONDS));
    }
    let allowed = count("disruptionsAllowed");
    let forbidden = |why: &str| Err(Status::forbidden("policy", "poddisruptionbudgets", name, why));
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if budget.map_at(&["status", "disruptedPods"]).is_some_and(|pods| pods.len() > MAX_DISRUPTED) {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let (needed, have) = (count("desiredHealthy"), count("currentHealthy"));
        return Err(too_many(&format!("The disruption budget {name} needs {needed} healthy pods and has {have} currently"), 0));
    }
    let mut charged = budget.clone();
    charged.set_at(&["status", "disruptionsAllowed"], (allowed - 1).into());
    charged.set_at(&["status", "disruptedPods", pod.name()], now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
    Ok(charged)
}

fn too_many(cause: &str, retry_seconds: u32) -> Status {
    let mut status = Status::too_many_requests(REFUSED, retry_seconds);
    status.details_mut().causes = vec![Cause::new(CauseKind::DisruptionBudget, "", cause)];
    status
}
