//! Brings claims and volumes of storage together, and keeps either from going away while it is used.
//!
//! A key is a claim, or a volume (without a namespace). What a claim takes is in `matching.rs`, each side's life in `claim.rs` and `volume.rs`.
//! Volumes are made by hand or by a provisioner of the cluster's own; here is none, and nothing is wiped: volumes to be deleted or recycled that no
//! provisioner looks after fail with an event.

mod claim;
mod matching;
mod volume;

use std::time::Duration;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::resources::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES};
use pintle_sdk::controller::{Api, ApiError, Controller, EventType, Failure, Key, Query, Relation, Resource, Watch};
use serde_json::{Value, json};

#[derive(Default)]
pub struct VolumeController;

impl Controller for VolumeController {
    fn watches() -> Vec<Watch> {
        vec![
            Watch::new(PERSISTENT_VOLUME_CLAIMS, Relation::Primary),
            Watch::new(PERSISTENT_VOLUMES, Relation::Routed),
            Watch::new(STORAGE_CLASSES, Relation::Routed),
            Watch::new(PODS, Relation::Local).reading(POD_READS),
        ]
    }

    fn route(&mut self, api: &dyn Api, index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        let Some(object) = after.or(before) else { return Vec::new() };
        match index {
            1 => of_volume(api, before, after),
            2 => waiting(api, object.name()),
            // A claim is held by pods until they are gone.
            _ if after.is_none_or(claim::is_shut_down) => claims_of(object),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        if key.namespace.is_empty() {
            if let Some(volume) = found(api.get(PERSISTENT_VOLUMES, "", &key.name))? {
                volume::sync(api, volume)?;
            }
            return Ok(None);
        }
        match found(api.get(PERSISTENT_VOLUME_CLAIMS, &key.namespace, &key.name))? {
            Some(claim) => claim::sync(api, claim)?,
            None => {
                for volume in api.list(PERSISTENT_VOLUMES, &Query::default())? {
                    if claim_key(&volume).as_ref() == Some(key) {
                        volume::sync(api, volume)?;
                    }
                }
            }
        }
        Ok(None)
    }
}

/// The volume itself, the claim that it is for, and who waits for one where it became free.
fn of_volume(api: &dyn Api, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
    let of = |volume: &Value| Key { namespace: String::new(), name: volume.name().to_owned() };
    let mut keys: Vec<Key> = after.map(of).into_iter().collect();
    keys.extend(before.and_then(claim_key));
    keys.extend(after.and_then(claim_key).filter(|key| !keys.contains(key)));
    let free = |volume: Option<&Value>| volume.is_some_and(|volume| volume.text(&["status", "phase"]) == "Available");
    if free(after) && !free(before) {
        keys.extend(waiting(api, after.map(matching::class_of).unwrap_or_default()));
    }
    keys
}

/// Claims of a class that have no volume.
fn waiting(api: &dyn Api, class: &str) -> Vec<Key> {
    let claims = api.list(PERSISTENT_VOLUME_CLAIMS, &Query::default()).unwrap_or_default();
    let waits = |claim: &&Value| !claim::is_bound(claim) && matching::class_of(claim) == class;
    claims.iter().filter(waits).map(|claim| Key { namespace: claim.namespace().to_owned(), name: claim.name().to_owned() }).collect()
}

/// What [`VolumeController::route`] looks at.
const POD_READS: &[&str] =
    &["metadata.name", "metadata.namespace", "metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds", "spec.volumes"];

fn claims_of(pod: &Value) -> Vec<Key> {
    claim::names_in(pod).map(|name| Key { namespace: pod.namespace().to_owned(), name }).collect()
}

fn claim_key(volume: &Value) -> Option<Key> {
    let reference = volume.at(&["spec", "claimRef"])?;
    Some(Key { namespace: reference.text(&["namespace"]).to_owned(), name: reference.text(&["name"]).to_owned() })
}

fn found(result: pintle_sdk::controller::Result<Value>) -> Result<Option<Value>, Failure> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(ApiError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn tell(api: &dyn Api, resource: Resource, about: &Value, kind: EventType, reason: &str, message: &str) {
    api.event(resource, about.namespace(), about.name(), kind, reason, message);
}

/// The object after the change, written if there was one.
fn changed(api: &dyn Api, resource: Resource, object: Value, change: impl FnOnce(&mut Value)) -> Result<Value, Failure> {
    let mut next = object.clone();
    change(&mut next);
    if next == object { Ok(object) } else { Ok(api.update(resource, object.namespace(), object.name(), &next)?) }
}

fn status_changed(api: &dyn Api, resource: Resource, object: Value, change: impl FnOnce(&mut Value)) -> Result<Value, Failure> {
    let mut next = object.clone();
    change(&mut next["status"]);
    if next == object { Ok(object) } else { Ok(api.update_status(resource, object.namespace(), object.name(), &next)?) }
}

/// `kubernetes.io/pvc-protection` and its like.
fn with_finalizer(api: &dyn Api, resource: Resource, object: Value, finalizer: &str, wanted: bool) -> Result<Value, Failure> {
    let mut finalizers: Vec<Value> = object.items(&["metadata", "finalizers"]).to_vec();
    let has = finalizers.iter().any(|known| known == finalizer);
    if has == wanted {
        return Ok(object);
    }
    if wanted {
        finalizers.push(finalizer.into());
    } else {
        finalizers.retain(|known| known != finalizer);
    }
    changed(api, resource, object, |object| object["metadata"]["finalizers"] = json!(finalizers))
}

pintle_sdk::export_controller!(VolumeController);

#[cfg(test)]
mod tests;
