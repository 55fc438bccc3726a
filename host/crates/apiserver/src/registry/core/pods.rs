//! `v1` Pod: defaults, what the server sets on creation, what each subresource may change, and how long a deletion waits.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::registry::checks::{ip, nonnegative};
use crate::registry::context::WriteContext;
use crate::registry::def::namespaced;
use crate::registry::faults::{Faults, Path};
use crate::registry::fields::{self, by_name, ensure_object, spec_mut, text};
use crate::registry::kind::{Kind, restore};
use crate::registry::podspec::validate::Context;
use crate::registry::podspec::{change, default_spec, defaults, qos, validate_spec};
use crate::registry::strategy::Part;
use crate::registry::warnings;

const SPEC: Path<'static> = Path::root("spec");

pub fn kind() -> Kind {
    let def = namespaced("v1", "pods", "Pod")
        .short(&["po"])
        .in_all()
        .status()
        .sub_of_kind("attach", "v1", "PodAttachOptions", &["create", "get"])
        .sub_of_kind("binding", "v1", "Binding", &["create"])
        .sub("ephemeralcontainers", &["get", "patch", "update"])
        .sub_of_kind("eviction", "policy/v1", "Eviction", &["create"])
        .sub_of_kind("exec", "v1", "PodExecOptions", &["create", "get"])
        .sub("log", &["get"])
        .sub_of_kind("portforward", "v1", "PodPortForwardOptions", &["create", "get"])
        .sub_of_kind("proxy", "v1", "PodProxyOptions", &["create", "delete", "get", "patch", "update"])
        .sub("resize", &["get", "patch", "update"]);
    Kind {
        warn: warnings::pod,
        generation: true,
        default,
        create,
        update,
        validate,
        validate_change,
        grace,
        fields: &[
            ("spec.nodeName", |p| text(p, &["spec", "nodeName"])),
            ("spec.restartPolicy", |p| text(p, &["spec", "restartPolicy"])),
            ("spec.schedulerName", |p| text(p, &["spec", "schedulerName"])),
            ("spec.serviceAccountName", |p| text(p, &["spec", "serviceAccountName"])),
            ("spec.hostNetwork", |p| p.bool_at(&["spec", "hostNetwork"]).to_string()),
            ("status.phase", |p| text(p, &["status", "phase"])),
            ("status.podIP", |p| text(p, &["status", "podIP"])),
            ("status.nominatedNodeName", |p| text(p, &["status", "nominatedNodeName"])),
        ],
        ..Kind::new(def).table(super::pods_table::COLUMNS, super::pods_table::cells).cells_need(super::pods_table::NEEDED)
    }
}

fn default(pod: &mut Value) {
    if pod.get("status").is_some_and(Value::is_object) {
        pair_addresses(pod, "podIP", "podIPs");
    }
    if let Some(spec) = spec_mut(pod) {
        default_spec(spec);
        defaults::default_pod_only(spec);
    }
}

fn create(pod: &mut Value, context: &WriteContext<'_>) {
    let class = qos::class(&pod["spec"]);
    let mut status = json!({"phase": "Pending", "qosClass": class});
    if !pod.list_at(&["spec", "schedulingGates"]).is_empty() {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null, "lastTransitionTime": context.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }]);
    }
    pod.set_at(&["status"], status);
    merge_match_label_keys(pod);
}

fn update(new: &mut Value, old: &Value, part: Part, _: &WriteContext<'_>) {
    match part {
        Part::Main => drop_scheduling_gated(new),
        Part::Status => {
            if let Some(class) = old.at(&["status", "qosClass"]) {
                let class = class.clone();
                new.set_at(&["status", "qosClass"], class);
            }
            keep_owners(new, old);
            pair_addresses(new, "podIP", "podIPs");
            pair_addresses(new, "hostIP", "hostIPs");
        }
        Part::Other("ephemeralcontainers") => keep_only(new, old, |spec, asked| {
            spec.insert("ephemeralContainers".to_owned(), asked.get("ephemeralContainers").cloned().unwrap_or(json!([])));
        }),
        Part::Other("resize") => keep_only(new, old, |spec, asked| {
            for list in ["containers", "initContainers"] {
                take_resources(spec, asked, list);
            }
            if let Some(resources) = asked.get("resources") {
                spec.insert("resources".to_owned(), resources.clone());
            }
        }),
        _ => {}
    }
}

/// The old pod with what `apply` takes from the asked one's spec.
fn keep_only(new: &mut Value, old: &Value, apply: fn(&mut fields::Fields, &Value)) {
    let asked = new.get("spec").cloned().unwrap_or(Value::Null);
    restore(new, old, "spec");
    restore(new, old, "status");
    if let Some(spec) = spec_mut(new) {
        apply(spec, &asked);
    }
}

fn take_resources(spec: &mut fields::Fields, asked: &Value, list: &str) {
    let asked = by_name(asked.list_at(&[list]));
    for container in fields::each_mut(spec, list) {
        let name = container.get("name").and_then(Value::as_str).unwrap_or("");
        let Some((_, wanted)) = asked.get(name) else { continue };
        for field in ["resources", "resizePolicy"] {
            if let Some(value) = wanted.get(field) {
                container.insert(field.to_owned(), value.clone());
            }
        }
    }
}

fn keep_owners(new: &mut Value, old: &Value) {
    match old.at(&["metadata", "ownerReferences"]) {
        Some(owners) => new.set_at(&["metadata", "ownerReferences"], owners.clone()),
        None => {
            new.remove_at(&["metadata", "ownerReferences"]);
        }
    }
}

/// An address and the first of the list say the same, whichever a client sent. The pod's are upstream's conversion's, the host's its strategy's.
fn pair_addresses(pod: &mut Value, one: &str, many: &str) {
    let Some(status) = pod.as_object_mut().map(|p| ensure_object(p, "status")) else { return };
    let first = status.get(many).and_then(|l| l.get(0)).and_then(|e| e.get("ip")).cloned();
    match (first, status.get(one).and_then(Value::as_str).filter(|ip| !ip.is_empty()).map(str::to_owned)) {
        // The pod's single address is the older field and rules.
        (Some(first), Some(ip)) if one == "podIP" && first != *ip => {
            status.insert(many.to_owned(), json!([{"ip": ip}]));
        }
        (Some(first), _) => {
            status.insert(one.to_owned(), first);
        }
        (None, Some(ip)) => {
            status.insert(many.to_owned(), json!([{"ip": ip}]));
        }
        (None, None) => {}
    }
}

/// The last gate taken away ends the condition that the gates brought.
fn drop_scheduling_gated(pod: &mut Value) {
    if !pod.list_at(&["spec", "schedulingGates"]).is_empty() {
        return;
    }
    if let Some(conditions) = pod.get_mut("status").and_then(|s| s.get_mut("conditions")).and_then(Value::as_array_mut) {
        conditions.retain(|c| c.str_at(&["reason"]) != "SchedulingGated");
    }
}

/// Turns `matchLabelKeys` of affinity terms into requirements on the pod's own label values.
fn merge_match_label_keys(pod: &mut Value) {
    let labels = pod.at(&["metadata", "labels"]).cloned().unwrap_or(Value::Null);
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = pod.get_mut("spec").and_then(|s| s.get_mut("affinity")).and_then(|a| a.get_mut(kind)) else { continue };
        for (list, inner) in
            [("requiredDuringSchedulingIgnoredDuringExecution", None), ("preferredDuringSchedulingIgnoredDuringExecution", Some("podAffinityTerm"))]
        {
            for term in affinity.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                let term = match inner {
                    Some(inner) => term.get_mut(inner),
                    None => Some(term),
                };
                if let Some(term) = term {
                    merge_term(term, &labels);
                }
            }
        }
    }
}

fn merge_term(term: &mut Value, labels: &Value) {
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys: Vec<String> = term.list_at(&[field]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        for key in keys {
            let (Some(value), true) = (labels.get(&key), term.get("labelSelector").is_some_and(Value::is_object)) else { continue };
            let mut expressions = term.list_at(&["labelSelector", "matchExpressions"]).to_vec();
            expressions.push(json!({"key": key, "operator": operator, "values": [value]}));
            term.set_at(&["labelSelector", "matchExpressions"], Value::Array(expressions));
        }
    }
}

fn validate(pod: &Value, faults: &mut Faults) {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    validate_spec(spec, &SPEC, Context { is_pod: true, pod_name: pod.name() }, faults);
    if spec.str_at(&["serviceAccountName"]).is_empty() {
        token_without_account(spec, faults);
    }
    let is_new = pod.uid().is_empty() || pod.resource_version().is_empty();
    if is_new && !spec.list_at(&["ephemeralContainers"]).is_empty() {
        faults.forbidden(&SPEC.field("ephemeralContainers"), "cannot be set on create");
    }
    if !spec.str_at(&["nodeName"]).is_empty() && !spec.list_at(&["schedulingGates"]).is_empty() {
        faults.forbidden(&SPEC.field("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}

fn token_without_account(spec: &Value, faults: &mut Faults) {
    let volumes = SPEC.field("volumes");
    for (i, volume) in spec.list_at(&["volumes"]).iter().enumerate() {
        let here = volumes.index(i);
        let sources = here.field("projected.sources");
        for (j, source) in volume.list_at(&["projected", "sources"]).iter().enumerate() {
            if fields::is_set(source.get("serviceAccountToken")) {
                let detail = "must not be specified when serviceAccountName is not set";
                faults.forbidden(&sources.index(j).field("serviceAccountToken"), detail);
            }
        }
    }
}

fn validate_change(new: &Value, old: &Value, part: Part, faults: &mut Faults) {
    let (after, before) = (new.get("spec").unwrap_or(&Value::Null), old.get("spec").unwrap_or(&Value::Null));
    match part {
        Part::Main if after != before => change::validate(after, before, faults),
        Part::Other("ephemeralcontainers") => change::validate_ephemeral(after, before, faults),
        Part::Other("resize") if qos::class(after) != old.str_at(&["status", "qosClass"]) => {
            faults.invalid_str(&SPEC, qos::class(after), "Pod QOS Class may not change as a result of resizing");
        }
        Part::Status => status_change(new, old, faults),
        _ => {}
    }
}

fn status_change(new: &Value, old: &Value, faults: &mut Faults) {
    const STATUS: Path<'static> = Path::root("status");
    nonnegative(new.at(&["status", "observedGeneration"]), &STATUS.field("observedGeneration"), faults);
    conditions(new.list_at(&["status", "conditions"]), faults);
    for (field, shown) in [("podIPs", "status.podIPs"), ("hostIPs", "status.hostIPs")] {
        addresses(new.list_at(&["status", field]), &Path::root(shown), faults);
    }
    let policy = old.str_at(&["spec", "restartPolicy"]);
    if policy != "Always" && !has_restart_rules(old) {
        no_resurrection(new, old, policy, faults);
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

/// A pod without a node or one that has ended goes at once; others get what was asked, their own grace, or a second.
fn grace(pod: &Value, asked: Option<i64>) -> Option<i64> {
    let unscheduled = pod.str_at(&["spec", "nodeName"]).is_empty();
    if unscheduled || matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed") {
        return None;
    }
    let seconds = asked.or_else(|| pod.i64_at(&["spec", "terminationGracePeriodSeconds"])).unwrap_or(0);
    match seconds {
        0 => None,
        ..0 => Some(1),
        _ => Some(seconds),
    }
}
