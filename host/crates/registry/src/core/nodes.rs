//! `v1` Node. A kubelet that registers brings its status along, so creation keeps it.

use std::collections::{BTreeSet, HashSet};

use pintle_api::object::ObjectExt;
use pintle_api::{json, names};
use serde_json::Value;

use crate::checks::{cidr, nonnegative_quantity, one_of};
use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::fields::{default_missing, ensure_object, is_zero, same};
use crate::internal;
use crate::kind::Kind;
use crate::podspec::affinity::EFFECTS;
use crate::print::{AGE, NAME, NONE, UNKNOWN, age, text, text_or, wide};
use crate::strategy::{Column, Part};
use crate::warnings;

const FEATURE_SHAPE: &str = "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or \
                             MyFeature/mySubFeature), and contain only alphanumeric characters and slashes";
/// Fields of the status that upstream always shows.
const NODE_INFO: [&str; 10] = [
    "architecture",
    "bootID",
    "containerRuntimeVersion",
    "kernelVersion",
    "kubeProxyVersion",
    "kubeletVersion",
    "machineID",
    "operatingSystem",
    "osImage",
    "systemUUID",
];
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "Ready or not, and whether pods may be placed."),
    text("Roles", "Roles by label."),
    AGE,
    text("Version", "Version of the kubelet."),
    wide("Internal-IP", "Address inside the cluster."),
    wide("External-IP", "Address outside the cluster."),
    wide("OS-Image", "Operating system."),
    wide("Kernel-Version", "Kernel and architecture."),
    wide("Container-Runtime", "Runtime and its version."),
];

pub fn kind() -> Kind {
    let def = cluster("v1", "nodes", "Node").short(&["no"]).status().sub_of_kind(
        "proxy",
        "v1",
        "NodeProxyOptions",
        &["create", "delete", "get", "patch", "update"],
    );
    Kind {
        keeps_status_on_create: true,
        warn: warnings::node,
        default,
        validate,
        validate_change,
        fields: &[("spec.unschedulable", |n| n.bool_at(&["spec", "unschedulable"]).to_string())],
        ..Kind::new(def).table(COLUMNS, cells)
    }
}

fn default(node: &mut Value) {
    let Some(fields) = node.as_object_mut() else { return };
    ensure_object(fields, "spec");
    let status = ensure_object(fields, "status");
    let endpoint = ensure_object(ensure_object(status, "daemonEndpoints"), "kubeletEndpoint");
    default_missing(endpoint, "Port", 0);
    let info = ensure_object(status, "nodeInfo");
    for field in NODE_INFO {
        default_missing(info, field, "");
    }
    if status.get("allocatable").is_none_or(Value::is_null)
        && let Some(capacity) = status.get("capacity").filter(|c| !is_zero(c)).cloned()
    {
        status.insert("allocatable".to_owned(), capacity);
    }
    let spec = ensure_object(fields, "spec");
    // The single field is the older and rules.
    let first = spec.get("podCIDRs").and_then(|l| l.get(0)).cloned();
    match (spec.get("podCIDR").and_then(Value::as_str).filter(|r| !r.is_empty()).map(str::to_owned), first) {
        (Some(range), first) if first.as_ref().and_then(Value::as_str) != Some(&range) => {
            spec.insert("podCIDRs".to_owned(), serde_json::json!([range]));
        }
        (None, Some(first)) => {
            spec.insert("podCIDR".to_owned(), first);
        }
        _ => {}
    }
}

fn validate(node: &Value, faults: &mut Faults) {
    avoided_pods(node, faults);
    taints(node.list_at(&["spec", "taints"]), &Path::root("metadata.taints"), faults);
    resources(node, faults);
    let list = Path::root("spec.podCIDRs");
    let ranges: Vec<&str> = node.list_at(&["spec", "podCIDRs"]).iter().filter_map(Value::as_str).collect();
    for (i, range) in ranges.iter().enumerate() {
        cidr(range, &list.index(i), faults);
    }
    let is_v6 = |range: &&&str| range.contains(':');
    if ranges.len() > 2 || (ranges.len() == 2 && ranges.iter().filter(is_v6).count() != 1) {
        faults.invalid(&list, &serde_json::json!(ranges), "may specify no more than one CIDR for each IP family");
    }
}

/// An annotation that nobody reads any more, and that is still looked at: a list of pods to keep away, each told by its controller.
fn avoided_pods(node: &Value, faults: &mut Faults) {
    const KEY: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";
    let text = node.str_at(&["metadata", "annotations", KEY]);
    if text.is_empty() {
        return;
    }
    let path = Path::root("metadata.annotations");
    let listed: Value = match serde_json::from_str(text) {
        Ok(listed) => listed,
        Err(fault) => return faults.invalid_str(&path.field("AvoidPods"), KEY, &json::fault(&fault, text.as_bytes())),
    };
    let list = path.field(KEY);
    for (i, entry) in listed.list_at(&["preferAvoidPods"]).iter().enumerate() {
        let here = list.index(i);
        match entry.at(&["podSignature", "podController"]).filter(|controller| !controller.is_null()) {
            None => faults.required(&here.field("PodSignature"), ""),
            Some(controller) if !controller.bool_at(&["controller"]) => {
                faults.invalid(&here.field("PodSignature.PodController.Controller"), &false.into(), "must point to a controller");
            }
            Some(_) => {}
        }
    }
}

fn taints(list: &[Value], path: &Path<'_>, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (i, taint) in list.iter().enumerate() {
        let here = path.index(i);
        let (key, value, effect) = (taint.str_at(&["key"]), taint.str_at(&["value"]), taint.str_at(&["effect"]));
        faults.texts(&here.field("key"), key, names::qualified_name(key));
        let messages = names::label_value(value);
        if !messages.is_empty() {
            faults.invalid_str(&here.field("value"), value, &messages.join(";"));
        }
        one_of(effect, &EFFECTS, &here.field("effect"), faults);
        if !seen.insert((key, effect)) {
            let shown = internal::shown(taint, "core.Taint");
            faults.duplicate_shown(&here, &format!("{shown}: taints must be unique by key and effect pair"));
        }
    }
}

fn resources(node: &Value, faults: &mut Faults) {
    for field in ["capacity", "allocatable"] {
        let path = Path::root("status").field(field).to_string();
        let path = Path::root(&path);
        for (name, value) in node.map_at(&["status", field]).into_iter().flatten() {
            let here = path.field(name);
            let counts = name.contains('/') || matches!(name.as_str(), "pods" | "services" | "secrets" | "configmaps");
            if let Some(quantity) = nonnegative_quantity(value, &here, faults).filter(|q| counts && !q.is_whole()) {
                faults.invalid_str(&here, &quantity.to_string(), "must be an integer");
            }
        }
    }
}

/// `Feature` or `Feature/part`, in order and each once.
fn declared_features(node: &Value, faults: &mut Faults) {
    let list = Path::root("status.declaredFeatures");
    let names: Vec<&str> = node.list_at(&["status", "declaredFeatures"]).iter().map(|name| name.as_str().unwrap_or_default()).collect();
    for (i, name) in names.iter().enumerate() {
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
        if !name.starts_with(|c: char| c.is_ascii_uppercase()) || !name.split('/').all(is_part) {
            faults.invalid_str(&list.index(i), name, &format!("invalid feature name {name:?}: {FEATURE_SHAPE}"));
        }
        match names.get(i + 1) {
            Some(next) if next == name => faults.duplicate(&list.index(i + 1), &(*next).into()),
            Some(next) if next < name => faults.invalid_str(&list.index(i + 1), next, "list must be sorted alphabetically"),
            _ => {}
        }
    }
}

fn validate_change(new: &Value, old: &Value, part: Part, faults: &mut Faults) {
    if part == Part::Status {
        resources(new, faults);
        declared_features(new, faults);
        let list = Path::root("status.addresses");
        let addresses = new.list_at(&["status", "addresses"]);
        for (i, address) in addresses.iter().enumerate().filter(|(i, a)| addresses[..*i].contains(a)) {
            faults.duplicate_shown(&list.index(i), &internal::shown(address, "core.NodeAddress"));
        }
    }
    if part == Part::Main && new.at(&["spec", "taints"]) != old.at(&["spec", "taints"]) {
        // A second time, as upstream does.
        taints(new.list_at(&["spec", "taints"]), &Path::root("metadata.taints"), faults);
    }
    let outside = |node: &Value| node.str_at(&["spec", "externalID"]).to_owned();
    if outside(new) != outside(old) {
        faults.forbidden(&Path::root("spec.externalID"), "may not be updated");
    }
    for (field, shown) in [("podCIDRs", "podCIDR"), ("providerID", "providerID")] {
        let (after, before) = (new.at(&["spec", field]), old.at(&["spec", field]));
        if before.is_some_and(|b| !is_zero(b)) && !same(after, before) {
            let detail = format!("node updates may not change {shown} except from \"\" to valid");
            faults.forbidden(&Path::root("spec").field(field), &detail);
        }
    }
}

fn cells(node: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let info = |field: &str| text_or(node, &["status", "nodeInfo", field], UNKNOWN);
    let architecture = node.str_at(&["status", "nodeInfo", "architecture"]);
    let mut kernel = info("kernelVersion").as_str().unwrap_or_default().to_owned();
    if !architecture.is_empty() {
        kernel = format!("{kernel} ({architecture})");
    }
    vec![
        node.name().into(),
        status(node).into(),
        roles(node).into(),
        age(node, now),
        node.str_at(&["status", "nodeInfo", "kubeletVersion"]).into(),
        address(node, "InternalIP"),
        address(node, "ExternalIP"),
        info("osImage"),
        kernel.into(),
        info("containerRuntimeVersion"),
    ]
}

fn status(node: &Value) -> String {
    let ready = node.list_at(&["status", "conditions"]).iter().find(|c| c.str_at(&["type"]) == "Ready");
    let word = ready.map_or("Unknown", |c| if c.str_at(&["status"]) == "True" { "Ready" } else { "NotReady" });
    if node.bool_at(&["spec", "unschedulable"]) { format!("{word},SchedulingDisabled") } else { word.to_owned() }
}

fn roles(node: &Value) -> String {
    let role = |(key, value): (&String, &Value)| match key.strip_prefix(ROLE_PREFIX) {
        Some(role) => (!role.is_empty()).then(|| role.to_owned()),
        None if key == "kubernetes.io/role" => value.as_str().filter(|v| !v.is_empty()).map(str::to_owned),
        None => None,
    };
    let found: BTreeSet<String> = node.map_at(&["metadata", "labels"]).into_iter().flatten().filter_map(role).collect();
    if found.is_empty() { NONE.to_owned() } else { found.into_iter().collect::<Vec<_>>().join(",") }
}

fn address(node: &Value, kind: &str) -> Value {
    let found = node.list_at(&["status", "addresses"]).iter().find(|a| a.str_at(&["type"]) == kind);
    found.map_or(NONE.into(), |a| a.str_at(&["address"]).into())
}
