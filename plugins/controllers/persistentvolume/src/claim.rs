//! A claim's life: pending until it has a volume, bound to it for good, lost if the volume is gone; and held while pods use it.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::resources::{NODES, PERSISTENT_VOLUME_CLAIMS as CLAIMS, PERSISTENT_VOLUMES as VOLUMES, PODS, STORAGE_CLASSES};
use pintle_sdk::controller::{Api, EventType, Failure, Query};
use serde_json::{Value, json};

use crate::matching::{self, Reach};
use crate::{changed, found, status_changed, tell, with_finalizer};

const PROTECTION: &str = "kubernetes.io/pvc-protection";
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// What external provisioners look for, the second of them the old ones.
const PROVISIONER: [&str; 2] = ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

pub fn sync(api: &dyn Api, claim: Value) -> Result<(), Failure> {
    if claim.deleting() && !is_used(api, &claim)? {
        with_finalizer(api, CLAIMS, claim, PROTECTION, false)?;
        return Ok(());
    }
    let claim = if claim.deleting() { claim } else { with_finalizer(api, CLAIMS, claim, PROTECTION, true)? };
    if is_bound(&claim) { sync_bound(api, claim) } else { sync_unbound(api, claim) }
}

pub fn is_bound(claim: &Value) -> bool {
    !claim.annotation(BIND_COMPLETED).is_empty()
}

/// Names of the claims that a pod uses.
pub fn names_in(pod: &Value) -> impl Iterator<Item = String> + '_ {
    pod.items(&["spec", "volumes"]).iter().filter_map(|volume| match volume.text(&["persistentVolumeClaim", "claimName"]) {
        "" => volume.at(&["ephemeral"]).map(|_| format!("{}-{}", pod.name(), volume.text(&["name"]))),
        name => Some(name.to_owned()),
    })
}

/// Its kubelet is done with it, or it was deleted by force.
pub fn is_shut_down(pod: &Value) -> bool {
    pod.deleting() && pod.integer(&["metadata", "deletionGracePeriodSeconds"]) == Some(0)
}

/// A pod without a node does not count: no kubelet starts it with a claim that is going away.
fn is_used(api: &dyn Api, claim: &Value) -> Result<bool, Failure> {
    let pods = api.list(PODS, &Query { namespace: claim.namespace(), ..Query::default() })?;
    let uses = |pod: &Value| !pod.text(&["spec", "nodeName"]).is_empty() && !is_shut_down(pod) && names_in(pod).any(|name| name == claim.name());
    Ok(pods.iter().any(uses))
}

fn sync_unbound(api: &dyn Api, claim: Value) -> Result<(), Failure> {
    let wanted = claim.text(&["spec", "volumeName"]);
    if wanted.is_empty() {
        return seek(api, claim);
    }
    let Some(volume) = found(api.get(VOLUMES, "", wanted))? else { return pending(api, claim) };
    let (reason, message) = match matching::mismatch(&claim, &volume) {
        _ if volume.at(&["spec", "claimRef"]).is_some() && !matching::is_for(&volume, &claim) => {
            ("FailedBinding", format!("volume {wanted:?} already bound to a different claim."))
        }
        Some(mismatch) => ("VolumeMismatch", format!("Cannot bind to requested volume {wanted:?}: {mismatch}")),
        None => return bind(api, volume, claim),
    };
    tell(api, CLAIMS, &claim, EventType::Warning, reason, &message);
    pending(api, claim)
}

/// Looks for a volume, or says what the claim waits for.
fn seek(api: &dyn Api, claim: Value) -> Result<(), Failure> {
    let name = matching::class_of(&claim).to_owned();
    let class = if name.is_empty() { None } else { found(api.get(STORAGE_CLASSES, "", &name))? };
    let waits = class.as_ref().is_some_and(|class| class.text(&["volumeBindingMode"]) == "WaitForFirstConsumer");
    let selected = claim.annotation(SELECTED_NODE);
    let node = if waits && !selected.is_empty() { found(api.get(NODES, "", selected))? } else { None };
    let reach = match &node {
        _ if !waits => Reach::Anywhere,
        Some(node) => Reach::Node(node),
        None => Reach::Unknown,
    };
    let volumes = api.list(VOLUMES, &Query::default())?;
    if let Some(volume) = matching::choose(&claim, &volumes, &reach) {
        return bind(api, volume.clone(), claim);
    }
    let event = |kind, reason, message: &str| tell(api, CLAIMS, &claim, kind, reason, message);
    let provisioner = class.as_ref().map(|class| class.text(&["provisioner"])).filter(|provisioner| *provisioner != NO_PROVISIONER);
    match (class.is_some(), provisioner) {
        _ if name.is_empty() => {
            event(EventType::Normal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set");
        }
        (false, _) => event(EventType::Warning, "ProvisioningFailed", &format!("storageclass.storage.k8s.io {name:?} not found")),
        _ if waits && selected.is_empty() => {
            event(EventType::Normal, "WaitForFirstConsumer", "waiting for first consumer to be created before binding");
        }
        (true, Some(provisioner)) => return ask(api, claim.clone(), provisioner),
        (true, None) => event(EventType::Warning, "ProvisioningFailed", "no volume plugin matched name: kubernetes.io/no-provisioner"),
    }
    pending(api, claim)
}

/// Tells an external provisioner of the claim.
fn ask(api: &dyn Api, claim: Value, provisioner: &str) -> Result<(), Failure> {
    let claim = changed(api, CLAIMS, claim, |claim| {
        for name in PROVISIONER {
            claim["metadata"]["annotations"][name] = provisioner.into();
        }
    })?;
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. \
         If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    tell(api, CLAIMS, &claim, EventType::Normal, "ExternalProvisioning", &message);
    pending(api, claim)
}

fn sync_bound(api: &dyn Api, claim: Value) -> Result<(), Failure> {
    let name = claim.text(&["spec", "volumeName"]);
    if name.is_empty() {
        return lost(api, claim, "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!");
    }
    match found(api.get(VOLUMES, "", name))? {
        None => lost(api, claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"),
        Some(volume) if volume.at(&["spec", "claimRef"]).is_none() || matching::is_for(&volume, &claim) => bind(api, volume, claim),
        Some(_) => lost(api, claim, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"),
    }
}

/// The volume first: were this interrupted, the claim would find it again by its reference.
fn bind(api: &dyn Api, volume: Value, claim: Value) -> Result<(), Failure> {
    let chosen_here = volume.at(&["spec", "claimRef"]).is_none();
    let volume = changed(api, VOLUMES, volume, |volume| {
        if volume["spec"]["claimRef"]["uid"] != claim["metadata"]["uid"] {
            volume["spec"]["claimRef"] = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace(), "name": claim.name(), "uid": claim.uid(),
                "resourceVersion": claim.text(&["metadata", "resourceVersion"]),
            });
        }
        if chosen_here {
            volume["metadata"]["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
        }
    })?;
    let volume = status_changed(api, VOLUMES, volume, |status| *status = json!({"phase": "Bound"}))?;
    let claim = changed(api, CLAIMS, claim, |claim| {
        if claim.text(&["spec", "volumeName"]).is_empty() {
            claim["spec"]["volumeName"] = volume.name().into();
            claim["metadata"]["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
        }
        claim["metadata"]["annotations"][BIND_COMPLETED] = "yes".into();
    })?;
    status_changed(api, CLAIMS, claim, |status| {
        status["phase"] = "Bound".into();
        status["accessModes"] = volume["spec"]["accessModes"].clone();
        // What a resize has come to stands there afterwards.
        if status["capacity"].is_null() {
            status["capacity"] = volume["spec"]["capacity"].clone();
        }
    })?;
    Ok(())
}

fn pending(api: &dyn Api, claim: Value) -> Result<(), Failure> {
    status_changed(api, CLAIMS, claim, |status| status["phase"] = "Pending".into())?;
    Ok(())
}

fn lost(api: &dyn Api, claim: Value, reason: &str, message: &str) -> Result<(), Failure> {
    if claim.text(&["status", "phase"]) != "Lost" {
        tell(api, CLAIMS, &claim, EventType::Warning, reason, message);
    }
    status_changed(api, CLAIMS, claim, |status| *status = json!({"phase": "Lost"}))?;
    Ok(())
}
