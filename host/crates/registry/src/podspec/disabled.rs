//! Fields of features that upstream has not switched on: taken away from new pods and from templates of pods before anybody looks at them, as
//! upstream does.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::CONTAINER_LISTS;

/// The field of a container's `lifecycle` whose feature is off.
const SIGNAL: &str = "stopSignal";
/// Projections of features that are off.
const PROJECTIONS: [&str; 2] = ["clusterTrustBundle", "podCertificate"];

/// Called when a pod is made; its spec cannot gain such fields later.
pub fn take_away(pod: &mut Value) {
    take_from(pod, None);
}

/// Called when a template is made or changed: one that has a feature's field already keeps it.
pub fn take_from(template: &mut Value, old: Option<&Value>) {
    let Some(spec) = template.get_mut("spec") else { return };
    let before = old.and_then(|old| old.get("spec"));
    for field in [SIGNAL].iter().chain(&PROJECTIONS) {
        if uses(spec, field) && !before.is_some_and(|before| uses(before, field)) {
            take(spec, field);
        }
    }
}

fn uses(spec: &Value, field: &str) -> bool {
    if field == SIGNAL {
        return CONTAINER_LISTS.iter().flat_map(|kind| spec.list_at(&[kind])).any(|c| c.at(&["lifecycle", SIGNAL]).is_some());
    }
    spec.list_at(&["volumes"]).iter().flat_map(|volume| volume.list_at(&["projected", "sources"])).any(|source| source.get(field).is_some())
}

fn take(spec: &mut Value, field: &str) {
    if field == SIGNAL {
        for kind in CONTAINER_LISTS {
            spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten().for_each(take_signal);
        }
        return;
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let sources = volume.get_mut("projected").and_then(|projected| projected.get_mut("sources")).and_then(Value::as_array_mut);
        sources.into_iter().flatten().filter_map(Value::as_object_mut).for_each(|source| drop(source.remove(field)));
    }
}

fn take_signal(container: &mut Value) {
    let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) else { return };
    if lifecycle.remove(SIGNAL).is_some() && lifecycle.values().all(Value::is_null) {
        container.remove_at(&["lifecycle"]);
    }
}
