//! `node.k8s.io/v1` RuntimeClass. The handler never changes.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{immutable, label_map, nonnegative_quantity};
use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::internal;
use crate::kind::Kind;
use crate::podspec::affinity::tolerations;
use crate::podspec::resources;
use crate::print::{AGE, NAME, age, text};

pub fn kind() -> Kind {
    Kind {
        create_on_update: true,
        unconditional_update: false,
        // A change is held against nothing but the handler.
        validate_new: validate,
        validate_change: |new, old, _, faults| immutable(new, old, &["handler"], faults),
        ..Kind::new(cluster("node.k8s.io/v1", "runtimeclasses", "RuntimeClass"))
            .table(&[NAME, text("Handler", "The runtime's name for it."), AGE], |class, now| {
                vec![class.name().into(), class.str_at(&["handler"]).into(), age(class, now)]
            })
    }
}

fn validate(class: &Value, faults: &mut Faults) {
    let handler = class.str_at(&["handler"]);
    if handler.is_empty() {
        faults.required(&Path::root("handler"), "");
    } else {
        faults.texts(&Path::root("handler"), handler, names::dns1123_label(handler));
    }
    // Checked as what a container may ask for, and told so.
    let overhead = Path::root("overhead.limits");
    for (name, value) in class.map_at(&["overhead", "podFixed"]).into_iter().flatten() {
        resources::resource_name(name, &overhead.key(name), faults);
        nonnegative_quantity(value, &overhead.key(name), faults);
    }
    label_map(class.at(&["scheduling", "nodeSelector"]), &Path::root("scheduling.nodeSelector"), faults);
    let (list, listed) = (Path::root("scheduling.tolerations"), class.list_at(&["scheduling", "tolerations"]));
    tolerations(listed, &list, faults);
    let mut seen = HashSet::new();
    for (i, toleration) in listed.iter().enumerate() {
        if !seen.insert(["key", "operator", "value", "effect"].map(|field| toleration.str_at(&[field]))) {
            faults.duplicate_shown(&list.index(i), &internal::shown(toleration, "core.Toleration"));
        }
    }
}
