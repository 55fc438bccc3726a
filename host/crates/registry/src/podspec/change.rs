//! What an update may change in a pod's spec: images, the deadline, gates taken away, tolerations added.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::containers;
use crate::faults::{Faults, Path};
use crate::fields::{by_name, is_set, same};
use crate::internal;

const SPEC: Path<'static> = Path::root("spec");
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Faults of an update of a pod's main part.
pub fn validate(new: &Value, old: &Value, faults: &mut Faults) {
    for list in ["containers", "initContainers"] {
        if new.list_at(&[list]).len() != old.list_at(&[list]).len() {
            return faults.forbidden(&SPEC.field(list), "pod updates may not add or remove containers");
        }
    }
    images(new, faults);
    deadline(new, old, faults);
    tolerations(new, old, faults);
    gates(new, old, faults);
    let gated = !old.list_at(&["schedulingGates"]).is_empty();
    if gated {
        node_selector_additions(new, old, faults);
        node_affinity_additions(new, old, faults);
    }
    if !same_but_for_updatable(new, old, gated) {
        let unchanged = with_updatable_of(new, old, gated);
        let changed = internal::difference(&internal::pod_spec(old), &internal::pod_spec(&unchanged), "core.PodSpec");
        faults.forbidden(&SPEC, &format!("pod updates may not change fields other than {UPDATABLE}\n{changed}"));
    }
}

/// Faults of `pods/ephemeralcontainers`: containers may be added, never changed nor removed.
pub fn validate_ephemeral(new: &Value, old: &Value, faults: &mut Faults) {
    let path = SPEC.field("ephemeralContainers");
    let after = by_name(new.list_at(&["ephemeralContainers"]));
    for before in old.list_at(&["ephemeralContainers"]) {
        let name = before.str_at(&["name"]);
        match after.get(name).map(|(_, container)| *container) {
            None => faults.forbidden(&path, &format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(after) if after != before => {
                let changed = internal::difference(before, after, "core.EphemeralContainer");
                faults.forbidden(&path, &format!("existing ephemeral containers {name:?} may not be changed\n{changed}"));
            }
            Some(_) => {}
        }
    }
}

/// Looked at a second time, as upstream does, so an update tells of a wrong image twice.
fn images(new: &Value, faults: &mut Faults) {
    for list in ["containers", "initContainers"] {
        let path = SPEC.field(list);
        for (i, container) in new.list_at(&[list]).iter().enumerate() {
            containers::image(container, true, &path.index(i), faults);
        }
    }
}

fn deadline(new: &Value, old: &Value, faults: &mut Faults) {
    let path = SPEC.field("activeDeadlineSeconds");
    let (after, before) = (new.i64_at(&["activeDeadlineSeconds"]), old.i64_at(&["activeDeadlineSeconds"]));
    match (after, before) {
        (Some(after), _) if !(0..=i64::from(i32::MAX)).contains(&after) => {
            faults.values(&path, &after.into(), names::in_range(after, 0, i64::from(i32::MAX)));
        }
        (Some(after), Some(before)) if before < after => {
            faults.invalid(&path, &after.into(), "must be less than or equal to previous value");
        }
        (None, Some(_)) => faults.invalid(&path, &Value::Null, "must not update from a positive integer to nil value"),
        _ => {}
    }
}

fn tolerations(new: &Value, old: &Value, faults: &mut Faults) {
    let bare = |t: &Value| {
        let mut fields = t.as_object().cloned().unwrap_or_default();
        fields.remove("tolerationSeconds");
        fields
    };
    if new.get("tolerations") == old.get("tolerations") {
        return;
    }
    let after: HashSet<_> = new.list_at(&["tolerations"]).iter().map(bare).collect();
    if !old.list_at(&["tolerations"]).iter().all(|t| after.contains(&bare(t))) {
        faults.forbidden(&SPEC.field("tolerations"), "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn gates(new: &Value, old: &Value, faults: &mut Faults) {
    let before = by_name(old.list_at(&["schedulingGates"]));
    let list = SPEC.field("schedulingGates");
    for (i, gate) in new.list_at(&["schedulingGates"]).iter().enumerate() {
        let name = gate.str_at(&["name"]);
        if !before.contains_key(name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            faults.forbidden(&list.index(i).field("name"), &detail);
        }
    }
}

/// A gated pod's node selector may only be narrowed.
fn node_selector_additions(new: &Value, old: &Value, faults: &mut Faults) {
    let after = new.map_at(&["nodeSelector"]);
    let kept = old.map_at(&["nodeSelector"]).into_iter().flatten().all(|(key, value)| after.is_some_and(|a| a.get(key) == Some(value)));
    if !kept {
        let value = new.get("nodeSelector").unwrap_or(&Value::Null);
        faults.invalid(&SPEC.field("nodeSelector"), value, "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
    }
}

/// A gated pod's required node affinity keeps its terms, each with its requirements first and perhaps more behind them.
fn node_affinity_additions(new: &Value, old: &Value, faults: &mut Faults) {
    const TERMS: [&str; 4] = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    let (after, before) = (new.list_at(&TERMS), old.list_at(&TERMS));
    let path = SPEC.field("affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    if before.is_empty() {
        return;
    }
    if before.len() != after.len() {
        let shown = if is_set(new.at(&TERMS)) { shown_list(after, shown_term) } else { "null".to_owned() };
        return faults.invalid_shown(&path, &shown, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
    }
    for (i, (after, _)) in after.iter().zip(before).enumerate().filter(|(_, (after, before))| !has_only_additions(after, before)) {
        faults.invalid_shown(&path.index(i), &shown_term(after), "only additions are allowed (no mutations or deletions)");
    }
}

fn has_only_additions(after: &Value, before: &Value) -> bool {
    const LISTS: [&str; 2] = ["matchExpressions", "matchFields"];
    let lists = |term: &'_ Value| LISTS.map(|list| term.list_at(&[list]).to_vec());
    // A term that asks nothing matches nothing: more of it would widen.
    let is_empty = |term: &Value| lists(term).iter().all(Vec::is_empty);
    if is_empty(before) {
        return is_empty(after);
    }
    lists(before).iter().zip(lists(after)).all(|(before, after)| after.starts_with(before))
}

/// As upstream prints a term, by the names of its own types.
fn shown_term(term: &Value) -> String {
    let requirement = |r: &Value| {
        let values = r.get("values").filter(|v| !v.is_null()).unwrap_or(&Value::Null);
        format!("{{\"Key\":{},\"Operator\":{},\"Values\":{values}}}", r["key"], r["operator"])
    };
    let list = |field: &str| if is_set(term.get(field)) { shown_list(term.list_at(&[field]), requirement) } else { "null".to_owned() };
    format!("{{\"MatchExpressions\":{},\"MatchFields\":{}}}", list("matchExpressions"), list("matchFields"))
}

fn shown_list(list: &[Value], shown: impl Fn(&Value) -> String) -> String {
    format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(","))
}

fn same_but_for_updatable(new: &Value, old: &Value, gated: bool) -> bool {
    let free = |key: &str| match key {
        "activeDeadlineSeconds" | "schedulingGates" | "tolerations" | "containers" | "initContainers" => true,
        "nodeSelector" => gated,
        "affinity" => gated && pod_affinity_is_same(new, old),
        "terminationGracePeriodSeconds" => old.i64_at(&[key]).is_some_and(|g| g < 0) && new.i64_at(&[key]) == Some(1),
        _ => false,
    };
    let keys = |v: &Value| v.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let rest = keys(new).into_iter().chain(keys(old)).filter(|key| !free(key)).all(|key| same(new.get(&key), old.get(&key)));
    rest && ["containers", "initContainers"].iter().all(|list| {
        let pairs = new.list_at(&[list]).iter().zip(old.list_at(&[list]));
        pairs.into_iter().all(|(a, b)| same_but_for_image(a, b))
    })
}

/// The new spec, with the old one's values where an update may change them: what is left is what it may not.
fn with_updatable_of(new: &Value, old: &Value, gated: bool) -> Value {
    let mut spec = new.clone();
    let mut keep = |path: &[&str]| match old.at(path) {
        Some(value) => spec.set_at(path, value.clone()),
        None => {
            spec.remove_at(path);
        }
    };
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        keep(&[field]);
    }
    if gated {
        keep(&["nodeSelector"]);
        // What an affinity says of nodes alone is nothing else.
        let of_pods = |spec: &Value| ["podAffinity", "podAntiAffinity"].iter().any(|kind| is_set(spec.at(&["affinity", kind])));
        if is_set(old.get("affinity")) || of_pods(new) {
            keep(&["affinity", "nodeAffinity"]);
        } else {
            keep(&["affinity"]);
        }
    }
    for list in ["containers", "initContainers"] {
        let before = old.list_at(&[list]);
        let after = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, before) in after.zip(before) {
            container.set_at(&["image"], before.str_at(&["image"]).into());
        }
    }
    spec
}

fn pod_affinity_is_same(new: &Value, old: &Value) -> bool {
    let of = |spec: &'_ Value, kind| spec.at(&["affinity", kind]).filter(|affinity| !affinity.is_null()).cloned();
    ["podAffinity", "podAntiAffinity"].iter().all(|kind| of(new, kind) == of(old, kind))
}

fn same_but_for_image(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new == old };
    new.keys().chain(old.keys()).filter(|key| *key != "image").all(|key| same(new.get(key), old.get(key)))
}
