//! `status` of a DaemonSet: counts over nodes.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{pods, resources};
use pintle_sdk::controller::{ApiError, Failure};
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::placement::is_updated;

#[derive(Default)]
struct Counts {
    desired: i64,
    current: i64,
    misscheduled: i64,
    ready: i64,
    updated: i64,
    available: i64,
}

/// Writes the status where it differs. Returns when a pod becomes available by the passing of time.
pub fn write(fleet: &Fleet<'_>, collisions: i64) -> Result<Option<i64>, Failure> {
    let (counts, again) = count(fleet);
    let mut status = fleet.set.at(&["status"]).cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
    status["observedGeneration"] = fleet.set["metadata"]["generation"].clone();
    for (field, count) in [
        ("desiredNumberScheduled", counts.desired),
        ("currentNumberScheduled", counts.current),
        ("numberMisscheduled", counts.misscheduled),
        ("numberReady", counts.ready),
    ] {
        status[field] = json!(count);
    }
    for (field, count) in [
        ("updatedNumberScheduled", counts.updated),
        ("numberAvailable", counts.available),
        ("numberUnavailable", counts.desired - counts.available),
        ("collisionCount", collisions),
    ] {
        if count > 0 {
            status[field] = json!(count);
        } else {
            status.as_object_mut().expect("made an object above").remove(field);
        }
    }
    if status != fleet.set["status"] {
        let mut next = fleet.set.clone();
        next["status"] = status;
        match fleet.api.update_status(resources::DAEMON_SETS, fleet.set.namespace(), fleet.set.name(), &next) {
            Ok(_) | Err(ApiError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(again)
}

fn count(fleet: &Fleet<'_>) -> (Counts, Option<i64>) {
    let (mut counts, mut again) = (Counts::default(), None::<i64>);
    for (node, (should_run, _)) in &fleet.nodes {
        let first = fleet.by_node.get(node).and_then(|pods| pods.first());
        if !should_run {
            counts.misscheduled += i64::from(first.is_some());
            continue;
        }
        counts.desired += 1;
        let Some(pod) = first else { continue };
        counts.current += 1;
        counts.ready += i64::from(pods::is_ready(pod));
        counts.updated += i64::from(is_updated(pod, fleet.set, &fleet.hash));
        match pods::availability(pod, fleet.min_ready, fleet.now) {
            Ok(()) => counts.available += 1,
            Err(Some(left)) => again = Some(again.map_or(left, |a| a.min(left))),
            Err(None) => {}
        }
    }
    (counts, again)
}
