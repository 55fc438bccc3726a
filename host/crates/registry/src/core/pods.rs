//! `v1` Pod: defaults, what the server sets on creation, what each subresource may change, and how long a deletion waits.

use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::pods_status;
use crate::context::WriteContext;
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::{self, by_name, ensure_object, spec_mut, text};
use crate::kind::{Kind, restore};
use crate::podspec::validate::Context;
use crate::podspec::{
    annotations as pod_annotations, change, default_spec, defaults, disabled, qos, resize, validate_spec, warnings as pod_warnings,
};
use crate::strategy::Part;
use crate::warnings;

const SPEC: Path<'static> = Path::root("spec");
const ANNOTATIONS: Path<'static> = Path::root("metadata.annotations");

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
        warn_early: pod_warnings::of_profiles,
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
        pair_addresses(pod);
    }
    if let Some(spec) = spec_mut(pod) {
        default_spec(spec);
        defaults::default_pod_only(spec);
        // Of a pod alone, not of a template.
        if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
            spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
        }
    }
}

fn create(pod: &mut Value, context: &WriteContext<'_>) {
    disabled::take_away(pod);
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
    pod_annotations::set_apparmor_fields(pod);
}

fn update(new: &mut Value, old: &Value, part: Part, _: &WriteContext<'_>) {
    match part {
        Part::Main => drop_scheduling_gated(new),
        Part::Status => {
            pods_status::keep(new, old);
            keep_owners(new, old);
            pair_addresses(new);
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

/// A pod's address and the first of its list say the same, whichever a client sent. The single one is the older field and rules.
fn pair_addresses(pod: &mut Value) {
    let Some(status) = pod.as_object_mut().map(|p| ensure_object(p, "status")) else { return };
    let first = status.get("podIPs").and_then(|l| l.get(0)).and_then(|e| e.get("ip")).and_then(Value::as_str).map(str::to_owned);
    let one = status.get("podIP").and_then(Value::as_str).filter(|ip| !ip.is_empty()).map(str::to_owned);
    match (first, one) {
        (first, Some(one)) if first.as_ref() != Some(&one) => {
            status.insert("podIPs".to_owned(), json!([{"ip": one}]));
        }
        (Some(first), None) => {
            status.insert("podIP".to_owned(), first.into());
        }
        _ => {}
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

/// Turns `matchLabelKeys` of affinity terms and spread constraints into requirements on the pod's own label values.
fn merge_match_label_keys(pod: &mut Value) {
    let labels = pod.at(&["metadata", "labels"]).cloned().unwrap_or(Value::Null);
    for constraint in pod.get_mut("spec").and_then(|s| s.get_mut("topologySpreadConstraints")).and_then(Value::as_array_mut).into_iter().flatten() {
        merge_term(constraint, &labels);
    }
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
    pod_annotations::validate(pod, &ANNOTATIONS, faults);
    let is_new = pod.uid().is_empty() || pod.resource_version().is_empty();
    if is_new {
        pod_annotations::validate_profiles(pod, &SPEC, faults);
    }
    if is_new && !spec.list_at(&["ephemeralContainers"]).is_empty() {
        faults.forbidden(&SPEC.field("ephemeralContainers"), "cannot be set on create");
    }
    if is_new && !spec.str_at(&["nodeName"]).is_empty() && !spec.list_at(&["schedulingGates"]).is_empty() {
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
    pod_annotations::validate_change(new, old, &ANNOTATIONS, faults);
    match part {
        Part::Main if after != before => change::validate(after, before, faults),
        Part::Other("ephemeralcontainers") => change::validate_ephemeral(after, before, faults),
        Part::Other("resize") => resize::validate(new, old, faults),
        Part::Status => pods_status::validate_change(new, old, faults),
        _ => {}
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
