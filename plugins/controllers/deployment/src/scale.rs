//! Sizes of sets: setting one, and sharing a change of `spec.replicas` among several in proportion.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::resources;
use pintle_sdk::controller::{Api, EventType, Failure};
use serde_json::{Value, json};

use crate::rolling::limits;
use crate::sets::{DESIRED, MAXIMUM, Sets, note_size, size};

/// Sets a set's size and notes what it was sized for; writes only a difference.
pub fn resize(api: &dyn Api, sets: &Sets, set: &Value, replicas: i64) -> Result<Value, Failure> {
    let mut next = set.clone();
    next["spec"]["replicas"] = json!(replicas);
    note_size(&mut next, sets);
    if next == *set {
        return Ok(next);
    }
    let updated = api.update(resources::REPLICA_SETS, set.namespace(), set.name(), &next)?;
    let before = size(set);
    if before != replicas {
        let direction = if replicas > before { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {before} to {replicas}", set.name());
        sets.event(api, EventType::Normal, "ScalingReplicaSet", &message);
    }
    Ok(updated)
}

/// After `spec.replicas` changed: one active set takes it all; while rolling, each gets a share by its size.
pub fn proportionally(api: &dyn Api, sets: &mut Sets) -> Result<(), Failure> {
    let wanted = sets.replicas();
    if let Some(place) = only_active(sets) {
        return resize_at(api, sets, place, wanted);
    }
    if sets.is_complete() || sets.new.as_ref().is_some_and(|n| size(n) == wanted && crate::sets::available(n) == wanted) {
        for place in 0..sets.old.len() {
            if size(&sets.old[place]) > 0 {
                resize_at(api, sets, Place::Old(place), 0)?;
            }
        }
        return Ok(());
    }
    if sets.deployment.text(&["spec", "strategy", "type"]) == "Recreate" {
        return Ok(());
    }
    share(api, sets, wanted)
}

#[derive(Clone, Copy)]
enum Place {
    New,
    Old(usize),
}

/// The place of the set to scale when at most one has pods: that one, else the new one, else the newest.
fn only_active(sets: &Sets) -> Option<Place> {
    let old: Vec<usize> = (0..sets.old.len()).filter(|i| size(&sets.old[*i]) > 0).collect();
    let new_active = sets.new.as_ref().is_some_and(|n| size(n) > 0);
    match (old.as_slice(), new_active) {
        ([], true) => Some(Place::New),
        ([], false) if sets.new.is_some() => Some(Place::New),
        ([], false) => sets.old.len().checked_sub(1).map(Place::Old),
        ([one], false) => Some(Place::Old(*one)),
        _ => None,
    }
}

fn resize_at(api: &dyn Api, sets: &mut Sets, place: Place, replicas: i64) -> Result<(), Failure> {
    let set = match place {
        Place::New => sets.new.clone(),
        Place::Old(at) => sets.old.get(at).cloned(),
    };
    let Some(set) = set else { return Ok(()) };
    let resized = resize(api, sets, &set, replicas)?;
    match place {
        Place::New => sets.new = Some(resized),
        Place::Old(at) => sets.old[at] = resized,
    }
    Ok(())
}

fn share(api: &dyn Api, sets: &mut Sets, wanted: i64) -> Result<(), Failure> {
    let mut places: Vec<Place> = (0..sets.old.len()).filter(|i| size(&sets.old[*i]) > 0).map(Place::Old).collect();
    if sets.new.as_ref().is_some_and(|n| size(n) > 0) {
        places.push(Place::New);
    }
    let at = |sets: &Sets, place: Place| match place {
        Place::New => sets.new.clone().unwrap_or_default(),
        Place::Old(i) => sets.old[i].clone(),
    };
    let total: i64 = places.iter().map(|p| size(&at(sets, *p))).sum();
    let allowed = if wanted > 0 { wanted + limits(&sets.deployment).0 } else { 0 };
    let to_add = allowed - total;
    // The largest first; among equals the newest when growing, the oldest when shrinking.
    places.sort_by_key(|p| {
        let set = at(sets, *p);
        let age = if to_add > 0 { -set.created() } else { set.created() };
        (-size(&set), age)
    });
    let mut sizes: Vec<i64> = Vec::new();
    let mut added = 0;
    for place in &places {
        let set = at(sets, *place);
        let part = if to_add == 0 { 0 } else { fraction(&set, allowed, to_add, added) };
        added += part;
        sizes.push(size(&set) + part);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (place, replicas) in places.into_iter().zip(sizes) {
        resize_at(api, sets, place, replicas)?;
    }
    Ok(())
}

/// The set's share of what is to be added (or, negative, taken), by its size in the total that it was last sized for.
fn fraction(set: &Value, allowed: i64, to_add: i64, added: i64) -> i64 {
    let before: i64 = set.annotation(MAXIMUM).parse().ok().or_else(|| set.annotation(DESIRED).parse().ok()).unwrap_or(allowed);
    if before == 0 {
        return -size(set);
    }
    let share = (size(set) as f64 * allowed as f64 / before as f64).round() as i64 - size(set);
    let left = to_add - added;
    if to_add > 0 { share.min(left) } else { share.max(left) }
}
