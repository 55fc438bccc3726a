//! The PersistentVolumeClaims of a StatefulSet's pods: made once, kept or owned as `persistentVolumeClaimRetentionPolicy` says. Deleting
//! them is the garbage collector's, when their owner is gone.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::resources::{PERSISTENT_VOLUME_CLAIMS, STATEFUL_SETS};
use pintle_controller_common::template::controller_reference;
use pintle_sdk::controller::{Api, ApiError, EventType, Failure};
use serde_json::{Value, json};

use crate::identity::{claim_name, is_in_range, ordinal_in};

/// Makes the claims that are missing.
pub fn create(api: &dyn Api, set: &Value, pod: &Value) -> Result<(), Failure> {
    let Some(ordinal) = ordinal_in(set.name(), pod.name()) else { return Ok(()) };
    for claim in set.items(&["spec", "volumeClaimTemplates"]) {
        let name = claim_name(set, claim, ordinal);
        match find(api, set, &name)? {
            Some(there) if there.deleting() => return Err(Failure::Retry(format!("pvc {name} is being deleted"))),
            Some(_) => {}
            None => create_one(api, set, pod, claim, &name)?,
        }
    }
    Ok(())
}

fn create_one(api: &dyn Api, set: &Value, pod: &Value, template: &Value, name: &str) -> Result<(), Failure> {
    let mut claim = template.clone();
    if let Some(claim) = claim.as_object_mut() {
        claim.remove("status");
    }
    claim["apiVersion"] = json!("v1");
    claim["kind"] = json!("PersistentVolumeClaim");
    claim["metadata"]["name"] = json!(name);
    claim["metadata"]["namespace"] = json!(set.namespace());
    for (key, value) in set.at(&["spec", "selector", "matchLabels"]).and_then(Value::as_object).into_iter().flatten() {
        claim["metadata"]["labels"][key] = value.clone();
    }
    let event = |kind, reason, message: &str| api.event(STATEFUL_SETS, set.namespace(), set.name(), kind, reason, message);
    match api.create(PERSISTENT_VOLUME_CLAIMS, set.namespace(), &claim) {
        Ok(_) => {
            let message = format!("Create Claim {name} Pod {} in StatefulSet {} success", pod.name(), set.name());
            event(EventType::Normal, "SuccessfulCreate", &message);
            Ok(())
        }
        Err(ApiError::AlreadyExists(_)) => Ok(()),
        Err(error) => {
            let message = format!("Create Claim {name} for Pod {} in StatefulSet {} failed error: {error}", pod.name(), set.name());
            event(EventType::Warning, "FailedCreate", &message);
            Err(Failure::Retry(error.to_string()))
        }
    }
}

/// A claim still owned by this pod's predecessor is about to be deleted: a new pod must not begin with it.
pub fn are_stale(api: &dyn Api, set: &Value, pod: &Value) -> Result<bool, Failure> {
    if !deletes(set, "whenScaled") {
        return Ok(false);
    }
    Ok(of_pod(api, set, pod)?.iter().any(|claim| refers_to_other(claim, pod, "v1", "Pod")))
}

/// Whether the claims' owners are as the policy says.
pub fn match_policy(api: &dyn Api, set: &Value, pod: &Value) -> Result<bool, Failure> {
    Ok(of_pod(api, set, pod)?.iter().all(|claim| is_up_to_date(claim, set, pod)))
}

/// Makes their owners so.
pub fn apply_policy(api: &dyn Api, set: &Value, pod: &Value) -> Result<(), Failure> {
    for claim in of_pod(api, set, pod)? {
        if has_foreign_controller(&claim, set, pod) {
            let message = format!(
                "PersistentVolumeClaim {} has a conflicting OwnerReference that acts as a managing controller, the retention policy is ignored for this claim",
                claim.name()
            );
            api.event(STATEFUL_SETS, set.namespace(), set.name(), EventType::Warning, "ConflictingController", &message);
        }
        if is_up_to_date(&claim, set, pod) {
            continue;
        }
        let mut next = claim.clone();
        next["metadata"]["ownerReferences"] = json!(wanted_references(&claim, set, pod));
        match api.update(PERSISTENT_VOLUME_CLAIMS, set.namespace(), claim.name(), &next) {
            Ok(_) | Err(ApiError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn of_pod(api: &dyn Api, set: &Value, pod: &Value) -> Result<Vec<Value>, Failure> {
    let Some(ordinal) = ordinal_in(set.name(), pod.name()) else { return Ok(Vec::new()) };
    let names = set.items(&["spec", "volumeClaimTemplates"]).iter().map(|c| claim_name(set, c, ordinal));
    let found: Result<Vec<Option<Value>>, Failure> = names.map(|name| find(api, set, &name)).collect();
    Ok(found?.into_iter().flatten().collect())
}

fn find(api: &dyn Api, set: &Value, name: &str) -> Result<Option<Value>, Failure> {
    match api.get(PERSISTENT_VOLUME_CLAIMS, set.namespace(), name) {
        Ok(claim) => Ok(Some(claim)),
        Err(ApiError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn deletes(set: &Value, when: &str) -> bool {
    set.text(&["spec", "persistentVolumeClaimRetentionPolicy", when]) == "Delete"
}

fn references(claim: &Value) -> &[Value] {
    claim.items(&["metadata", "ownerReferences"])
}

fn names(reference: &Value, object: &Value, api_version: &str, kind: &str) -> bool {
    reference.text(&["apiVersion"]) == api_version && reference.text(&["kind"]) == kind && reference.text(&["name"]) == object.name()
}

fn is_owned_by(claim: &Value, owner: &Value) -> bool {
    !owner.uid().is_empty() && references(claim).iter().any(|r| r.text(&["uid"]) == owner.uid())
}

fn refers_to_other(claim: &Value, object: &Value, api_version: &str, kind: &str) -> bool {
    references(claim).iter().find(|r| names(r, object, api_version, kind)).is_some_and(|r| r.text(&["uid"]) != object.uid())
}

fn is_ours(reference: &Value, set: &Value, pod: &Value) -> bool {
    names(reference, set, "apps/v1", "StatefulSet") || names(reference, pod, "v1", "Pod")
}

fn has_foreign_controller(claim: &Value, set: &Value, pod: &Value) -> bool {
    if !deletes(set, "whenScaled") && !deletes(set, "whenDeleted") {
        return false;
    }
    let refers_past_us = refers_to_other(claim, set, "apps/v1", "StatefulSet") || refers_to_other(claim, pod, "v1", "Pod");
    refers_past_us || references(claim).iter().any(|r| r.flag(&["controller"]) && !is_ours(r, set, pod))
}

/// Owned by the set, and by the pod.
fn wanted_owners(set: &Value, pod: &Value) -> (bool, bool) {
    let scaled_down = ordinal_in(set.name(), pod.name()).is_none_or(|o| !is_in_range(set, o));
    match (deletes(set, "whenScaled"), deletes(set, "whenDeleted")) {
        (false, by_set) => (by_set, false),
        (true, by_set) => (by_set && !scaled_down, scaled_down),
    }
}

fn is_up_to_date(claim: &Value, set: &Value, pod: &Value) -> bool {
    if refers_to_other(claim, set, "apps/v1", "StatefulSet") || refers_to_other(claim, pod, "v1", "Pod") {
        return true;
    }
    let owners = (is_owned_by(claim, set), is_owned_by(claim, pod));
    if has_foreign_controller(claim, set, pod) {
        return owners == (false, false);
    }
    let ours = [set.uid(), pod.uid()];
    let plain = references(claim).iter().any(|r| ours.contains(&r.text(&["uid"])) && !r.flag(&["controller"]));
    !plain && owners == wanted_owners(set, pod)
}

fn wanted_references(claim: &Value, set: &Value, pod: &Value) -> Vec<Value> {
    let mut kept: Vec<Value> = references(claim).iter().filter(|r| !is_ours(r, set, pod)).cloned().collect();
    if has_foreign_controller(claim, set, pod) {
        return kept;
    }
    let (by_set, by_pod) = wanted_owners(set, pod);
    if by_set {
        kept.push(controller_reference(set, "apps/v1", "StatefulSet"));
    }
    if by_pod {
        kept.push(controller_reference(pod, "v1", "Pod"));
    }
    kept
}
