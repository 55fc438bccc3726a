//! Validation of a pod's volumes and of how its containers mount them.

use std::collections::{HashMap, HashSet};

use pintle_api::names;
use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use serde_json::Value;

use super::environment::{field_ref, resource_field_ref};
use crate::checks::{label_map, one_of_if_set};
use crate::core::persistentvolumeclaims::validate_claim_spec;
use crate::faults::{Faults, Path};
use crate::fields::is_set;
use crate::volume_sources;

/// The volumes that a container may name, without those that are faulty themselves.
pub type Known<'a> = HashMap<&'a str, &'a Value>;

const MAX_MODE: i64 = 0o777;
const MODE_RANGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const VOLUME_FIELDS: [&str; 5] = ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const HOST_PATH_TYPES: [&str; 8] = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

pub fn validate<'a>(volumes: &'a [Value], pod_name: &str, path: &Path<'_>, faults: &mut Faults) -> Known<'a> {
    let mut known = Known::new();
    let ephemeral: HashSet<&str> = volumes.iter().filter(|v| is_set(v.get("ephemeral"))).map(|v| v.str_at(&["name"])).collect();
    let is_created = |claim: &str| {
        let made_for = claim.strip_prefix(pod_name).and_then(|rest| rest.strip_prefix('-'));
        !pod_name.is_empty() && made_for.is_some_and(|name| ephemeral.contains(name))
    };
    for (i, volume) in volumes.iter().enumerate() {
        let here = path.index(i);
        let name = volume.str_at(&["name"]);
        let mut own = Faults::default();
        source(volume, &here, &mut own);
        if name.is_empty() {
            own.required(&here.field("name"), "");
        } else {
            own.texts(&here.field("name"), name, names::dns1123_label(name));
        }
        if known.contains_key(name) {
            own.duplicate(&here.field("name"), &name.into());
        }
        if own.is_empty() {
            known.insert(name, volume);
        }
        own.into_causes().into_iter().for_each(|cause| faults.push(cause));
        let claim = volume.str_at(&["persistentVolumeClaim", "claimName"]);
        if is_created(claim) {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            faults.invalid_str(&here.field("persistentVolumeClaim.claimName"), claim, detail);
        }
    }
    known
}

fn source(volume: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mut sources = 0;
    for (kind, source) in volume.as_object().into_iter().flatten().filter(|(key, value)| *key != "name" && !value.is_null()) {
        let here = path.field(kind);
        sources += 1;
        if sources > 1 {
            faults.forbidden(&here, "may not specify more than 1 volume type");
            continue;
        }
        match kind.as_str() {
            "hostPath" => host_path(source, &here, faults),
            "secret" => {
                required(source, "secretName", &here, faults);
                mode(source.get("defaultMode"), &here.field("defaultMode"), faults);
                keys_to_paths(source, &here, faults);
            }
            "configMap" => {
                required(source, "name", &here, faults);
                mode(source.get("defaultMode"), &here.field("defaultMode"), faults);
                keys_to_paths(source, &here, faults);
            }
            "persistentVolumeClaim" => required(source, "claimName", &here, faults),
            "downwardAPI" => {
                mode(source.get("defaultMode"), &here.field("defaultMode"), faults);
                source.list_at(&["items"]).iter().for_each(|file| downward_file(file, &here, faults));
            }
            "projected" => {
                mode(source.get("defaultMode"), &here.field("defaultMode"), faults);
                projected(source, &here, faults);
            }
            "ephemeral" => match source.get("volumeClaimTemplate").filter(|t| !t.is_null()) {
                None => faults.required(&here.field("volumeClaimTemplate"), ""),
                Some(template) => claim_template(template, &here.field("volumeClaimTemplate"), faults),
            },
            "emptyDir" => {
                let limit = source.get("sizeLimit").and_then(|l| Quantity::from_value(l).ok());
                if limit.is_some_and(Quantity::is_negative) {
                    faults.forbidden(&here.field("sizeLimit"), "SizeLimit field must be a valid resource quantity");
                }
            }
            other => volume_sources::validate(other, source, true, path, faults),
        }
    }
    if sources == 0 {
        faults.required(path, "must specify a volume type");
    }
}

/// A claim that is made with the pod: only labels and annotations of its own.
fn claim_template(template: &Value, path: &Path<'_>, faults: &mut Faults) {
    let metadata = path.field("metadata");
    for (field, _) in template
        .map_at(&["metadata"])
        .into_iter()
        .flatten()
        .filter(|(key, value)| !value.is_null() && !matches!(key.as_str(), "labels" | "annotations" | "creationTimestamp"))
    {
        faults.forbidden(&metadata.field(field), "cannot be set");
    }
    label_map(template.at(&["metadata", "labels"]), &metadata.field("labels"), faults);
    validate_claim_spec(template.get("spec").unwrap_or(&Value::Null), &path.field("spec"), faults);
}

fn required(source: &Value, field: &str, path: &Path<'_>, faults: &mut Faults) {
    if source.str_at(&[field]).is_empty() {
        faults.required(&path.field(field), "");
    }
}

fn mode(value: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    if let Some(value) = value.filter(|v| v.as_i64().is_some_and(|m| !(0..=MAX_MODE).contains(&m))) {
        faults.invalid(path, value, MODE_RANGE);
    }
}

pub fn host_path(source: &Value, path: &Path<'_>, faults: &mut Faults) {
    let dir = source.str_at(&["path"]);
    if dir.is_empty() {
        return faults.required(&path.field("path"), "");
    }
    no_backsteps(dir, &path.field("path"), faults);
    one_of_if_set(source.str_at(&["type"]), &HOST_PATH_TYPES, &path.field("type"), faults);
}

fn keys_to_paths(source: &Value, path: &Path<'_>, faults: &mut Faults) {
    let list = path.field("items");
    for (i, item) in source.list_at(&["items"]).iter().enumerate() {
        let here = list.index(i);
        required(item, "key", &here, faults);
        required(item, "path", &here, faults);
        local_path(item.str_at(&["path"]), &here.field("path"), faults);
        mode(item.get("mode"), &here.field("mode"), faults);
    }
}

fn downward_file(file: &Value, path: &Path<'_>, faults: &mut Faults) {
    required(file, "path", path, faults);
    local_path(file.str_at(&["path"]), &path.field("path"), faults);
    let (field, resource) = (file.get("fieldRef").filter(|v| !v.is_null()), file.get("resourceFieldRef").filter(|v| !v.is_null()));
    match (field, resource) {
        (Some(field), other) => {
            field_ref(field, &VOLUME_FIELDS, &path.field("fieldRef"), faults);
            if other.is_some() {
                faults.invalid_str(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        }
        (None, Some(resource)) => resource_field_ref(resource, true, &path.field("resourceFieldRef"), faults),
        (None, None) => faults.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(file.get("mode"), &path.field("mode"), faults);
}

fn projected(source: &Value, path: &Path<'_>, faults: &mut Faults) {
    const MIN_TOKEN_SECONDS: i64 = 600;
    let mut seen = HashSet::new();
    let list = path.field("sources");
    for (i, projection) in source.list_at(&["sources"]).iter().enumerate() {
        let here = list.index(i);
        if projection.as_object().is_none_or(|p| p.values().all(Value::is_null)) {
            // Upstream passes over a source that names nothing.
            continue;
        }
        let mut kinds = 0;
        for (kind, part) in projection.as_object().into_iter().flatten().filter(|(_, part)| !part.is_null()) {
            kinds += 1;
            let at = here.field(kind);
            match kind.as_str() {
                "secret" | "configMap" => {
                    required(part, "name", &at, faults);
                    keys_to_paths(part, &at, faults);
                }
                "downwardAPI" => part.list_at(&["items"]).iter().for_each(|file| downward_file(file, &at, faults)),
                "serviceAccountToken" => {
                    let seconds = part.i64_at(&["expirationSeconds"]).unwrap_or(0);
                    if seconds < MIN_TOKEN_SECONDS {
                        let detail = "may not specify a duration less than 10 minutes";
                        faults.invalid(&at.field("expirationSeconds"), &seconds.into(), detail);
                    } else if seconds > 1 << 32 {
                        let detail = "may not specify a duration larger than 2^32 seconds";
                        faults.invalid(&at.field("expirationSeconds"), &seconds.into(), detail);
                    }
                    required(part, "path", path, faults);
                    local_path(part.str_at(&["path"]), &path.field("path"), faults);
                }
                _ => {}
            }
            for file in part.list_at(&["items"]).iter().map(|item| item.str_at(&["path"])) {
                if !file.is_empty() && !seen.insert(file) {
                    let shown = if kind == "downwardAPI" { file } else { part.str_at(&["name"]) };
                    faults.invalid_str(path, shown, "conflicting duplicate paths");
                }
            }
        }
        if kinds > 1 {
            faults.forbidden(&here, "may not specify more than 1 volume type per source");
        }
    }
}

/// Mounts and devices of one container.
pub fn mounts(container: &Value, known: &Known<'_>, path: &Path<'_>, faults: &mut Faults) {
    let mut places = HashSet::new();
    let list = path.field("volumeMounts");
    let devices = container.list_at(&["volumeDevices"]);
    let all = |list: &'_ [Value], field: &str| -> HashSet<String> { list.iter().map(|v| v.str_at(&[field]).to_owned()).collect() };
    let (device_names, device_paths) = (all(devices, "name"), all(devices, "devicePath"));
    for (i, mount) in container.list_at(&["volumeMounts"]).iter().enumerate() {
        let here = list.index(i);
        let (name, place) = (mount.str_at(&["name"]), mount.str_at(&["mountPath"]));
        if name.is_empty() {
            faults.required(&here.field("name"), "");
        }
        if !known.contains_key(name) {
            faults.not_found(&here.field("name"), &name.into());
        }
        if place.is_empty() {
            faults.required(&here.field("mountPath"), "");
        }
        if !places.insert(place) {
            faults.invalid_str(&here.field("mountPath"), place, "must be unique");
        }
        if device_names.contains(name) {
            faults.invalid_str(&here.field("name"), name, "must not already exist in volumeDevices");
        }
        if device_paths.contains(place) {
            faults.invalid_str(&here.field("mountPath"), place, "must not already exist as a path in volumeDevices");
        }
        recursive_read_only(mount, &list.field("recursiveReadOnly"), faults);
        sub_paths(mount, &list, &here, faults);
        propagation(mount, container, &list.field("mountPropagation"), faults);
    }
    volume_devices(devices, known, &path.field("volumeDevices"), faults);
    let list = path.field("volumeDevices");
    let mounts = container.list_at(&["volumeMounts"]);
    let (mount_names, mount_paths) = (all(mounts, "name"), all(mounts, "mountPath"));
    for (i, device) in devices.iter().enumerate() {
        let here = list.index(i);
        let (name, place) = (device.str_at(&["name"]), device.str_at(&["devicePath"]));
        if mount_names.contains(name) {
            faults.invalid_str(&here.field("name"), name, "must not already exist in volumeMounts");
        }
        if mount_paths.contains(place) {
            faults.invalid_str(&here.field("devicePath"), place, "must not already exist as a path in volumeMounts");
        }
    }
}

fn recursive_read_only(mount: &Value, path: &Path<'_>, faults: &mut Faults) {
    let Some(mode) = mount.get("recursiveReadOnly").and_then(Value::as_str) else { return };
    match mode {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.bool_at(&["readOnly"]) {
                faults.forbidden(path, "may only be specified when readOnly is true");
            }
            if !matches!(mount.str_at(&["mountPropagation"]), "" | "None") {
                faults.forbidden(path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        other => faults.not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn sub_paths(mount: &Value, list: &Path<'_>, here: &Path<'_>, faults: &mut Faults) {
    let (plain, expression) = (mount.str_at(&["subPath"]), mount.str_at(&["subPathExpr"]));
    if !plain.is_empty() {
        descending(plain, &list.field("subPath"), faults);
    }
    if !expression.is_empty() {
        if !plain.is_empty() {
            faults.invalid_str(&here.field("subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive");
        }
        descending(expression, &list.field("subPathExpr"), faults);
    }
}

fn propagation(mount: &Value, container: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mode = mount.str_at(&["mountPropagation"]);
    one_of_if_set(mode, &["Bidirectional", "HostToContainer", "None"], path, faults);
    if mode == "Bidirectional" && !container.bool_at(&["securityContext", "privileged"]) {
        faults.forbidden(path, "Bidirectional mount propagation is available only to privileged containers");
    }
}

fn volume_devices(devices: &[Value], known: &Known<'_>, path: &Path<'_>, faults: &mut Faults) {
    let (mut seen, mut places) = (HashSet::new(), HashSet::new());
    for (i, device) in devices.iter().enumerate() {
        let here = path.index(i);
        let (name, place) = (device.str_at(&["name"]), device.str_at(&["devicePath"]));
        required(device, "name", &here, faults);
        match known.get(name) {
            None => faults.not_found(&here.field("name"), &name.into()),
            Some(volume) if !is_set(volume.get("persistentVolumeClaim")) && !is_set(volume.get("ephemeral")) => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                faults.invalid_str(&here.field("name"), name, detail);
            }
            Some(_) => {}
        }
        if !name.is_empty() && !seen.insert(name) {
            faults.invalid_str(&here.field("name"), name, "must be unique");
        }
        if !place.is_empty() && !places.insert(place) {
            faults.invalid_str(&here.field("devicePath"), place, "must be unique");
        }
        required(device, "devicePath", &here, faults);
        if place.split('/').any(|part| part == "..") {
            faults.invalid_str(&here.field("devicePath"), place, "can not contain backsteps ('..')");
        }
    }
}

pub fn no_backsteps(text: &str, path: &Path<'_>, faults: &mut Faults) {
    if text.split('/').any(|part| part == "..") {
        faults.invalid_str(path, text, "must not contain '..'");
    }
}

pub fn descending(text: &str, path: &Path<'_>, faults: &mut Faults) {
    if text.starts_with('/') {
        faults.invalid_str(path, text, "must be a relative path");
    }
    no_backsteps(text, path, faults);
}

fn local_path(text: &str, path: &Path<'_>, faults: &mut Faults) {
    descending(text, path, faults);
    if text.starts_with("..") && !text.starts_with("../") {
        faults.invalid_str(path, text, "must not start with '..'");
    }
}
