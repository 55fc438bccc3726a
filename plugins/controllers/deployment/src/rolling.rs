//! The two strategies. Rolling: the new set grows and the old ones shrink within `maxSurge` and `maxUnavailable`. Recreate: the old
//! ones go first.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::numbers::resolve;
use pintle_sdk::controller::{Api, Failure};
use serde_json::Value;

use crate::scale::resize;
use crate::sets::{Sets, available, size};

/// `maxSurge` (rounded up) and `maxUnavailable` (rounded down) in pods. Both zero would never move: then one may be unavailable.
pub fn limits(deployment: &Value) -> (i64, i64) {
    if deployment.text(&["spec", "strategy", "type"]) == "Recreate" {
        return (0, 0);
    }
    let replicas = deployment.integer(&["spec", "replicas"]).unwrap_or(1);
    let field = |name: &str| deployment.at(&["spec", "strategy", "rollingUpdate", name]);
    let surge = resolve(field("maxSurge"), replicas, true).unwrap_or(0);
    let unavailable = resolve(field("maxUnavailable"), replicas, false).unwrap_or(0);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable.min(replicas)) }
}

/// How large the new set may be now, when it is `current` large.
pub fn replicas_of_new(sets: &Sets, current: i64) -> i64 {
    let wanted = sets.replicas();
    if sets.deployment.text(&["spec", "strategy", "type"]) == "Recreate" {
        return wanted;
    }
    let total: i64 = sets.old.iter().map(size).sum::<i64>() + current;
    let room = wanted + limits(&sets.deployment).0 - total;
    if room <= 0 { current } else { current + room.min(wanted - current).max(0) }
}

/// One step: grow the new set, else shrink the old ones.
pub fn step(api: &dyn Api, sets: &mut Sets) -> Result<(), Failure> {
    let Some(new) = sets.new.clone() else { return Ok(()) };
    let wanted = sets.replicas();
    let target = if size(&new) > wanted { wanted } else { replicas_of_new(sets, size(&new)) };
    let grown = resize(api, sets, &new, target)?;
    let moved = size(&new) != target;
    sets.new = Some(grown);
    if moved {
        return Ok(());
    }
    shrink_old(api, sets)
}

fn shrink_old(api: &dyn Api, sets: &mut Sets) -> Result<(), Failure> {
    let old_total: i64 = sets.old.iter().map(size).sum();
    let Some(new) = sets.new.clone().filter(|_| old_total > 0) else { return Ok(()) };
    let total = old_total + size(&new);
    let (_, max_unavailable) = limits(&sets.deployment);
    let min_available = sets.replicas() - max_unavailable;
    let new_unavailable = size(&new) - available(&new);
    let mut excess = total - min_available - new_unavailable;
    if excess <= 0 {
        return Ok(());
    }
    // Pods that are not available cost nothing: they go first, oldest set first.
    for at in 0..sets.old.len() {
        let set = sets.old[at].clone();
        let unhealthy = (size(&set) - available(&set)).max(0).min(excess);
        if unhealthy > 0 {
            excess -= unhealthy;
            sets.old[at] = resize(api, sets, &set, size(&set) - unhealthy)?;
        }
    }
    let all_available: i64 = sets.all().map(available).sum();
    let mut spare = all_available - min_available;
    for at in 0..sets.old.len() {
        let set = sets.old[at].clone();
        let take = size(&set).min(spare);
        if take > 0 {
            spare -= take;
            sets.old[at] = resize(api, sets, &set, size(&set) - take)?;
        }
    }
    Ok(())
}

/// Old sets to nothing, then, once their pods are gone, the new one to its full size.
pub fn recreate(api: &dyn Api, sets: &mut Sets) -> Result<(), Failure> {
    sets.adopt_revision(api, false)?;
    let mut moved = false;
    for at in 0..sets.old.len() {
        let set = sets.old[at].clone();
        if size(&set) > 0 {
            sets.old[at] = resize(api, sets, &set, 0)?;
            moved = true;
        }
    }
    if moved || crate::old_pods_run(api, sets)? {
        return Ok(());
    }
    sets.adopt_revision(api, true)?;
    if let Some(new) = sets.new.clone() {
        sets.new = Some(resize(api, sets, &new, sets.replicas())?);
    }
    Ok(())
}
