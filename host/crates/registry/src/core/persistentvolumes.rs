//! `v1` PersistentVolume.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use serde_json::{Value, json};

use super::persistentvolumeclaims::{access_modes, class_name, modes_text, positive_quantity, volume_mode};
use crate::checks::IMMUTABLE;
use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::fields::{default_empty, default_missing, is_set, same, spec_mut, text as field_text};
use crate::internal;
use crate::kind::Kind;
use crate::podspec::{affinity, defaults, volumes};
use crate::print::{AGE, NAME, UNSET, age, text, text_or, wide};
use crate::strategy::{Column, Part};
use crate::volume_sources;
use crate::warnings;

const SPEC: Path<'static> = Path::root("spec");
/// Fields of the spec that are no source of storage.
const COMMON: [&str; 10] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
    "inline",
];
const COLUMNS: &[Column] = &[
    NAME,
    text("Capacity", "Size of the volume."),
    text("Access Modes", "How the volume may be mounted."),
    text("Reclaim Policy", "What happens to the volume when it is released."),
    text("Status", "Phase of the volume."),
    text("Claim", "The bound claim."),
    text("StorageClass", "Class of the storage."),
    text("VolumeAttributesClass", "Class of the volume's attributes."),
    text("Reason", "Why the volume is in its phase."),
    AGE,
    wide("VolumeMode", "Filesystem or block."),
];

pub fn kind() -> Kind {
    Kind {
        warn: warnings::persistent_volume,
        default,
        create: |volume, context| {
            let now = context.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            volume.set_at(&["status"], json!({"phase": "Pending", "lastPhaseTransitionTime": now}));
        },
        update: |new, old, part, context| {
            if part == Part::Status && new.at(&["status", "phase"]) != old.at(&["status", "phase"]) {
                let now = context.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                new.set_at(&["status", "lastPhaseTransitionTime"], now.into());
            }
        },
        validate,
        validate_change,
        fields: &[("name", |v| field_text(v, &["metadata", "name"]))],
        ..Kind::new(cluster("v1", "persistentvolumes", "PersistentVolume").short(&["pv"]).status()).table(COLUMNS, cells)
    }
}

fn default(volume: &mut Value) {
    let Some(spec) = spec_mut(volume) else { return };
    default_empty(spec, "persistentVolumeReclaimPolicy", "Retain");
    default_missing(spec, "volumeMode", "Filesystem");
    if let Some(path) = spec.get_mut("hostPath").and_then(Value::as_object_mut) {
        default_missing(path, "type", "");
    }
    defaults::default_network_volume(spec);
}

/// The sources of storage that a volume's spec names.
pub fn sources(spec: &Value) -> Vec<(&String, &Value)> {
    spec.as_object().into_iter().flatten().filter(|(key, value)| !COMMON.contains(&key.as_str()) && !value.is_null()).collect()
}

fn validate(volume: &Value, faults: &mut Faults) {
    let spec = volume.get("spec").unwrap_or(&Value::Null);
    if spec.list_at(&["accessModes"]).is_empty() {
        faults.required(&SPEC.field("accessModes"), "");
    }
    access_modes(spec, &SPEC.field("accessModes"), faults);
    capacity(spec, faults);
    let policy = spec.str_at(&["persistentVolumeReclaimPolicy"]);
    let policies = ["Delete", "Recycle", "Retain"];
    if !policies.contains(&policy) {
        faults.not_supported(&SPEC.field("persistentVolumeReclaimPolicy"), policy, &policies);
    }
    if let Some(required) = spec.at(&["nodeAffinity", "required"]).filter(|r| !r.is_null()) {
        affinity::node_selector(required, &SPEC.field("nodeAffinity.required"), faults);
    } else if is_set(spec.get("nodeAffinity")) {
        faults.required(&SPEC.field("nodeAffinity.required"), "must specify required node constraints");
    }
    validate_sources(spec, faults);
    class_name(spec, "storageClassName", &SPEC, faults);
    volume_mode(spec, &SPEC, faults);
    attributes_class(spec, faults);
}

fn attributes_class(spec: &Value, faults: &mut Faults) {
    let Some(class) = spec.get("volumeAttributesClassName").and_then(Value::as_str) else { return };
    let path = SPEC.field("volumeAttributesClassName");
    if class.is_empty() {
        faults.required(&path, "an empty string is disallowed");
    } else {
        faults.texts(&path, class, names::dns1123_subdomain(class));
    }
    if !is_set(spec.get("csi")) {
        faults.required(&SPEC.field("csi"), "has to be specified when using volumeAttributesClassName");
    }
}

fn capacity(spec: &Value, faults: &mut Faults) {
    let path = SPEC.field("capacity");
    let capacity = spec.map_at(&["capacity"]);
    if capacity.is_none_or(serde_json::Map::is_empty) {
        faults.required(&path, "");
    }
    if capacity.is_none_or(|c| !c.contains_key("storage") || c.len() > 1) {
        let value = spec.get("capacity").unwrap_or(&Value::Null);
        faults.push(pintle_api::Cause::not_supported(path.to_string(), value, &["storage"]));
    }
    for (name, value) in capacity.into_iter().flatten() {
        let here = path.key(name);
        if let Some(negative) = Quantity::from_value(value).ok().map(Quantity::value).filter(|whole| *whole < 0) {
            faults.invalid(&here, &negative.into(), "must be a valid resource quantity");
        }
        positive_quantity(value, &here, faults);
    }
}

fn validate_sources(spec: &Value, faults: &mut Faults) {
    let found = sources(spec);
    if found.is_empty() {
        faults.required(&SPEC, "must specify a volume type");
    }
    for (kind, _) in found.iter().skip(1) {
        faults.forbidden(&SPEC.field(kind), "may not specify more than 1 volume type");
    }
    let Some((kind, source)) = found.first() else { return };
    let here = SPEC.field(kind);
    match kind.as_str() {
        "local" => {
            match source.str_at(&["path"]) {
                "" => faults.required(&here.field("path"), ""),
                path => volumes::no_backsteps(path, &here.field("path"), faults),
            }
            if !is_set(spec.get("nodeAffinity")) {
                faults.required(&SPEC.field("nodeAffinity"), "Local volume requires node affinity");
            }
        }
        "hostPath" => {
            volumes::host_path(source, &here, faults);
            if source.str_at(&["path"]).trim_end_matches('/').is_empty()
                && spec.str_at(&["persistentVolumeReclaimPolicy"]) == "Recycle"
                && !source.str_at(&["path"]).is_empty()
            {
                faults.forbidden(&SPEC.field("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'");
            }
        }
        other => volume_sources::validate(other, source, false, &SPEC, faults),
    }
}

fn validate_change(new: &Value, old: &Value, part: Part, faults: &mut Faults) {
    let (after, before) = (new.get("spec").unwrap_or(&Value::Null), old.get("spec").unwrap_or(&Value::Null));
    if part == Part::Status {
        return;
    }
    if after != before {
        // Upstream looks at the whole volume a second time.
        validate(new, faults);
    }
    if sources(after) != sources(before) {
        let changed = internal::difference(before, after, "core.PersistentVolumeSource");
        let detail = format!("spec.persistentvolumesource is immutable after creation\n{changed}");
        faults.forbidden(&SPEC.field("persistentvolumesource"), &detail);
    }
    if !same(after.get("volumeMode"), before.get("volumeMode")) {
        faults.invalid(&Path::root("volumeMode"), after.get("volumeMode").unwrap_or(&Value::Null), IMMUTABLE);
    }
    if is_set(before.get("nodeAffinity")) && !same(after.get("nodeAffinity"), before.get("nodeAffinity")) {
        let shown = internal::shown(&after["nodeAffinity"], "core.VolumeNodeAffinity");
        faults.invalid_shown(&Path::root("nodeAffinity"), &shown, &format!("{IMMUTABLE}, except for updating from beta label to GA"));
    }
}

fn cells(volume: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let claim = volume.at(&["spec", "claimRef"]).filter(|c| !c.is_null());
    let claim = claim.map_or(String::new(), |c| format!("{}/{}", c.str_at(&["namespace"]), c.str_at(&["name"])));
    vec![
        volume.name().into(),
        field_text(volume, &["spec", "capacity", "storage"]).into(),
        modes_text(volume.list_at(&["spec", "accessModes"])).into(),
        volume.str_at(&["spec", "persistentVolumeReclaimPolicy"]).into(),
        if volume.is_being_deleted() { "Terminating".into() } else { volume.str_at(&["status", "phase"]).into() },
        claim.into(),
        volume.str_at(&["spec", "storageClassName"]).into(),
        text_or(volume, &["spec", "volumeAttributesClassName"], UNSET),
        volume.str_at(&["status", "reason"]).into(),
        age(volume, now),
        text_or(volume, &["spec", "volumeMode"], UNSET),
    ]
}
