//! `storage.k8s.io/v1` StorageClass.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::registry::checks::{immutable, one_of};
use crate::registry::def::cluster;
use crate::registry::faults::{Faults, Path};
use crate::registry::fields::default_missing;
use crate::registry::kind::Kind;
use crate::registry::print::{AGE, NAME, age, bool_or, boolean, text};

pub fn kind() -> Kind {
    Kind {
        default: |class| {
            if let Some(fields) = class.as_object_mut() {
                default_missing(fields, "reclaimPolicy", "Delete");
                default_missing(fields, "volumeBindingMode", "Immediate");
            }
        },
        validate,
        validate_change: |new, old, _, faults| {
            for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                immutable(new, old, &[field], faults);
            }
        },
        ..Kind::new(cluster("storage.k8s.io/v1", "storageclasses", "StorageClass").short(&["sc"])).table(
            &[
                NAME,
                text("Provisioner", "Who makes the volumes."),
                text("ReclaimPolicy", "What happens to released volumes."),
                text("VolumeBindingMode", "When volumes are made and bound."),
                boolean("AllowVolumeExpansion", "Whether volumes may grow."),
                AGE,
            ],
            |class, now| {
                let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
                let mark = if marks.iter().any(|m| class.annotation(m) == Some("true")) { " (default)" } else { "" };
                vec![
                    format!("{}{mark}", class.name()).into(),
                    class.str_at(&["provisioner"]).into(),
                    class.str_at(&["reclaimPolicy"]).into(),
                    class.str_at(&["volumeBindingMode"]).into(),
                    bool_or(class, &["allowVolumeExpansion"], false),
                    age(class, now),
                ]
            },
        )
    }
}

fn validate(class: &Value, faults: &mut Faults) {
    let provisioner = class.str_at(&["provisioner"]);
    if provisioner.is_empty() {
        faults.required(&Path::root("provisioner"), "");
    } else {
        faults.texts(&Path::root("provisioner"), provisioner, names::qualified_name(&provisioner.to_ascii_lowercase()));
    }
    one_of(class.str_at(&["reclaimPolicy"]), &["Delete", "Retain"], &Path::root("reclaimPolicy"), faults);
    one_of(class.str_at(&["volumeBindingMode"]), &["Immediate", "WaitForFirstConsumer"], &Path::root("volumeBindingMode"), faults);
}
