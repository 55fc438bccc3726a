//! Annotations of pods and templates that mean something: profiles of older clients, the mark of a static pod's mirror, the cost of a deletion.

use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::CONTAINER_LISTS;
use super::volumes::descending;
use crate::faults::{Faults, Path};

pub const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
pub const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
pub const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// `object`: a pod or a template; `path`: of its annotations.
pub fn validate(object: &Value, path: &Path<'_>, faults: &mut Faults) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    for (key, value) in annotations(object) {
        let here = path.key(key);
        match key {
            MIRROR if spec.str_at(&["nodeName"]).is_empty() => {
                faults.invalid_str(&here, value, "must set spec.nodeName if mirror pod annotation is set");
            }
            DELETION_COST if !is_cost(value) => faults.invalid_str(&here, value, "must be a 32bit integer"),
            SECCOMP_OF_POD => seccomp(value, &path.field(key), faults),
            _ if key.starts_with(SECCOMP_OF_CONTAINER) => seccomp(value, &path.field(key), faults),
            _ => {
                if let Some(container) = key.strip_prefix(APPARMOR) {
                    apparmor(spec, container, value, &here, faults);
                }
            }
        }
    }
}

/// Annotations that stand for fields say the same as these, where both are there when an object is made.
pub fn validate_profiles(object: &Value, spec_path: &Path<'_>, faults: &mut Faults) {
    let names_profile = |key: &str| key == SECCOMP_OF_POD || key.starts_with(SECCOMP_OF_CONTAINER) || key.starts_with(APPARMOR);
    if !annotations(object).any(|(key, _)| names_profile(key)) {
        return;
    }
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let said = |key: &str| annotations(object).find(|(k, _)| *k == key).map(|(_, value)| value);
    let own = |of: &'_ Value, field: &str| of.at(&["securityContext", field]).filter(|profile| !profile.is_null()).cloned();
    if let (Some(profile), Some(annotation)) = (own(spec, "seccompProfile"), said(SECCOMP_OF_POD)) {
        same_profile("seccomp", &profile, annotation, &spec_path.field("securityContext.seccompProfile"), faults);
    }
    let is_windows = spec.str_at(&["os", "name"]) == "windows";
    for kind in CONTAINER_LISTS {
        let list = spec_path.field(kind);
        for (i, container) in spec.list_at(&[kind]).iter().enumerate() {
            let (here, name) = (list.index(i), container.str_at(&["name"]));
            if let (Some(profile), Some(annotation)) = (own(container, "seccompProfile"), said(&format!("{SECCOMP_OF_CONTAINER}{name}"))) {
                same_profile("seccomp", &profile, annotation, &here.field("securityContext.seccompProfile"), faults);
            }
            let profile = own(container, "appArmorProfile").or_else(|| own(spec, "appArmorProfile")).filter(|_| !is_windows);
            if let (Some(profile), Some(annotation)) = (profile, said(&format!("{APPARMOR}{name}"))) {
                same_profile("apparmor", &profile, annotation, &here.field("securityContext.appArmorProfile"), faults);
            }
        }
    }
}

/// Containers whose AppArmor profile is an annotation get the field, which alone is looked at from then on.
pub fn set_apparmor_fields(pod: &mut Value) {
    let said: Vec<(String, Value)> =
        annotations(pod).filter_map(|(key, annotation)| Some((key.strip_prefix(APPARMOR)?.to_owned(), apparmor_field(annotation)?))).collect();
    if said.is_empty() || pod.str_at(&["spec", "os", "name"]) == "windows" {
        return;
    }
    let of_pod = pod.at(&["spec", "securityContext", "appArmorProfile"]).cloned();
    for kind in CONTAINER_LISTS {
        for container in pod.get_mut("spec").and_then(|spec| spec.get_mut(kind)).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some((_, field)) = said.iter().find(|(name, _)| name == container.str_at(&["name"])) else { continue };
            let has_one = container.at(&["securityContext", "appArmorProfile"]).is_some_and(|profile| !profile.is_null());
            if !has_one && of_pod.as_ref() != Some(field) {
                container.set_at(&["securityContext", "appArmorProfile"], field.clone());
            }
        }
    }
}

/// What stays as it was when the pod was made.
pub fn validate_change(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let fixed = |key: &str| match key {
        MIRROR => Some("mirror pod annotation"),
        _ => key.starts_with(APPARMOR).then_some("AppArmor annotations"),
    };
    for (key, value) in annotations(old) {
        let Some(what) = fixed(key) else { continue };
        if annotations(new).find(|(k, _)| *k == key).is_none_or(|(_, v)| v != value) {
            faults.forbidden(&path.key(key), &format!("may not remove or update {what}"));
        }
    }
    for (key, _) in annotations(new) {
        let Some(what) = fixed(key) else { continue };
        if !annotations(old).any(|(k, _)| k == key) {
            faults.forbidden(&path.key(key), &format!("may not add {what}"));
        }
    }
}

fn annotations(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    let map = object.map_at(&["metadata", "annotations"]);
    map.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or("")))
}

/// A number of 32 bits without plus sign or leading zeros.
fn is_cost(text: &str) -> bool {
    let starts_well = text == "0" || text.starts_with('-') || text.starts_with(|c: char| ('1'..='9').contains(&c));
    starts_well && text.parse::<i32>().is_ok()
}

fn seccomp(profile: &str, path: &Path<'_>, faults: &mut Faults) {
    match profile.strip_prefix("localhost/") {
        Some(file) => descending(file, path, faults),
        None if matches!(profile, "runtime/default" | "docker/default" | "unconfined") => {}
        None => faults.invalid_str(path, profile, "must be a valid seccomp profile"),
    }
}

fn apparmor(spec: &Value, container: &str, profile: &str, path: &Path<'_>, faults: &mut Faults) {
    if !CONTAINER_LISTS.iter().flat_map(|kind| spec.list_at(&[kind])).any(|c| c.str_at(&["name"]) == container) {
        faults.invalid_str(path, container, "container not found");
    }
    if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/") {
        faults.invalid_str(path, profile, &format!("invalid AppArmor profile name: {profile:?}"));
    }
}

/// The field that an AppArmor annotation stands for.
pub fn apparmor_field(annotation: &str) -> Option<Value> {
    match annotation.strip_prefix("localhost/") {
        Some(file) if !file.is_empty() => Some(json!({"type": "Localhost", "localhostProfile": file})),
        _ if annotation == "unconfined" => Some(json!({"type": "Unconfined"})),
        _ if annotation == "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => None,
    }
}

/// `kind`: `apparmor` or `seccomp`, for the words of a fault.
fn same_profile(kind: &str, profile: &Value, annotation: &str, path: &Path<'_>, faults: &mut Faults) {
    let file = annotation.strip_prefix("localhost/");
    let is_default = annotation == "runtime/default" || (kind == "seccomp" && annotation == "docker/default");
    let agrees = match profile.str_at(&["type"]) {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => is_default,
        "Localhost" => file.is_some(),
        _ => true,
    };
    if !agrees {
        faults.forbidden(&path.field("type"), &format!("{kind} type in annotation and field must match"));
    } else if profile.str_at(&["type"]) == "Localhost" && file != profile.get("localhostProfile").and_then(Value::as_str) {
        faults.forbidden(&path.field("localhostProfile"), &format!("{kind} profile in annotation and field must match"));
    }
}
