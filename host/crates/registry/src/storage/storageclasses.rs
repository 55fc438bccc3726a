//! `storage.k8s.io/v1` StorageClass.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{immutable, one_of_if_set};
use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::fields::default_missing;
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, bool_or, boolean, text};

const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETERS_BYTES: usize = 256 * 1024;

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
    one_of_if_set(class.str_at(&["reclaimPolicy"]), &["Delete", "Retain"], &Path::root("reclaimPolicy"), faults);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    match class.get("volumeBindingMode").and_then(Value::as_str) {
        None => faults.required(&Path::root("volumeBindingMode"), ""),
        Some(mode) if !modes.contains(&mode) => faults.not_supported(&Path::root("volumeBindingMode"), mode, &modes),
        Some(_) => {}
    }
    parameters(class, faults);
    let list = Path::root("allowedTopologies");
    let mut seen = HashSet::new();
    for (i, term) in class.list_at(&["allowedTopologies"]).iter().enumerate() {
        topology(term, !seen.insert(term), &list.index(i).field("matchLabelExpressions"), faults);
    }
}

fn parameters(class: &Value, faults: &mut Faults) {
    let (path, all) = (Path::root("parameters"), class.map_at(&["parameters"]));
    if all.is_some_and(|all| all.len() > MAX_PARAMETERS) {
        faults.too_long(&path, MAX_PARAMETERS);
        return;
    }
    let mut bytes = 0;
    for (key, value) in all.into_iter().flatten() {
        if key.is_empty() {
            faults.invalid_str(&path, key, "field can not be empty.");
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > MAX_PARAMETERS_BYTES {
        faults.too_long(&path, MAX_PARAMETERS_BYTES);
    }
}

/// A term of `allowedTopologies`; `again`: an equal one came before.
fn topology(term: &Value, again: bool, path: &Path<'_>, faults: &mut Faults) {
    let expressions = term.list_at(&["matchLabelExpressions"]);
    let mut keys = HashSet::new();
    for (i, expression) in expressions.iter().enumerate() {
        let (here, key) = (path.index(i), expression.str_at(&["key"]));
        faults.texts(&here.field("key"), key, names::qualified_name(key));
        if !keys.insert(key) {
            faults.duplicate(&here.field("key"), &key.into());
        }
        let (list, values) = (here.field("values"), expression.list_at(&["values"]));
        if values.is_empty() {
            faults.required(&list, "");
        }
        let mut seen = HashSet::new();
        for (j, value) in values.iter().enumerate().filter(|(_, value)| !seen.insert(*value)) {
            faults.duplicate(&list.index(j), value);
        }
    }
    // A term that says nothing counts as seen already.
    if expressions.is_empty() || again {
        faults.duplicate(path, &"".into());
    }
}
