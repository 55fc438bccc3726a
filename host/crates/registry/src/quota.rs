//! What objects count for in a ResourceQuota.
//!
//! Admission asks whether one more fits ([`Charge`], [`used`]); whoever keeps `status.used` asks [`used`] too, so both count alike.

use std::collections::BTreeMap;

use pintle_api::object::ObjectExt;
use pintle_api::quantity::{Format, Quantity};
use pintle_api::{GroupVersionResource, Object};
use serde_json::Value;

use super::context::Lookup;
use super::podspec::qos;
use super::podspec::totals::{self, Amounts, add};

/// Kinds that a quota counts by a plain name as well as by `count/...`.
const PLAIN: [(&str, &str); 7] = [
    ("pods", "pods"),
    ("services", "services"),
    ("replicationcontrollers", "replicationcontrollers"),
    ("resourcequotas", "resourcequotas"),
    ("secrets", "secrets"),
    ("configmaps", "configmaps"),
    ("persistentvolumeclaims", "persistentvolumeclaims"),
];

/// What one object uses, by every name that a quota may have for it.
pub fn charge(resource: &GroupVersionResource, object: &Object) -> Amounts {
    let one = Quantity::from_i64(1, Format::DecimalSi);
    let mut amounts = BTreeMap::from([(count_name(resource), one)]);
    if !resource.group.is_empty() {
        return amounts;
    }
    match resource.resource.as_ref() {
        "pods" if has_ended(object) => {}
        "pods" => add(&mut amounts, &pod_usage(object)),
        "persistentvolumeclaims" => claim_usage(object, &mut amounts),
        "services" => service_usage(object, &mut amounts),
        other if PLAIN.iter().any(|(name, _)| *name == other) => {
            amounts.insert(other.to_owned(), one);
        }
        _ => {}
    }
    amounts
}

/// `count/deployments.apps`, `count/pods`.
pub fn count_name(resource: &GroupVersionResource) -> String {
    format!("count/{resource}")
}

/// Everything in the namespace that the quota's `spec.hard` names, counted anew. Names that nothing uses stand at zero.
pub fn used(quota: &Object, namespace: &str, objects: &dyn Lookup, resolve: &dyn Fn(&str) -> Option<GroupVersionResource>) -> Amounts {
    let hard = hard(quota);
    let mut total: Amounts = hard.keys().map(|name| (name.clone(), Quantity::from_i64(0, Format::DecimalSi))).collect();
    let mut kinds: Vec<GroupVersionResource> = hard.keys().filter_map(|name| kind_of(name, resolve)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        for object in objects.list(&kind, Some(namespace)) {
            if covers(quota, &kind, &object) {
                let mut amounts = charge(&kind, &object);
                amounts.retain(|name, _| hard.contains_key(name));
                add(&mut total, &amounts);
            }
        }
    }
    total
}

pub fn hard(quota: &Object) -> Amounts {
    totals::amounts(quota.at(&["spec", "hard"]))
}

/// The resource that a name in `hard` counts; `resolve` turns `deployments.apps` into a served resource.
fn kind_of(name: &str, resolve: &dyn Fn(&str) -> Option<GroupVersionResource>) -> Option<GroupVersionResource> {
    let core = |resource: &'static str| Some(GroupVersionResource::constant("", "v1", resource));
    if let Some(counted) = name.strip_prefix("count/") {
        return resolve(counted);
    }
    if let Some((_, resource)) = PLAIN.iter().find(|(plain, _)| *plain == name) {
        return core(resource);
    }
    if name.starts_with("services.") {
        return core("services");
    }
    if name == "requests.storage" || name.contains(".storageclass.storage.k8s.io/") {
        return core("persistentvolumeclaims");
    }
    core("pods")
}

/// Whether the quota's scopes take the object in. Only pods have scopes (and claims a class, which none asks for yet).
pub fn covers(quota: &Object, resource: &GroupVersionResource, object: &Object) -> bool {
    let scopes = quota.list_at(&["spec", "scopes"]);
    let selectors = quota.list_at(&["spec", "scopeSelector", "matchExpressions"]);
    if scopes.is_empty() && selectors.is_empty() {
        return true;
    }
    if resource.resource != "pods" {
        return false;
    }
    let plain = scopes.iter().filter_map(Value::as_str).all(|scope| in_scope(object, scope));
    plain && selectors.iter().all(|selector| matches_scope(object, selector))
}

fn matches_scope(pod: &Object, selector: &Value) -> bool {
    let scope = selector.str_at(&["scopeName"]);
    let class = pod.str_at(&["spec", "priorityClassName"]);
    let listed = selector.list_at(&["values"]).iter().any(|v| v == class);
    match (scope, selector.str_at(&["operator"])) {
        ("PriorityClass", "In") => listed,
        ("PriorityClass", "NotIn") => !listed,
        ("PriorityClass", "Exists") => !class.is_empty(),
        ("PriorityClass", "DoesNotExist") => class.is_empty(),
        (scope, _) => in_scope(pod, scope),
    }
}

fn in_scope(pod: &Object, scope: &str) -> bool {
    let deadline = pod.i64_at(&["spec", "activeDeadlineSeconds"]).is_some_and(|s| s >= 0);
    let best_effort = || qos::class(pod.get("spec").unwrap_or(&Value::Null)) == "BestEffort";
    match scope {
        "Terminating" => deadline,
        "NotTerminating" => !deadline,
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => !pod.str_at(&["spec", "priorityClassName"]).is_empty(),
        _ => false,
    }
}

/// A pod that has ended uses nothing but a place among the counted objects.
fn has_ended(pod: &Object) -> bool {
    matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed")
}

fn pod_usage(pod: &Object) -> Amounts {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut usage = compute_usage(&totals::requests(spec), &totals::limits(spec));
    usage.insert("pods".to_owned(), Quantity::from_i64(1, Format::DecimalSi));
    usage
}

/// Requests under their plain and their prefixed names, limits under `limits.`.
pub fn compute_usage(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::new();
    for (name, amount) in requests {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            usage.insert(name.clone(), *amount);
        }
        usage.insert(format!("requests.{name}"), *amount);
    }
    for (name, amount) in limits.iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")) {
        usage.insert(format!("limits.{name}"), *amount);
    }
    usage
}

fn claim_usage(claim: &Object, amounts: &mut Amounts) {
    let one = Quantity::from_i64(1, Format::DecimalSi);
    let storage = claim.at(&["spec", "resources", "requests", "storage"]).and_then(|q| Quantity::from_value(q).ok()).unwrap_or_default();
    amounts.insert("persistentvolumeclaims".to_owned(), one);
    amounts.insert("requests.storage".to_owned(), storage);
    let class = claim.str_at(&["spec", "storageClassName"]);
    if !class.is_empty() {
        amounts.insert(format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), one);
        amounts.insert(format!("{class}.storageclass.storage.k8s.io/requests.storage"), storage);
    }
}

fn service_usage(service: &Object, amounts: &mut Amounts) {
    let number = |n: usize| Quantity::from_i64(i64::try_from(n).unwrap_or(i64::MAX), Format::DecimalSi);
    let ports = service.list_at(&["spec", "ports"]);
    let kind = service.str_at(&["spec", "type"]);
    let chosen = service.at(&["spec", "allocateLoadBalancerNodePorts"]) == Some(&Value::Bool(false));
    let node_ports = match kind {
        "NodePort" => ports.len(),
        "LoadBalancer" if chosen => ports.iter().filter(|p| p.i64_at(&["nodePort"]).unwrap_or(0) != 0).count(),
        "LoadBalancer" => ports.len(),
        _ => 0,
    };
    amounts.insert("services".to_owned(), number(1));
    amounts.insert("services.nodeports".to_owned(), number(node_ports));
    amounts.insert("services.loadbalancers".to_owned(), number(usize::from(kind == "LoadBalancer")));
}
