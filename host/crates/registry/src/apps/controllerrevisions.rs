//! `apps/v1` ControllerRevision: a snapshot of a workload's template. Its data never changes.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{immutable, nonnegative};
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::kind::Kind;
use crate::print::{AGE, NAME, NONE, age, count, text};

pub fn kind() -> Kind {
    Kind {
        validate: |revision, faults| nonnegative(revision.get("revision"), &Path::root("revision"), faults),
        validate_new: has_data,
        validate_change: |new, old, _, faults| immutable(new, old, &["data"], faults),
        ..Kind::new(namespaced("apps/v1", "controllerrevisions", "ControllerRevision"))
            .table(&[NAME, text("Controller", "What the revision belongs to."), text("Revision", "Number in the history."), AGE], |revision, now| {
                vec![revision.name().into(), controller(revision).into(), count(revision, &["revision"]), age(revision, now)]
            })
    }
}

fn controller(revision: &Value) -> String {
    let Some(owner) = revision.controller_ref() else { return NONE.to_owned() };
    let group = owner.str_at(&["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
    let kind = owner.str_at(&["kind"]).to_ascii_lowercase();
    let name = owner.str_at(&["name"]);
    if group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{group}/{name}") }
}

/// Later it is the same for ever.
fn has_data(revision: &Value, faults: &mut Faults) {
    match revision.get("data") {
        None | Some(Value::Null) => faults.required(&Path::root("data"), "data is mandatory"),
        Some(Value::Object(_)) => {}
        Some(_) => faults.required(&Path::root("data"), "data must be a valid JSON object"),
    }
}
