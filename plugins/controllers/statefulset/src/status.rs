//! `status` of a StatefulSet: counts by readiness and revision, and the end of a roll-out.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{pods, resources};
use pintle_sdk::controller::{ApiError, Failure};
use serde_json::{Value, json};

use crate::identity::{self, revision_of};
use crate::replicas::{Replicas, is_made, is_running_and_ready};

#[derive(Default)]
struct Counts {
    replicas: i64,
    ready: i64,
    available: i64,
    current: i64,
    updated: i64,
}

/// Writes the status where it differs. Returns when a pod becomes available by the passing of time.
pub fn write(replicas: &Replicas<'_>, collisions: i64) -> Result<Option<i64>, Failure> {
    let set = replicas.set;
    let (mut counts, again) = count(replicas);
    let mut current = replicas.current.name();
    let wanted = identity::replicas(set);
    let rolling = set.text(&["spec", "updateStrategy", "type"]) == "RollingUpdate";
    if rolling && [counts.updated, counts.ready, counts.replicas] == [wanted; 3] {
        counts.current = counts.updated;
        current = replicas.update.name();
    }
    let mut status = set.at(&["status"]).cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
    status["observedGeneration"] = set["metadata"]["generation"].clone();
    status["replicas"] = json!(counts.replicas);
    status["availableReplicas"] = json!(counts.available);
    status["currentRevision"] = json!(current);
    status["updateRevision"] = json!(replicas.update.name());
    status["collisionCount"] = json!(collisions);
    for (field, count) in [("readyReplicas", counts.ready), ("currentReplicas", counts.current), ("updatedReplicas", counts.updated)] {
        if count > 0 {
            status[field] = json!(count);
        } else {
            status.as_object_mut().expect("made an object above").remove(field);
        }
    }
    if status != set["status"] {
        let mut next = set.clone();
        next["status"] = status;
        match replicas.api.update_status(resources::STATEFUL_SETS, set.namespace(), set.name(), &next) {
            Ok(_) | Err(ApiError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(again)
}

fn count(replicas: &Replicas<'_>) -> (Counts, Option<i64>) {
    let (mut counts, mut again) = (Counts::default(), None::<i64>);
    for pod in replicas.wanted.iter().chain(&replicas.condemned).filter(|p| is_made(p)) {
        counts.replicas += 1;
        if is_running_and_ready(pod) {
            counts.ready += 1;
            match pods::availability(pod, replicas.min_ready, replicas.now) {
                Ok(()) => counts.available += 1,
                Err(left) => again = [again, left].into_iter().flatten().min(),
            }
        }
        if !pod.deleting() {
            counts.current += i64::from(revision_of(pod) == replicas.current.name());
            counts.updated += i64::from(revision_of(pod) == replicas.update.name());
        }
    }
    (counts, again)
}
