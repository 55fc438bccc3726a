//! Fields of features that upstream has not switched on: taken away from a new pod before anybody looks at them, as upstream does.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::CONTAINER_LISTS;

/// Projections of features that are off.
const PROJECTIONS: [&str; 2] = ["clusterTrustBundle", "podCertificate"];

/// Called when a pod is made; its spec cannot gain such fields later.
pub fn take_away(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec") else { return };
    let has_signal = CONTAINER_LISTS.iter().flat_map(|kind| spec.list_at(&[kind])).any(|c| c.at(&["lifecycle", "stopSignal"]).is_some());
    if has_signal || spec.list_at(&["volumes"]).iter().any(|volume| volume.list_at(&["projected", "sources"]).iter().any(is_disabled)) {
        take_away_all(spec);
    }
}

fn is_disabled(source: &Value) -> bool {
    PROJECTIONS.iter().any(|kind| source.get(*kind).is_some())
}

fn take_away_all(spec: &mut Value) {
    for kind in CONTAINER_LISTS {
        for container in spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) else { continue };
            if lifecycle.remove("stopSignal").is_some() && lifecycle.values().all(Value::is_null) {
                container.remove_at(&["lifecycle"]);
            }
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let sources = volume.get_mut("projected").and_then(|projected| projected.get_mut("sources")).and_then(Value::as_array_mut);
        for source in sources.into_iter().flatten().filter_map(Value::as_object_mut) {
            PROJECTIONS.iter().for_each(|kind| drop(source.remove(*kind)));
        }
    }
}
