//! What a pod's status may say, and what of it may change.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{immutable, ip};
use crate::faults::{Faults, Path};
use crate::fields::{self, by_name};

const STATUS: Path<'static> = Path::root("status");

/// What a writer of a status left out and the pod keeps: its class, and the generations that were seen.
pub fn keep(new: &mut Value, old: &Value) {
    if new.str_at(&["status", "qosClass"]).is_empty()
        && let Some(class) = old.at(&["status", "qosClass"])
    {
        new.set_at(&["status", "qosClass"], class.clone());
    }
    let seen = |object: &Value| object.i64_at(&["observedGeneration"]).filter(|seen| *seen != 0);
    if let (None, Some(before)) = (new.get("status").and_then(seen), old.get("status").and_then(seen)) {
        new.set_at(&["status", "observedGeneration"], before.into());
    }
    let mut before: Vec<&Value> = old.list_at(&["status", "conditions"]).iter().collect();
    for condition in new.get_mut("status").and_then(|s| s.get_mut("conditions")).and_then(Value::as_array_mut).into_iter().flatten() {
        // Two conditions of a type are paired in their order.
        let Some(at) = before.iter().position(|b| b.str_at(&["type"]) == condition.str_at(&["type"])) else { continue };
        let was = before.remove(at);
        if let (None, Some(generation)) = (seen(condition), seen(was)) {
            condition.set_at(&["observedGeneration"], generation.into());
        }
    }
}

pub fn validate_change(new: &Value, old: &Value, faults: &mut Faults) {
    conditions(new.list_at(&["status", "conditions"]), faults);
    nominated_node(new, old, faults);
    if let Some(seen) = new.i64_at(&["status", "observedGeneration"]).filter(|seen| *seen < 0) {
        faults.invalid(&STATUS.field("observedGeneration"), &seen.into(), "must be a non-negative integer");
    }
    immutable(new, old, &["status", "qosClass"], faults);
    let policy = old.str_at(&["spec", "restartPolicy"]);
    if policy != "Always" && !has_restart_rules(old) {
        no_resurrection(new, old, policy, faults);
    }
    claim_statuses(new, faults);
    addresses(new.list_at(&["status", "podIPs"]), &STATUS.field("podIPs"), faults);
    let (host, hosts) = (new.str_at(&["status", "hostIP"]), new.list_at(&["status", "hostIPs"]));
    let path = STATUS.field("hostIPs");
    if let Some(first) = hosts.first().map(|entry| entry.str_at(&["ip"])).filter(|first| *first != host) {
        faults.invalid_str(&path.index(0).field("ip"), first, "must be equal to `hostIP`");
    }
    addresses(hosts, &path, faults);
}

fn nominated_node(new: &Value, old: &Value, faults: &mut Faults) {
    let name = new.str_at(&["status", "nominatedNodeName"]);
    if name.is_empty() || name == old.str_at(&["status", "nominatedNodeName"]) {
        return;
    }
    let path = STATUS.field("nominatedNodeName");
    faults.texts(&path, name, names::dns1123_subdomain(name));
    if !old.str_at(&["spec", "nodeName"]).is_empty() {
        faults.forbidden(&path, "may not be set on pods that are already bound to a node");
    }
}

fn claim_statuses(pod: &Value, faults: &mut Faults) {
    let claims = by_name(pod.list_at(&["spec", "resourceClaims"]));
    let list = STATUS.field("resourceClaimStatuses");
    let mut seen = HashSet::new();
    for (i, status) in pod.list_at(&["status", "resourceClaimStatuses"]).iter().enumerate() {
        let (here, name) = (list.index(i), status.str_at(&["name"]));
        if !claims.contains_key(name) {
            faults.invalid_str(&here.field("name"), name, "must match the name of an entry in `spec.resourceClaims`");
        }
        if !seen.insert(name) {
            faults.duplicate(&here.field("name"), &name.into());
        }
        if let Some(claim) = status.get("resourceClaimName").and_then(Value::as_str) {
            faults.texts(&here.field("resourceClaimName"), claim, names::dns1123_subdomain(claim));
        }
    }
}

fn conditions(conditions: &[Value], faults: &mut Faults) {
    let list = Path::root("status.conditions");
    for (i, condition) in conditions.iter().enumerate() {
        let (here, kind) = (list.index(i), condition.str_at(&["type"]));
        faults.texts(&here.field("Type"), kind, names::qualified_name(kind));
        if let Some(seen) = condition.i64_at(&["observedGeneration"]).filter(|seen| *seen < 0) {
            faults.invalid(&here.field("observedGeneration"), &seen.into(), "must be a non-negative integer");
        }
    }
}

/// At most one address of each family.
fn addresses(listed: &[Value], path: &Path<'_>, faults: &mut Faults) {
    let texts: Vec<&str> = listed.iter().map(|entry| entry.str_at(&["ip"])).collect();
    for (i, text) in texts.iter().enumerate() {
        ip(text, &path.index(i), faults);
    }
    let v6 = texts.iter().filter(|text| text.contains(':')).count();
    if texts.len() > 2 || (texts.len() == 2 && v6 != 1) {
        let shown: Vec<String> = texts.iter().map(|text| format!("{{\"IP\":{}}}", Value::from(*text))).collect();
        faults.invalid_shown(path, &format!("[{}]", shown.join(",")), "may specify no more than one IP for each IP family");
    }
}

fn has_restart_rules(pod: &Value) -> bool {
    pod.list_at(&["spec", "containers"]).iter().any(|c| fields::is_set(c.get("restartPolicy")))
}

/// A container that ended for good cannot run again.
fn no_resurrection(new: &Value, old: &Value, policy: &str, faults: &mut Faults) {
    let path = Path::root("status.containerStatuses");
    let now = by_name(new.list_at(&["status", "containerStatuses"]));
    for before in old.list_at(&["status", "containerStatuses"]) {
        let Some(ended) = before.at(&["state", "terminated"]) else { continue };
        if policy == "OnFailure" && ended.i64_at(&["exitCode"]) != Some(0) {
            continue;
        }
        if let Some((i, after)) = now.get(before.str_at(&["name"]))
            && !fields::is_set(after.at(&["state", "terminated"]))
        {
            faults.forbidden(&path.index(*i).field("state"), "may not be transitioned to non-terminated state");
        }
    }
}
