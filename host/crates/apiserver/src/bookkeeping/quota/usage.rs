//! What one object uses of a quota, and which objects a quota counts. Pure.
//!
//! Shared by the loop that writes `status.used` and by the admission that refuses what would exceed it.

use std::collections::BTreeMap;

use pintle_api::object::ObjectExt;
use pintle_api::quantity::{Format, Quantity};
use pintle_api::{GroupVersionResource, Object};
use serde_json::Value;

/// Amounts by resource name: `pods`, `requests.cpu`, `count/deployments.apps`.
pub type Amounts = BTreeMap<String, Quantity>;

/// Whether quotas know more of this resource than its number of objects.
pub fn is_measured(group: &str, resource: &str) -> bool {
    group.is_empty()
        && matches!(
            resource,
            "pods" | "services" | "persistentvolumeclaims" | "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas"
        )
}

/// `count/RESOURCE.GROUP`
pub fn count_name(group: &str, resource: &str) -> String {
    if group.is_empty() { format!("count/{resource}") } else { format!("count/{resource}.{group}") }
}

/// What the object uses.
pub fn of_object(group: &str, resource: &str, object: &Object) -> Amounts {
    let mut used = Amounts::from([(count_name(group, resource), whole(1))]);
    if !is_measured(group, resource) {
        return used;
    }
    match resource {
        "pods" => {
            if counts_as_running(object) {
                used.extend(of_pod(object));
            }
        }
        "services" => {
            let kind = object.str_at(&["spec", "type"]);
            let ports = object.list_at(&["spec", "ports"]);
            let allocates = object.at(&["spec", "allocateLoadBalancerNodePorts"]) != Some(&Value::Bool(false));
            let node_ports = match kind {
                "NodePort" => ports.len(),
                "LoadBalancer" if allocates => ports.len(),
                "LoadBalancer" => ports.iter().filter(|p| p.i64_at(&["nodePort"]).is_some_and(|n| n != 0)).count(),
                _ => 0,
            };
            used.insert("services".into(), whole(1));
            used.insert("services.loadbalancers".into(), whole(i64::from(kind == "LoadBalancer")));
            used.insert("services.nodeports".into(), whole(i64::try_from(node_ports).unwrap_or(i64::MAX)));
        }
        "persistentvolumeclaims" => {
            used.insert("persistentvolumeclaims".into(), whole(1));
            let storage = object.at(&["spec", "resources", "requests", "storage"]).and_then(|v| Quantity::from_value(v).ok());
            let class = object.str_at(&["spec", "storageClassName"]);
            if let Some(storage) = storage {
                used.insert("requests.storage".into(), storage);
            }
            if !class.is_empty() {
                let of_class = format!("{class}.storageclass.storage.k8s.io");
                used.insert(format!("{of_class}/persistentvolumeclaims"), whole(1));
                if let Some(storage) = storage {
                    used.insert(format!("{of_class}/requests.storage"), storage);
                }
            }
        }
        simple => {
            used.insert(simple.to_owned(), whole(1));
        }
    }
    used
}

/// Whether the resource name is one that objects of the resource can use.
pub fn tracks(group: &str, resource: &str, name: &str) -> bool {
    if name == count_name(group, resource) {
        return true;
    }
    match (group, resource) {
        ("", "pods") => {
            const POD: [&str; 10] = [
                "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu", "limits.memory",
                "limits.ephemeral-storage", "pods",
            ];
            let extended = name.strip_prefix("requests.").is_some_and(|rest| rest.contains('/'));
            POD.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-") || extended
        }
        ("", "services") => matches!(name, "services" | "services.loadbalancers" | "services.nodeports"),
        ("", "persistentvolumeclaims") => {
            matches!(name, "persistentvolumeclaims" | "requests.storage") || name.contains(".storageclass.storage.k8s.io/")
        }
        ("", resource) => is_measured(group, resource) && name == resource,
        _ => false,
    }
}

/// Whether all scopes of the quota hold for the object. Only pods have scopes.
pub fn in_scope(quota: &Object, resource: &GroupVersionResource, object: &Object) -> bool {
    let is_pod = resource.group.is_empty() && resource.resource == "pods";
    let scopes = quota.list_at(&["spec", "scopes"]).iter().filter_map(Value::as_str);
    let selectors = quota.list_at(&["spec", "scopeSelector", "matchExpressions"]);
    let mut all = scopes.map(|s| (s, None)).chain(selectors.iter().map(|s| (s.str_at(&["scopeName"]), Some(s))));
    all.all(|(scope, selector)| is_pod && pod_in_scope(object, scope, selector))
}

/// The amounts of a `hard` or `used` map.
pub fn amounts(object: &Object, path: &[&str]) -> Amounts {
    let map = object.map_at(path).into_iter().flatten();
    map.filter_map(|(name, value)| Some((name.clone(), Quantity::from_value(value).ok()?))).collect()
}

pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let entry = sum.entry(name.clone()).or_default();
        *entry = entry.plus(*amount);
    }
}

pub fn to_value(amounts: &Amounts) -> Value {
    Value::Object(amounts.iter().map(|(name, amount)| (name.clone(), Value::String(amount.to_string()))).collect())
}

pub fn whole(count: i64) -> Quantity {
    Quantity::from_i64(count, Format::DecimalSi)
}

/// A pod that has ended, or whose grace period is over, uses nothing.
fn counts_as_running(pod: &Object) -> bool {
    if matches!(pod.str_at(&["status", "phase"]), "Failed" | "Succeeded") {
        return false;
    }
    let ended_at = pod.str_at(&["metadata", "deletionTimestamp"]).parse::<jiff::Timestamp>();
    !ended_at.is_ok_and(|at| at < jiff::Timestamp::now())
}

fn of_pod(pod: &Object) -> Amounts {
    let mut used = Amounts::from([("pods".to_owned(), whole(1))]);
    for (name, amount) in pod_sum(pod, "requests") {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            used.insert(format!("requests.{name}"), amount);
            used.insert(name, amount);
        } else if name.contains('/') {
            used.insert(format!("requests.{name}"), amount);
        }
    }
    for (name, amount) in pod_sum(pod, "limits") {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            used.insert(format!("limits.{name}"), amount);
        }
    }
    used
}

/// The pod's own amounts, else the larger of what its containers need together and what starting it needs; plus overhead.
fn pod_sum(pod: &Object, which: &str) -> Amounts {
    let of = |container: &Value| amounts(container, &["resources", which]);
    let mut sum = Amounts::new();
    for container in pod.list_at(&["spec", "containers"]) {
        add(&mut sum, &of(container));
    }
    // Init containers that go on running count with what comes after them.
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in pod.list_at(&["spec", "initContainers"]) {
        let mut now = of(container);
        if container.str_at(&["restartPolicy"]) == "Always" {
            add(&mut sum, &now);
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut starting, now);
    }
    raise(&mut sum, starting);
    sum.extend(amounts(pod, &["spec", "resources", which]));
    let overhead = amounts(pod, &["spec", "overhead"]);
    // Overhead raises limits only where there is one.
    for (name, amount) in overhead.iter().filter(|(name, _)| which == "requests" || sum.contains_key(*name)).map(|(n, a)| (n.clone(), *a)).collect::<Vec<_>>() {
        let entry = sum.entry(name).or_default();
        *entry = entry.plus(amount);
    }
    sum
}

fn raise(sum: &mut Amounts, least: Amounts) {
    for (name, amount) in least {
        let entry = sum.entry(name).or_insert(amount);
        *entry = (*entry).max(amount);
    }
}

fn pod_in_scope(pod: &Object, scope: &str, selector: Option<&Value>) -> bool {
    let terminating = pod.i64_at(&["spec", "activeDeadlineSeconds"]).is_some_and(|s| s >= 0);
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let class = pod.str_at(&["spec", "priorityClassName"]);
            let Some(selector) = selector else { return !class.is_empty() };
            let listed = selector.list_at(&["values"]).iter().any(|v| v == class);
            match selector.str_at(&["operator"]) {
                "Exists" => !class.is_empty(),
                "DoesNotExist" => class.is_empty(),
                "In" => !class.is_empty() && listed,
                "NotIn" => !listed,
                _ => false,
            }
        }
        "CrossNamespacePodAffinity" => ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
            let affinity = pod.at(&["spec", "affinity", kind]).unwrap_or(&Value::Null);
            let required = affinity.list_at(&["requiredDuringSchedulingIgnoredDuringExecution"]).iter();
            let preferred = affinity.list_at(&["preferredDuringSchedulingIgnoredDuringExecution"]).iter().filter_map(|t| t.at(&["podAffinityTerm"]));
            required.chain(preferred).any(|t| !t.list_at(&["namespaces"]).is_empty() || t.at(&["namespaceSelector"]).is_some_and(|s| !s.is_null()))
        }),
        _ => false,
    }
}

fn is_best_effort(pod: &Object) -> bool {
    let all = ["containers", "initContainers"].iter().flat_map(|list| pod.list_at(&["spec", list]));
    let bare = |owner: &Value| {
        ["requests", "limits"].iter().all(|which| !amounts(owner, &["resources", which]).iter().any(|(n, q)| matches!(n.as_str(), "cpu" | "memory") && !q.is_zero()))
    };
    all.chain(pod.at(&["spec"])).all(bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(amounts: &Amounts) -> String {
        amounts.iter().map(|(n, a)| format!("{n}={a}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_pods_use() {
        let pod = json!({"spec": {
            "initContainers": [{"resources": {"requests": {"cpu": "2"}}}],
            "containers": [{"resources": {"requests": {"cpu": "500m", "memory": "1Gi", "example.com/gpu": "1"}, "limits": {"cpu": "1"}}},
                {"resources": {"requests": {"cpu": "700m"}}}]}});
        assert_eq!(
            shown(&of_object("", "pods", &pod)),
            "count/pods=1 cpu=2 limits.cpu=1 memory=1Gi pods=1 requests.cpu=2 requests.example.com/gpu=1 requests.memory=1Gi"
        );
        let ended = json!({"status": {"phase": "Succeeded"}, "spec": pod["spec"]});
        assert_eq!(shown(&of_object("", "pods", &ended)), "count/pods=1");
    }

    #[test]
    fn services_and_claims() {
        let service = json!({"spec": {"type": "LoadBalancer", "ports": [{}, {"nodePort": 30000}]}});
        assert_eq!(shown(&of_object("", "services", &service)), "count/services=1 services=1 services.loadbalancers=1 services.nodeports=2");
        let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}});
        assert_eq!(
            shown(&of_object("", "persistentvolumeclaims", &claim)),
            "count/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/requests.storage=1Gi \
             persistentvolumeclaims=1 requests.storage=1Gi"
        );
        assert_eq!(shown(&of_object("apps", "deployments", &json!({}))), "count/deployments.apps=1");
    }

    #[test]
    fn scopes() {
        let pods = GroupVersionResource::constant("", "v1", "pods");
        let quota = |scope: &str| json!({"spec": {"scopes": [scope]}});
        let (bare, bounded) = (json!({"spec": {"containers": [{}]}}), json!({"spec": {"activeDeadlineSeconds": 5, "containers": [{"resources": {"limits": {"cpu": "1"}}}]}}));
        assert!(in_scope(&quota("BestEffort"), &pods, &bare) && !in_scope(&quota("BestEffort"), &pods, &bounded));
        assert!(in_scope(&quota("Terminating"), &pods, &bounded) && in_scope(&quota("NotTerminating"), &pods, &bare));
        assert!(!in_scope(&quota("BestEffort"), &GroupVersionResource::constant("", "v1", "services"), &bare));
    }
}
