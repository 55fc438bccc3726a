//! `storage.k8s.io/v1` VolumeAttachment. Its spec never changes.

use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::registry::checks::immutable;
use crate::registry::def::cluster;
use crate::registry::faults::Faults;
use crate::registry::fields::is_set;
use crate::registry::kind::Kind;
use crate::registry::print::{AGE, NAME, age, boolean, text};
use crate::registry::strategy::Part;
use crate::registry::workload::SPEC;

pub fn kind() -> Kind {
    Kind {
        unconditional_update: false,
        create: |attachment, _| attachment.set_at(&["status"], json!({"attached": false})),
        validate,
        validate_change: |new, old, part, faults| {
            if part == Part::Main {
                immutable(new, old, &["spec"], faults);
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
    for field in ["attacher", "nodeName"].iter().filter(|f| attachment.str_at(&["spec", f]).is_empty()) {
        faults.required(&SPEC.field(field), "");
    }
    let source = ["inlineVolumeSpec", "persistentVolumeName"].map(|f| is_set(attachment.at(&["spec", "source", f])));
    match source {
        [false, false] => faults.required(&SPEC.field("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        [true, true] => {
            let shown = attachment.at(&["spec", "source"]).unwrap_or(&Value::Null);
            faults.invalid(&SPEC.field("source"), shown, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
        }
        _ => {}
    }
}
