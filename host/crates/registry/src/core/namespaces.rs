//! `v1` Namespace: carries its own name as a label, and is held by `spec.finalizers` until its content is gone.

use pintle_api::names::{NameRule, qualified_name};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::context::WriteContext;
use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::fields::{default_empty, ensure_object};
use crate::kind::{Kind, restore};
use crate::print::{AGE, NAME, age, text};
use crate::strategy::Part;

const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub fn kind() -> Kind {
    let def = cluster("v1", "namespaces", "Namespace")
        .short(&["ns"])
        .verbs(&["create", "delete", "get", "list", "patch", "update", "watch"])
        .status()
        .sub("finalize", &["update"]);
    Kind {
        names: NameRule::Label,
        default,
        create,
        update,
        validate_new: |namespace, faults| finalizers(namespace, false, faults),
        validate_change,
        fields: &[("status.phase", |n| n.str_at(&["status", "phase"]).to_owned()), ("name", |n| n.name().to_owned())],
        ..Kind::new(def).table(&[NAME, text("Status", "Active or Terminating."), AGE], |namespace, now| {
            vec![namespace.name().into(), namespace.str_at(&["status", "phase"]).into(), age(namespace, now)]
        })
    }
}

fn default(namespace: &mut Value) {
    let name = namespace.name().to_owned();
    if !name.is_empty() && namespace.label(NAME_LABEL) != Some(&name) {
        if !namespace.at(&["metadata", "labels"]).is_some_and(Value::is_object) {
            namespace.set_at(&["metadata", "labels"], json!({}));
        }
        namespace.set_at(&["metadata", "labels", NAME_LABEL], name.into());
    }
    if let Some(fields) = namespace.as_object_mut() {
        ensure_object(fields, "spec");
        default_empty(ensure_object(fields, "status"), "phase", "Active");
    }
}

fn create(namespace: &mut Value, _: &WriteContext<'_>) {
    default(namespace);
    namespace.set_at(&["status"], json!({"phase": "Active"}));
    let mut finalizers = namespace.list_at(&["spec", "finalizers"]).to_vec();
    if !finalizers.iter().any(|f| f == "kubernetes") {
        finalizers.push("kubernetes".into());
        namespace.set_at(&["spec", "finalizers"], Value::Array(finalizers));
    }
}

fn update(new: &mut Value, old: &Value, part: Part, _: &WriteContext<'_>) {
    match part {
        Part::Main => restore(new, old, "spec"),
        Part::Other("finalize") => restore(new, old, "status"),
        _ => {}
    }
}

/// A creation is told of the list, `namespaces/finalize` of its entry.
fn finalizers(namespace: &Value, by_index: bool, faults: &mut Faults) {
    let list = Path::root("spec.finalizers");
    for (i, name) in namespace.list_at(&["spec", "finalizers"]).iter().map(|f| f.as_str().unwrap_or("")).enumerate() {
        let here = if by_index { list.index(i) } else { list };
        faults.texts(&here, name, qualified_name(name));
        if !name.contains('/') && name != "kubernetes" {
            faults.invalid_str(&here, name, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

fn validate_change(new: &Value, _: &Value, part: Part, faults: &mut Faults) {
    if part == Part::Other("finalize") {
        finalizers(new, true, faults);
    }
    let phase = new.str_at(&["status", "phase"]);
    let path = Path::root("status.Phase");
    match (part, new.is_being_deleted()) {
        (Part::Status, false) if phase != "Active" => {
            faults.invalid_str(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty");
        }
        (Part::Status, true) if phase != "Terminating" => {
            faults.invalid_str(&path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
        }
        _ => {}
    }
}
