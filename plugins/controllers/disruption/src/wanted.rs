//! How many pods a budget's pods are meant to be, by their owners' scales, and how many of them must stay.

use std::collections::BTreeMap;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::numbers::resolve;
use pintle_controller_common::resources::{DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS};
use pintle_sdk::controller::{Api, ApiError, Resource};
use serde_json::Value;

pub const UNMANAGED: &str = "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.";

#[derive(Debug, Default, PartialEq)]
pub struct Wanted {
    pub expected: i64,
    pub healthy: i64,
    /// Some pods have no owner, and the budget needs one's scale.
    pub unmanaged: bool,
}

pub fn count(api: &dyn Api, budget: &Value, pods: &[Value]) -> Result<Wanted, String> {
    let field = |name: &str| budget.at(&["spec", name]).filter(|v| !v.is_null());
    let malformed = || "invalid value: neither a number nor a percentage".to_owned();
    if let Some(max) = field("maxUnavailable") {
        let (expected, unmanaged) = scale(api, pods)?;
        let unavailable = resolve(Some(max), expected, true).ok_or_else(malformed)?;
        return Ok(Wanted { expected, healthy: (expected - unavailable).max(0), unmanaged });
    }
    match field("minAvailable") {
        Some(Value::Number(number)) => {
            Ok(Wanted { expected: i64::try_from(pods.len()).unwrap_or(i64::MAX), healthy: number.as_i64().unwrap_or(0), unmanaged: false })
        }
        Some(share) => {
            let (expected, unmanaged) = scale(api, pods)?;
            Ok(Wanted { expected, healthy: resolve(Some(share), expected, true).ok_or_else(malformed)?, unmanaged })
        }
        None => Ok(Wanted::default()),
    }
}

fn scale(api: &dyn Api, pods: &[Value]) -> Result<(i64, bool), String> {
    // By the uid of the pods' owner: the uid of what scales, and how far. Several ReplicaSets may be one Deployment.
    let mut by_owner: BTreeMap<&str, (String, i64)> = BTreeMap::new();
    let mut unmanaged = false;
    for pod in pods {
        let Some(owner) = pod.controller() else {
            unmanaged = true;
            continue;
        };
        if !by_owner.contains_key(owner.text(&["uid"])) {
            let found = scale_of(api, owner, pod.namespace())?.ok_or_else(|| format!("found no controllers for pod {:?}", pod.name()))?;
            by_owner.insert(owner.text(&["uid"]), found);
        }
    }
    let scales: BTreeMap<&str, i64> = by_owner.values().map(|(uid, replicas)| (uid.as_str(), *replicas)).collect();
    Ok((scales.values().sum(), unmanaged))
}

fn scale_of(api: &dyn Api, owner: &Value, namespace: &str) -> Result<Option<(String, i64)>, String> {
    let group = owner.text(&["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
    match (group, owner.text(&["kind"])) {
        ("apps", "ReplicaSet") => {
            let Some(set) = find(api, REPLICA_SETS, owner, namespace)? else { return Ok(None) };
            match set.controller().filter(|o| o.text(&["kind"]) == "Deployment") {
                Some(deployment) => Ok(find(api, DEPLOYMENTS, deployment, namespace)?.as_ref().map(replicas)),
                None => Ok(Some(replicas(&set))),
            }
        }
        ("apps", "StatefulSet") => Ok(find(api, STATEFUL_SETS, owner, namespace)?.as_ref().map(replicas)),
        ("", "ReplicationController") => Ok(find(api, REPLICATION_CONTROLLERS, owner, namespace)?.as_ref().map(replicas)),
        (group, kind) => {
            let dotted = if group.is_empty() { String::new() } else { format!(".{group}") };
            Err(format!("{}s{dotted} does not implement the scale subresource", kind.to_lowercase()))
        }
    }
}

fn find(api: &dyn Api, resource: Resource, owner: &Value, namespace: &str) -> Result<Option<Value>, String> {
    match api.get(resource, namespace, owner.text(&["name"])) {
        Ok(object) => Ok(Some(object).filter(|o| o.uid() == owner.text(&["uid"]))),
        Err(ApiError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn replicas(object: &Value) -> (String, i64) {
    (object.uid().to_owned(), object.integer(&["spec", "replicas"]).unwrap_or(1))
}
