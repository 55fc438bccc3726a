//! A volume's life: available, bound to a claim, released when that is gone; and held while it is bound.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::resources::{PERSISTENT_VOLUME_CLAIMS as CLAIMS, PERSISTENT_VOLUMES as VOLUMES};
use pintle_sdk::controller::{Api, EventType, Failure};
use serde_json::{Value, json};

use crate::claim::{self, BOUND_BY_CONTROLLER};
use crate::{changed, found, status_changed, tell, with_finalizer};

const PROTECTION: &str = "kubernetes.io/pv-protection";
/// Who made it and will delete it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

pub fn sync(api: &dyn Api, volume: Value) -> Result<(), Failure> {
    let volume = if volume.deleting() { volume } else { with_finalizer(api, VOLUMES, volume, PROTECTION, true)? };
    let volume = settle(api, volume)?;
    if volume.deleting() && volume.text(&["status", "phase"]) != "Bound" {
        with_finalizer(api, VOLUMES, volume, PROTECTION, false)?;
    }
    Ok(())
}

/// Its phase, by what became of the claim that it names.
fn settle(api: &dyn Api, volume: Value) -> Result<Value, Failure> {
    let reference = volume.at(&["spec", "claimRef"]).cloned().unwrap_or_default();
    if reference.text(&["uid"]).is_empty() {
        return in_phase(api, volume, "Available");
    }
    let (namespace, name) = (reference.text(&["namespace"]), reference.text(&["name"]));
    // Past the cache: a claim that is only not seen yet must not cost its volume.
    let claim = found(api.get_live(CLAIMS, namespace, name))?.filter(|claim| claim.uid() == reference.text(&["uid"]));
    match claim {
        None => release(api, volume),
        Some(claim) if claim.text(&["spec", "volumeName"]) == volume.name() => in_phase(api, volume, "Bound"),
        // Half bound: the claim's side comes next.
        Some(claim) if claim.text(&["spec", "volumeName"]).is_empty() => {
            claim::sync(api, claim)?;
            Ok(volume)
        }
        Some(_) => unbind(api, volume),
    }
}

/// The claim took another one.
fn unbind(api: &dyn Api, volume: Value) -> Result<Value, Failure> {
    let chosen_here = !volume.annotation(BOUND_BY_CONTROLLER).is_empty();
    let volume = changed(api, VOLUMES, volume, |volume| {
        if chosen_here {
            volume["spec"].as_object_mut().map(|spec| spec.remove("claimRef"));
            volume["metadata"]["annotations"].as_object_mut().map(|annotations| annotations.remove(BOUND_BY_CONTROLLER));
        } else {
            volume["spec"]["claimRef"].as_object_mut().map(|reference| reference.remove("uid"));
        }
    })?;
    in_phase(api, volume, "Available")
}

fn release(api: &dyn Api, volume: Value) -> Result<Value, Failure> {
    let failed = volume.text(&["status", "phase"]) == "Failed";
    let volume = if failed { volume } else { in_phase(api, volume, "Released")? };
    let (reason, message) = match volume.text(&["spec", "persistentVolumeReclaimPolicy"]) {
        "Delete" if volume.annotation(PROVISIONED_BY).is_empty() => {
            ("VolumeFailedDelete", format!("error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched", volume.name()))
        }
        "Recycle" => ("VolumeFailedRecycle", "No recycler plugin found for the volume!".to_owned()),
        _ => return Ok(volume),
    };
    if !failed {
        tell(api, VOLUMES, &volume, EventType::Warning, reason, &message);
    }
    status_changed(api, VOLUMES, volume, |status| *status = json!({"phase": "Failed", "message": message}))
}

fn in_phase(api: &dyn Api, volume: Value, phase: &str) -> Result<Value, Failure> {
    if volume.text(&["status", "phase"]) == phase {
        return Ok(volume);
    }
    status_changed(api, VOLUMES, volume, |status| *status = json!({"phase": phase}))
}
