//! `status` of a PodDisruptionBudget. Evictions under way stand in `disruptedPods`, which the API server fills: they count as gone until
//! their pods are, or for two minutes.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{pods, resources, time};
use pintle_sdk::controller::{Api, ApiError, EventType, Failure};
use serde_json::{Map, Value, json};

use crate::wanted::Wanted;

/// A pod that was to be deleted and is not by then, stays.
const DELETION_TIMEOUT: i64 = 120;
const CONDITION: &str = "DisruptionAllowed";

/// Returns when an eviction's time is over.
pub fn write(api: &dyn Api, budget: &Value, selected: &[Value], wanted: &Wanted) -> Result<Option<i64>, Failure> {
    let now = time::now_seconds(api);
    let (disrupted, again) = still_disrupted(api, budget, selected, now);
    let is_healthy = |p: &&Value| !p.deleting() && !disrupted.contains_key(p.name()) && pods::is_ready(p);
    let healthy = i64::try_from(selected.iter().filter(is_healthy).count()).unwrap_or(i64::MAX);
    let allowed = if wanted.expected > 0 { (healthy - wanted.healthy).max(0) } else { 0 };
    let mut status = json!({
        "observedGeneration": budget["metadata"]["generation"],
        "currentHealthy": healthy, "desiredHealthy": wanted.healthy, "expectedPods": wanted.expected, "disruptionsAllowed": allowed,
        "conditions": budget.items(&["status", "conditions"]),
    });
    if !disrupted.is_empty() {
        status["disruptedPods"] = json!(disrupted);
    }
    let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
    set_condition(&mut status, allowed > 0, reason, "", now);
    put(api, budget, status)?;
    Ok(again)
}

/// The counts stay as they were; nothing may go.
pub fn write_failure(api: &dyn Api, budget: &Value, why: &str) -> Result<(), Failure> {
    let mut status = budget.at(&["status"]).cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
    status["disruptionsAllowed"] = json!(0);
    set_condition(&mut status, false, "SyncFailed", why, time::now_seconds(api));
    put(api, budget, status)
}

fn still_disrupted(api: &dyn Api, budget: &Value, selected: &[Value], now: i64) -> (Map<String, Value>, Option<i64>) {
    let noted = budget.at(&["status", "disruptedPods"]).and_then(Value::as_object);
    let (mut left, mut again) = (Map::new(), None::<i64>);
    for pod in selected.iter().filter(|p| !p.deleting()) {
        let Some(since) = noted.and_then(|n| n.get(pod.name())) else { continue };
        let end = since.as_str().and_then(time::seconds).unwrap_or(now) + DELETION_TIMEOUT;
        if end < now {
            let message = format!("Pod was expected by PDB {}/{} to be deleted but it wasn't", budget.namespace(), budget.name());
            api.event(resources::PODS, pod.namespace(), pod.name(), EventType::Warning, "NotDeleted", &message);
        } else {
            again = Some(again.map_or(end - now, |a| a.min(end - now)) + 1);
            left.insert(pod.name().to_owned(), since.clone());
        }
    }
    (left, again)
}

/// In the form of `metav1.Condition`, whose message may be empty but not missing.
fn set_condition(status: &mut Value, allowed: bool, reason: &str, message: &str, now: i64) {
    let word = if allowed { "True" } else { "False" };
    let mut list = status.items(&["conditions"]).to_vec();
    let place = list.iter().position(|c| c.text(&["type"]) == CONDITION);
    let since = place.map(|p| &list[p]).filter(|c| c.text(&["status"]) == word).map(|c| c["lastTransitionTime"].clone());
    let condition = json!({
        "type": CONDITION, "status": word, "reason": reason, "message": message,
        "observedGeneration": status["observedGeneration"], "lastTransitionTime": since.unwrap_or_else(|| json!(time::text(now))),
    });
    match place {
        Some(place) => list[place] = condition,
        None => list.push(condition),
    }
    status["conditions"] = json!(list);
}

fn put(api: &dyn Api, budget: &Value, status: Value) -> Result<(), Failure> {
    if status == budget["status"] {
        return Ok(());
    }
    let mut next = budget.clone();
    next["status"] = status;
    match api.update_status(resources::POD_DISRUPTION_BUDGETS, budget.namespace(), budget.name(), &next) {
        Ok(_) | Err(ApiError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
