//! A StatefulSet's pods by ordinal: names, labels, claims' volumes, and the template that each is made from.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::template;
use serde_json::{Value, json};

/// On pods it holds the name of a revision.
pub const REVISION_LABEL: &str = "controller-revision-hash";
const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// Of a pod's name; `None` where it is no name that this set gives.
pub fn ordinal_in(set: &str, pod: &str) -> Option<i64> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse::<i32>().ok().filter(|_| plain).map(i64::from)
}

pub fn start(set: &Value) -> i64 {
    set.integer(&["spec", "ordinals", "start"]).unwrap_or(0)
}

pub fn replicas(set: &Value) -> i64 {
    set.integer(&["spec", "replicas"]).unwrap_or(1)
}

pub fn is_in_range(set: &Value, ordinal: i64) -> bool {
    (start(set)..start(set) + replicas(set)).contains(&ordinal)
}

pub fn revision_of(pod: &Value) -> &str {
    pod.label(REVISION_LABEL)
}

/// The pod of this ordinal from the template that `revision` holds. It has no uid: it is not made yet.
pub fn pod(set: &Value, revision: &Value, ordinal: i64) -> Value {
    let mut body = revision["data"]["spec"]["template"].clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("$patch");
    }
    let mut pod = template::pod(&body, set, "apps/v1", "StatefulSet");
    pod["metadata"].as_object_mut().expect("made an object").remove("generateName");
    pod["metadata"]["name"] = json!(format!("{}-{ordinal}", set.name()));
    pod["metadata"]["labels"][REVISION_LABEL] = json!(revision.name());
    give_identity(&mut pod, ordinal);
    pod["spec"]["hostname"] = pod["metadata"]["name"].clone();
    let service = set.text(&["spec", "serviceName"]);
    if !service.is_empty() {
        pod["spec"]["subdomain"] = json!(service);
    }
    give_volumes(set, &mut pod, ordinal);
    pod
}

pub fn has_identity(set: &Value, pod: &Value) -> bool {
    ordinal_in(set.name(), pod.name()).is_some() && pod.label(NAME_LABEL) == pod.name()
}

pub fn give_identity(pod: &mut Value, ordinal: i64) {
    pod["metadata"]["labels"][NAME_LABEL] = pod["metadata"]["name"].clone();
    pod["metadata"]["labels"][INDEX_LABEL] = json!(ordinal.to_string());
}

pub fn has_volumes(set: &Value, pod: &Value, ordinal: i64) -> bool {
    set.items(&["spec", "volumeClaimTemplates"]).iter().all(|claim| {
        let volume = pod.items(&["spec", "volumes"]).iter().find(|v| v.text(&["name"]) == claim.name());
        volume.is_some_and(|v| v.text(&["persistentVolumeClaim", "claimName"]) == claim_name(set, claim, ordinal))
    })
}

/// The claims' volumes take the place of others of the same name.
pub fn give_volumes(set: &Value, pod: &mut Value, ordinal: i64) {
    let claims = set.items(&["spec", "volumeClaimTemplates"]);
    if claims.is_empty() {
        return;
    }
    let volume = |claim: &Value| json!({"name": claim.name(), "persistentVolumeClaim": {"claimName": claim_name(set, claim, ordinal)}});
    let mut volumes: Vec<Value> = claims.iter().map(volume).collect();
    let others = pod.items(&["spec", "volumes"]).iter().filter(|v| !claims.iter().any(|c| c.name() == v.text(&["name"])));
    volumes.extend(others.cloned());
    pod["spec"]["volumes"] = json!(volumes);
}

pub fn claim_name(set: &Value, claim: &Value, ordinal: i64) -> String {
    format!("{}-{}-{ordinal}", claim.name(), set.name())
}
