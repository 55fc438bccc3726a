//! What `pods/resize` may change: requests and limits of processor and memory, none of which may be taken away.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::annotations::MIRROR;
use super::{qos, totals};
use crate::faults::{Faults, Path};
use crate::fields::{is_set, same};

const SPEC: Path<'static> = Path::root("spec");
const ONLY_THESE: &str = "only cpu and memory resources are mutable";

pub fn validate(new: &Value, old: &Value, faults: &mut Faults) {
    let nothing = Path::root("");
    if is_set(old.at(&["metadata", "annotations", MIRROR])) {
        return faults.forbidden(&nothing, "static pods cannot be resized");
    }
    if old.str_at(&["spec", "os", "name"]) == "windows" {
        return faults.forbidden(&nothing, "windows pods cannot be resized");
    }
    let (after, before) = (new.get("spec").unwrap_or(&Value::Null), old.get("spec").unwrap_or(&Value::Null));
    let class = old.str_at(&["status", "qosClass"]);
    if qos::class(after) != class {
        faults.invalid_str(&SPEC, class, "Pod QOS Class may not change as a result of resizing");
    }
    if !node_can(old) {
        faults.forbidden(&SPEC, "Pod running on node without support for resize");
    }
    of_pod(after, before, faults);
    of_containers(after, before, faults);
}

/// A node that cannot does not tell what its running containers have.
fn node_can(pod: &Value) -> bool {
    let running = pod.list_at(&["status", "containerStatuses"]).iter().find(|status| is_set(status.at(&["state", "running"])));
    running.is_none_or(|status| is_set(status.get("resources")))
}

fn of_pod(after: &Value, before: &Value, faults: &mut Faults) {
    let path = SPEC.field("resources");
    let Some(had) = before.get("resources").filter(|r| !r.is_null()) else { return };
    let Some(has) = after.get("resources").filter(|r| !r.is_null()) else {
        return faults.forbidden(&path, "pod-level resources cannot be removed");
    };
    for (side, said) in [("requests", "pod-level resource requests cannot be removed"), ("limits", "pod-level resource limits cannot be removed")] {
        if is_taken_away(has, had, side) {
            faults.forbidden(&path.field(side), said);
        }
    }
    if !same_but_for_processor_and_memory(has, had) {
        faults.forbidden(&SPEC, "only cpu and memory resources are mutable at pod-level");
    }
}

fn of_containers(after: &Value, before: &Value, faults: &mut Faults) {
    for list in ["initContainers", "containers"] {
        let path = SPEC.field(list);
        for (i, (new, old)) in after.list_at(&[list]).iter().zip(before.list_at(&[list])).enumerate() {
            let here = path.index(i);
            removals(new, old, &here.field("resources"), faults);
            match list {
                "containers" if !differs_as_allowed(new, old) => faults.forbidden(&SPEC, ONLY_THESE),
                "initContainers" => init_container(new, old, &here, faults),
                _ => {}
            }
        }
    }
}

fn init_container(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    if !differs_as_allowed(new, old) {
        faults.forbidden(path, "only cpu and memory resources for init or sidecar containers are mutable");
    }
    let restarts = new.list_at(&["resizePolicy"]).iter().any(|policy| policy.str_at(&["restartPolicy"]) == "RestartContainer");
    if new != old && restarts && new.str_at(&["restartPolicy"]) != "Always" {
        faults.forbidden(path, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized");
    }
}

fn removals(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let nothing = Value::Null;
    let (has, had) = (new.get("resources").unwrap_or(&nothing), old.get("resources").unwrap_or(&nothing));
    for (side, said) in [("requests", "resource requests cannot be removed"), ("limits", "resource limits cannot be removed")] {
        if is_taken_away(has, had, side) {
            faults.forbidden(&path.field(side), said);
        }
    }
}

fn differs_as_allowed(new: &Value, old: &Value) -> bool {
    let nothing = Value::Null;
    let (has, had) = (new.get("resources").unwrap_or(&nothing), old.get("resources").unwrap_or(&nothing));
    same_but_for_processor_and_memory(has, had) && same(new.get("resizePolicy"), old.get("resizePolicy"))
}

fn is_taken_away(has: &Value, had: &Value, side: &str) -> bool {
    let now = has.map_at(&[side]);
    had.map_at(&[side]).into_iter().flatten().any(|(name, _)| !now.is_some_and(|now| now.contains_key(name)))
}

fn same_but_for_processor_and_memory(new: &Value, old: &Value) -> bool {
    let rest = |requirements: &Value, side: &str| {
        let mut amounts = totals::amounts(requirements.get(side));
        amounts.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
        amounts
    };
    ["requests", "limits"].iter().all(|side| rest(new, side) == rest(old, side)) && same(new.get("claims"), old.get("claims"))
}
