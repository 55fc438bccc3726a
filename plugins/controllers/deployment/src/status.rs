//! `status` of a Deployment: counts, and the conditions Available, Progressing and ReplicaFailure.

use std::time::Duration;

use pintle_controller_common::conditions::{self, Condition};
use pintle_controller_common::fields::Fields;
use pintle_controller_common::{resources, time};
use pintle_sdk::controller::{Api, ApiError, Failure};
use serde_json::{Map, Value, json};

use crate::rolling::limits;
use crate::sets::{Sets, available};

/// `progressDeadlineSeconds` of this value means: never.
const NO_DEADLINE: i64 = i32::MAX as i64;

pub fn has_deadline(deployment: &Value) -> bool {
    deployment.integer(&["spec", "progressDeadlineSeconds"]).is_some_and(|s| s != NO_DEADLINE)
}

pub fn updated_now(now: &str) -> Map<String, Value> {
    let mut extra = Map::new();
    extra.insert("lastUpdateTime".to_owned(), json!(now));
    extra
}

/// A pause stops the clock of the progress deadline, and says so.
pub fn note_pause(api: &dyn Api, sets: &mut Sets) -> Result<(), Failure> {
    if !has_deadline(&sets.deployment) {
        return Ok(());
    }
    let reason = conditions::find(&sets.deployment, "Progressing").map_or("", |c| c.text(&["reason"])).to_owned();
    if reason == "ProgressDeadlineExceeded" {
        return Ok(());
    }
    let paused = sets.deployment.flag(&["spec", "paused"]);
    let (why, message) = match (paused, reason == "DeploymentPaused") {
        (true, false) => ("DeploymentPaused", "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return Ok(()),
    };
    let now = time::now_text(api);
    if !sets.deployment["status"].is_object() {
        sets.deployment["status"] = json!({});
    }
    let list = sets.deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let since = list
        .iter()
        .find(|c| c.text(&["type"]) == "Progressing" && c.text(&["status"]) == "Unknown")
        .map(|c| c.text(&["lastTransitionTime"]).to_owned());
    let mut kept: Vec<Value> = list.into_iter().filter(|c| c.text(&["type"]) != "Progressing").collect();
    kept.push(json!({"type": "Progressing", "status": "Unknown", "reason": why, "message": message,
                     "lastUpdateTime": now, "lastTransitionTime": since.unwrap_or_else(|| now.clone())}));
    sets.deployment["status"]["conditions"] = json!(kept);
    Ok(())
}

/// Writes the status where it differs. Returns when the progress deadline must be looked at.
pub fn write(api: &dyn Api, sets: &mut Sets) -> Result<Option<Duration>, Failure> {
    let now = time::now_seconds(api);
    let mut status = counts(sets);
    judge_availability(&mut status, sets, now);
    let check_again = judge_progress(&mut status, sets, now);
    copy_failure(&mut status, sets, now);
    let stored = match api.get(resources::DEPLOYMENTS, sets.deployment.namespace(), sets.deployment.name()) {
        Ok(stored) => stored,
        Err(ApiError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if stored["status"] != status {
        let mut next = stored;
        next["metadata"]["resourceVersion"] = sets.deployment["metadata"]["resourceVersion"].clone();
        next["status"] = status;
        match api.update_status(resources::DEPLOYMENTS, sets.deployment.namespace(), sets.deployment.name(), &next) {
            Ok(_) | Err(ApiError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(check_again.map(|seconds| Duration::from_secs(seconds.max(1).unsigned_abs())))
}

fn counts(sets: &Sets) -> Value {
    let sum = |field: &str| sets.all().filter_map(|s| s.integer(&["status", field])).sum::<i64>();
    let updated = sets.new.as_ref().and_then(|s| s.integer(&["status", "replicas"])).unwrap_or(0);
    let available: i64 = sets.all().map(available).sum();
    let unavailable = (sets.all().map(crate::sets::size).sum::<i64>() - available).max(0);
    let mut status = json!({"observedGeneration": sets.deployment["metadata"]["generation"]});
    if let Some(terminating) = Some(sum("terminatingReplicas")) {
        status["terminatingReplicas"] = json!(terminating);
    }
    for (field, count) in [
        ("replicas", sum("replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", sum("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", unavailable),
        ("collisionCount", sets.collisions),
    ] {
        if count > 0 {
            status[field] = json!(count);
        }
    }
    if let Some(conditions) = sets.deployment.at(&["status", "conditions"]).filter(|c| c.is_array()) {
        status["conditions"] = conditions.clone();
    }
    status
}

fn set(status: &mut Value, kind: &str, truth: bool, reason: &str, message: &str, now: i64) {
    let now = time::text(now);
    conditions::set(status, &Condition { kind, status: truth, reason, message }, &now, updated_now(&now));
}

fn judge_availability(status: &mut Value, sets: &Sets, now: i64) {
    let (_, max_unavailable) = limits(&sets.deployment);
    if status.integer(&["availableReplicas"]).unwrap_or(0) >= sets.replicas() - max_unavailable {
        set(status, "Available", true, "MinimumReplicasAvailable", "Deployment has minimum availability.", now);
    } else {
        set(status, "Available", false, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now);
    }
}

/// Progressing: complete, moving, or stuck for longer than the deadline.
fn judge_progress(status: &mut Value, sets: &Sets, now: i64) -> Option<i64> {
    if !has_deadline(&sets.deployment) {
        conditions::remove(status, "Progressing");
        return None;
    }
    if sets.deployment.flag(&["spec", "paused"]) {
        return None;
    }
    let old = &sets.deployment["status"];
    let current = status["conditions"].as_array().into_iter().flatten().find(|c| c.text(&["type"]) == "Progressing").cloned();
    let count = |s: &Value, field: &str| s.integer(&[field]).unwrap_or(0);
    let wanted = sets.replicas();
    let complete = count(status, "updatedReplicas") == wanted && count(status, "replicas") == wanted && count(status, "availableReplicas") == wanted;
    let name = sets.new.as_ref().map(|s| s.name().to_owned());
    let about = |what: &str| match &name {
        Some(name) => format!("ReplicaSet {name:?} {what}."),
        None => format!("Deployment {:?} {what}.", sets.deployment.name()),
    };
    let settled = current.as_ref().is_some_and(|c| c.text(&["reason"]) == "NewReplicaSetAvailable");
    if settled && count(status, "replicas") == count(status, "updatedReplicas") {
        if complete {
            set(status, "Progressing", true, "NewReplicaSetAvailable", &about("has successfully progressed"), now);
        }
        return None;
    }
    if complete {
        set(status, "Progressing", true, "NewReplicaSetAvailable", &about("has successfully progressed"), now);
        return None;
    }
    let old_replicas = |s: &Value| count(s, "replicas") - count(s, "updatedReplicas");
    let moved = count(status, "updatedReplicas") > count(old, "updatedReplicas")
        || old_replicas(status) < old_replicas(old)
        || count(status, "readyReplicas") > count(old, "readyReplicas")
        || count(status, "availableReplicas") > count(old, "availableReplicas");
    if moved || current.is_none() {
        refresh(status, &about("is progressing"), now);
    }
    let deadline = sets.deployment.integer(&["spec", "progressDeadlineSeconds"]).unwrap_or(NO_DEADLINE);
    let since = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c.text(&["type"]) == "Progressing")
        .and_then(|c| time::seconds(c.text(&["lastUpdateTime"])))
        .unwrap_or(now);
    if since + deadline <= now {
        if current.is_none_or(|c| c.text(&["reason"]) != "ProgressDeadlineExceeded") {
            set(status, "Progressing", false, "ProgressDeadlineExceeded", &about("has timed out progressing"), now);
        }
        return None;
    }
    Some(since + deadline - now)
}

/// Progress moves `lastUpdateTime` even when nothing else of the condition changes.
fn refresh(status: &mut Value, message: &str, now: i64) {
    set(status, "Progressing", true, "ReplicaSetUpdated", message, now);
    let text = time::text(now);
    for condition in status["conditions"].as_array_mut().into_iter().flatten().filter(|c| c.text(&["type"]) == "Progressing") {
        condition["lastUpdateTime"] = json!(text);
    }
}

/// A set that cannot make its pods makes the whole Deployment say so.
fn copy_failure(status: &mut Value, sets: &Sets, now: i64) {
    let failing = sets.new.iter().chain(&sets.old).find_map(|s| conditions::find(s, "ReplicaFailure"));
    match failing {
        Some(condition) => {
            set(status, "ReplicaFailure", condition.text(&["status"]) == "True", condition.text(&["reason"]), condition.text(&["message"]), now)
        }
        None => {
            conditions::remove(status, "ReplicaFailure");
        }
    }
}
