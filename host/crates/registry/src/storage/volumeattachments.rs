//! `storage.k8s.io/v1` VolumeAttachment. Its spec never changes.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::checks::immutable_object;
use crate::core::persistentvolumeclaims::access_modes;
use crate::core::persistentvolumes;
use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::fields::{is_set, is_zero};
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, boolean, text};
use crate::strategy::Part;
use crate::volume_sources;
use crate::workload::SPEC;

const MAX_ERROR_BYTES: usize = 256 * 1024;

pub fn kind() -> Kind {
    Kind {
        unconditional_update: false,
        create: |attachment, _| attachment.set_at(&["status"], json!({"attached": false})),
        validate,
        validate_change: |new, old, part, faults| {
            if part == Part::Main {
                return immutable_object(new, old, &["spec"], "storage.VolumeAttachmentSpec", faults);
            }
            for field in ["attachError", "detachError"] {
                let path = Path::root("status").field(field).to_string();
                let here = Path::root(&path);
                if new.str_at(&["status", field, "message"]).len() > MAX_ERROR_BYTES {
                    faults.too_long(&here.field("message"), MAX_ERROR_BYTES);
                }
                if let Some(code) = new.i64_at(&["status", field, "errorCode"]).filter(|c| *c < 0) {
                    faults.invalid(&here.field("errorCode"), &code.into(), "must be between 0 and 2147483647, inclusive");
                }
            }
        },
        ..Kind::new(cluster("storage.k8s.io/v1", "volumeattachments", "VolumeAttachment").status()).table(
            &[
                NAME,
                text("Attacher", "Who attaches."),
                text("PV", "The volume."),
                text("Node", "Where it is attached."),
                boolean("Attached", "Whether it is."),
                AGE,
            ],
            |attachment, now| {
                vec![
                    attachment.name().into(),
                    attachment.str_at(&["spec", "attacher"]).into(),
                    attachment.str_at(&["spec", "source", "persistentVolumeName"]).into(),
                    attachment.str_at(&["spec", "nodeName"]).into(),
                    attachment.bool_at(&["status", "attached"]).into(),
                    age(attachment, now),
                ]
            },
        )
    }
}

fn validate(attachment: &Value, faults: &mut Faults) {
    let (attacher, node) = (attachment.str_at(&["spec", "attacher"]), attachment.str_at(&["spec", "nodeName"]));
    if attacher.is_empty() {
        faults.required(&SPEC.field("attacher"), "");
    } else {
        faults.texts(&SPEC.field("attacher"), attacher, names::dns1123_subdomain(&attacher.to_lowercase()));
    }
    faults.texts(&SPEC.field("nodeName"), node, names::dns1123_subdomain(node));
    if let Some(name) = attachment.at(&["spec", "source", "persistentVolumeName"]).and_then(Value::as_str) {
        faults.texts(&SPEC.field("source.persistentVolumeName"), name, names::dns1123_subdomain(name));
    }
    let source = ["inlineVolumeSpec", "persistentVolumeName"].map(|f| is_set(attachment.at(&["spec", "source", f])));
    match source {
        [false, false] => faults.required(&SPEC.field("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        [true, true] => {
            faults.forbidden(&SPEC.field("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
        }
        [false, true] if attachment.str_at(&["spec", "source", "persistentVolumeName"]).is_empty() => {
            faults.required(&SPEC.field("source.persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        [false, true] => {}
        [true, false] => inline_volume(&attachment["spec"]["source"]["inlineVolumeSpec"], faults),
    }
}

/// A volume that stands in a pod's spec is a CSI driver's, and has only what says how it is mounted.
fn inline_volume(spec: &Value, faults: &mut Faults) {
    let path = SPEC.field("source.inlineVolumeSpec");
    for field in ["capacity", "claimRef", "nodeAffinity", "storageClassName"] {
        if spec.get(field).is_some_and(|value| !is_zero(value)) {
            faults.forbidden(&path.field(field), "may not be specified in the context of inline volumes");
        }
    }
    if !is_set(spec.get("csi")) {
        faults.required(&path.field("csi"), "has to be specified in the context of inline volumes");
    }
    if spec.list_at(&["accessModes"]).is_empty() {
        faults.required(&path.field("accessModes"), "");
    }
    access_modes(spec, &path.field("accessModes"), faults);
    if !matches!(spec.str_at(&["persistentVolumeReclaimPolicy"]), "" | "Retain") {
        faults.forbidden(&path.field("persistentVolumeReclaimPolicy"), "may only be Retain in the context of inline volumes");
    }
    if !matches!(spec.str_at(&["volumeMode"]), "" | "Filesystem") {
        faults.forbidden(&path.field("volumeMode"), "may not specify volumeMode other than Filesystem in the context of inline volumes");
    }
    let found = persistentvolumes::sources(spec);
    if found.is_empty() {
        faults.required(&path, "must specify a volume type");
    }
    for (kind, _) in found.iter().skip(1) {
        faults.forbidden(&path.field(kind), "may not specify more than 1 volume type");
    }
    if let Some((kind, source)) = found.first() {
        volume_sources::validate(kind, source, false, &path, faults);
    }
}
