//! `v1` PersistentVolumeClaim. The spec is fixed but for its size once bound, and the volume that it gets.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use serde_json::{Value, json};

use crate::checks::{IMMUTABLE, label_selector, quantity};
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::{Fields, default_missing, is_set, same, spec_mut, text as field_text};
use crate::internal;
use crate::kind::Kind;
use crate::podspec::resources::is_extended;
use crate::print::{AGE, NAME, UNSET, age, text, text_or, wide};
use crate::strategy::{Column, Part};
use crate::warnings;

pub const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "Phase of the claim."),
    text("Volume", "The bound volume."),
    text("Capacity", "Size of the bound volume."),
    text("Access Modes", "How the volume may be mounted."),
    text("StorageClass", "Class of the storage."),
    text("VolumeAttributesClass", "Class of the volume's attributes."),
    AGE,
    wide("VolumeMode", "Filesystem or block."),
];

pub fn kind() -> Kind {
    let def = namespaced("v1", "persistentvolumeclaims", "PersistentVolumeClaim").short(&["pvc"]).status();
    Kind {
        warn: warnings::claim,
        default: |claim| {
            if let Some(spec) = spec_mut(claim) {
                default_claim_spec(spec);
            }
        },
        create: |claim, _| claim.set_at(&["status"], json!({"phase": "Pending"})),
        validate: |claim, faults| validate_claim_spec(claim.get("spec").unwrap_or(&Value::Null), &Path::root("spec"), faults),
        validate_change,
        fields: &[("name", |c| field_text(c, &["metadata", "name"]))],
        ..Kind::new(def).table(COLUMNS, cells)
    }
}

pub fn default_claim_spec(spec: &mut Fields) {
    default_missing(spec, "volumeMode", "Filesystem");
    default_missing(spec, "resources", json!({}));
    // The older and the newer name of the source say the same unless the source lies in another namespace.
    let has_reference = spec.get("dataSourceRef").is_some_and(|source| !source.is_null());
    if !has_reference && spec.get("dataSource").is_some_and(|source| !is_claim_or_snapshot(source)) {
        // As ever since before the newer field: what this field cannot mean is passed over.
        spec.remove("dataSource");
    }
    if let Some(source) = spec.get("dataSource").filter(|s| !s.is_null()).cloned() {
        default_missing(spec, "dataSourceRef", source);
    } else if let Some(source) = spec.get("dataSourceRef").filter(|s| s.str_at(&["namespace"]).is_empty() && !s.is_null()).cloned() {
        default_missing(spec, "dataSource", source);
    }
}

pub fn validate_claim_spec(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    if spec.list_at(&["accessModes"]).is_empty() {
        faults.required(&path.field("accessModes"), "at least 1 access mode is required");
    }
    if let Some(selector) = spec.get("selector").filter(|s| !s.is_null()) {
        label_selector(selector, &path.field("selector"), faults);
    }
    access_modes(spec, &path.field("accessModes"), faults);
    let resources = path.field("resources");
    let storage = resources.key("storage");
    match spec.at(&["resources", "requests", "storage"]) {
        None => faults.required(&storage, ""),
        Some(value) => positive_quantity(value, &storage, faults),
    }
    class_name(spec, "storageClassName", path, faults);
    volume_mode(spec, path, faults);
    sources(spec, path, faults);
    class_name(spec, "volumeAttributesClassName", path, faults);
}

fn is_claim_or_snapshot(source: &Value) -> bool {
    let known = [("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")];
    known.contains(&(source.str_at(&["apiGroup"]), source.str_at(&["kind"])))
}

/// What a volume begins with: the older field and the newer one say the same, or the newer one names another namespace.
fn sources(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let of = |field: &str| spec.get(field).filter(|source| !source.is_null());
    let (older, newer) = (of("dataSource"), of("dataSourceRef"));
    for (field, source) in [("dataSource", older), ("dataSourceRef", newer)] {
        if let Some(source) = source {
            source_reference(source, &path.field(field), faults);
        }
    }
    let (Some(older), Some(newer)) = (older, newer) else { return };
    if !newer.str_at(&["namespace"]).is_empty() {
        faults.invalid_shown(path, "{}", "may not be specified when dataSourceRef.namespace is specified");
    } else if ["apiGroup", "kind", "name"].iter().any(|field| !same(older.get(field), newer.get(field))) {
        faults.invalid_shown(path, "{}", "must match dataSourceRef");
    }
}

fn source_reference(source: &Value, path: &Path<'_>, faults: &mut Faults) {
    for field in ["name", "kind"].iter().filter(|field| source.str_at(&[field]).is_empty()) {
        faults.required(&path.field(field), "");
    }
    let (group, kind, namespace) = (source.str_at(&["apiGroup"]), source.str_at(&["kind"]), source.str_at(&["namespace"]));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        faults.invalid_str(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    if !group.is_empty() {
        faults.texts(&path.field("apiGroup"), group, names::dns1123_subdomain(group));
    }
    if !namespace.is_empty() {
        faults.texts(&path.field("namespace"), namespace, names::dns1123_label(namespace));
    }
}

pub fn access_modes(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let modes: Vec<&str> = spec.list_at(&["accessModes"]).iter().filter_map(Value::as_str).collect();
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        faults.not_supported(path, mode, &ACCESS_MODES);
    }
    if modes.contains(&"ReadWriteOncePod") && modes.iter().any(|m| *m != "ReadWriteOncePod" && ACCESS_MODES.contains(m)) {
        faults.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

pub fn positive_quantity(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(found) = quantity(value, path, faults).filter(|q| q.is_zero() || q.is_negative()) {
        faults.invalid_str(path, &found.to_string(), "must be greater than zero");
    }
}

pub fn class_name(spec: &Value, field: &str, path: &Path<'_>, faults: &mut Faults) {
    let name = spec.str_at(&[field]);
    if !name.is_empty() {
        faults.texts(&path.field(field), name, names::dns1123_subdomain(name));
    }
}

pub fn volume_mode(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(mode) = spec.get("volumeMode").and_then(Value::as_str).filter(|m| !matches!(*m, "Block" | "Filesystem")) {
        faults.not_supported(&path.field("volumeMode"), mode, &["Block", "Filesystem"]);
    }
}

fn validate_change(new: &Value, old: &Value, part: Part, faults: &mut Faults) {
    if part == Part::Status {
        return status_change(new, faults);
    }
    let (after, before) = with_what_may_change(new, old);
    if !same_spec(&after, &before) {
        let changed = internal::difference(&before, &after, "core.PersistentVolumeClaimSpec");
        let detail = format!("spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{changed}");
        faults.forbidden(&Path::root("spec"), &detail);
    }
    let size = |claim: &Value, path: &[&str]| claim.at(path).and_then(|q| Quantity::from_value(q).ok()).unwrap_or_default();
    let wanted = ["spec", "resources", "requests", "storage"];
    if size(new, &wanted) < size(old, &wanted) && size(new, &wanted) <= size(old, &["status", "capacity", "storage"]) {
        faults.forbidden(&Path::root("spec.resources.requests.storage"), "field can not be less than status.capacity");
    }
    if !same(new.at(&["spec", "volumeMode"]), old.at(&["spec", "volumeMode"])) {
        faults.invalid(&Path::root("volumeMode"), new.at(&["spec", "volumeMode"]).unwrap_or(&Value::Null), IMMUTABLE);
    }
}

/// The new spec and the old one, alike in what this update may change.
fn with_what_may_change(new: &Value, old: &Value) -> (Value, Value) {
    let of = |claim: &Value| claim.get("spec").cloned().unwrap_or_else(|| json!({}));
    let (mut after, mut before) = (of(new), of(old));
    let keep = |after: &mut Value, path: &[&str], value: Option<&Value>| match value {
        Some(value) => after.set_at(path, value.clone()),
        None => {
            after.remove_at(path);
        }
    };
    if before.str_at(&["volumeName"]).is_empty() {
        keep(&mut before, &["volumeName"], after.get("volumeName"));
    }
    // A default class may be filled in later, where none was named.
    if !is_set(before.get("storageClassName")) {
        keep(&mut after, &["storageClassName"], None);
    }
    if new.str_at(&["status", "phase"]) == "Bound" {
        if is_set(after.at(&["resources", "requests"])) {
            keep(&mut after, &["resources", "requests", "storage"], before.at(&["resources", "requests", "storage"]));
        }
        keep(&mut after, &["volumeAttributesClassName"], before.get("volumeAttributesClassName"));
    }
    (after, before)
}

fn same_spec(after: &Value, before: &Value) -> bool {
    // Of these, an empty text is another value than none.
    let pointers = ["storageClassName", "volumeAttributesClassName"];
    let value = |spec: &Value, key: &str| spec.get(key).filter(|value| !value.is_null()).cloned();
    let keys = after.as_object().into_iter().chain(before.as_object()).flat_map(|fields| fields.keys());
    pointers.iter().all(|key| value(after, key) == value(before, key)) && keys.into_iter().all(|key| same(after.get(key), before.get(key)))
}

fn status_change(claim: &Value, faults: &mut Faults) {
    const STATES: [&str; 5] =
        ["ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"];
    const STATUS: Path<'static> = Path::root("status");
    let amount = |value: &Value, path: &Path<'_>, faults: &mut Faults| {
        if let Some(amount) = quantity(value, path, faults).filter(|amount| amount.is_negative()) {
            faults.invalid(path, &amount.value().into(), "must be a valid resource quantity");
        }
    };
    let list = STATUS.field("capacity");
    for (name, value) in claim.map_at(&["status", "capacity"]).into_iter().flatten() {
        amount(value, &list.key(name), faults);
    }
    let list = STATUS.field("allocatedResourceStatuses");
    for (name, state) in claim.map_at(&["status", "allocatedResourceStatuses"]).into_iter().flatten() {
        is_of_claims(name, &list, faults);
        if !state.as_str().is_some_and(|state| STATES.contains(&state)) {
            faults.not_supported(&list, name, &STATES);
        }
    }
    let list = STATUS.field("allocatedResources");
    for (name, value) in claim.map_at(&["status", "allocatedResources"]).into_iter().flatten() {
        if is_of_claims(name, &list, faults) {
            amount(value, &list.key(name), faults);
        }
    }
}

/// Of Kubernetes' own resources a claim knows storage alone.
fn is_of_claims(name: &str, path: &Path<'_>, faults: &mut Faults) -> bool {
    let messages = names::qualified_name(name);
    let good = messages.is_empty() && (is_extended(name) || name == "storage");
    if !messages.is_empty() {
        faults.texts(path, name, messages);
    } else if !good {
        faults.not_supported(path, name, &["storage"]);
    }
    good
}

/// `RWO,ROX`, in a fixed order.
pub fn modes_text(modes: &[Value]) -> String {
    let order = [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    order.iter().filter(|(mode, _)| modes.iter().any(|m| m == mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

fn cells(claim: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let volume = claim.str_at(&["spec", "volumeName"]);
    let phase = if claim.is_being_deleted() { "Terminating" } else { claim.str_at(&["status", "phase"]) };
    let (capacity, modes) = if volume.is_empty() {
        (String::new(), String::new())
    } else {
        (field_text(claim, &["status", "capacity", "storage"]), modes_text(claim.list_at(&["status", "accessModes"])))
    };
    vec![
        claim.name().into(),
        phase.into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        claim.str_at(&["spec", "storageClassName"]).into(),
        text_or(claim, &["spec", "volumeAttributesClassName"], UNSET),
        age(claim, now),
        text_or(claim, &["spec", "volumeMode"], UNSET),
    ]
}
