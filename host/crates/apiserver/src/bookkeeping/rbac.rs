//! Default roles and bindings in the cluster, and cluster roles that are made of others.
//!
//! At start missing rules and subjects are added to default roles, never taken away, unless their annotation
//! `autoupdate` says `false`.

use std::collections::BTreeMap;
use std::sync::Arc;

use pintle_api::client::{ListOptions, Patch, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{Client, GroupVersionResource, Object, Reason, Status};
use serde_json::{Map, Value, json};

use super::Context;
use super::follow::{Change, Interest, follow};
use super::queue::{Outcome, Queue};
use crate::auth::bootstrap_policy::{Row, rows};
use crate::auth::rbac::GROUP;
use crate::auth::rules::{Rule, uncovered};

const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const CLUSTER_ROLES: GroupVersionResource = GroupVersionResource::constant(GROUP, "v1", "clusterroles");

/// The default objects that are not there.
pub async fn missing(context: &Context) -> Result<Vec<(GroupVersionResource, Object)>, Status> {
    let current = current(context).await?;
    Ok(rows().iter().filter(|r| !current.contains_key(&key(r))).map(|r| (resource(r), r.object())).collect())
}

/// Adds to the default objects that are there what they lack.
pub async fn complete(context: &Context) -> Result<(), Status> {
    let current = current(context).await?;
    for row in rows() {
        let Some(held) = current.get(&key(row)).filter(|o| o.annotation(AUTOUPDATE) != Some("false")) else { continue };
        if let Some(better) = completed(held, &row.object()) {
            let target = Target::of(&resource(row), &better);
            match context.client.update(&target, better, &WriteOptions::default()).await {
                Err(status) if !status.is(Reason::Conflict) => return Err(status),
                _ => {}
            }
        }
    }
    Ok(())
}

/// `held` with what `wanted` has more; `None`: nothing is lacking.
fn completed(held: &Object, wanted: &Object) -> Option<Object> {
    let mut better = held.clone();
    let lacking = uncovered(&Rule::list(held, &["rules"]), &Rule::list(wanted, &["rules"]));
    if !lacking.is_empty() && wanted.at(&["aggregationRule"]).is_none() {
        let mut rules = held.list_at(&["rules"]).to_vec();
        rules.extend(lacking.iter().map(Rule::to_value));
        better.set_at(&["rules"], Value::Array(rules));
    }
    let mut subjects = held.list_at(&["subjects"]).to_vec();
    let new: Vec<Value> = wanted.list_at(&["subjects"]).iter().filter(|s| !subjects.contains(s)).cloned().collect();
    if !new.is_empty() {
        subjects.extend(new);
        better.set_at(&["subjects"], Value::Array(subjects));
    }
    (better != *held).then_some(better)
}

type Key = (&'static str, String, String);

fn key(row: &Row) -> Key {
    (row.resource, row.namespace.clone(), row.name.clone())
}

fn resource(row: &Row) -> GroupVersionResource {
    GroupVersionResource::constant(GROUP, "v1", row.resource)
}

async fn current(context: &Context) -> Result<BTreeMap<Key, Object>, Status> {
    let mut found = BTreeMap::new();
    for name in ["clusterroles", "clusterrolebindings", "roles", "rolebindings"] {
        let target = Target::collection(GroupVersionResource::constant(GROUP, "v1", name), None);
        for served in context.client.list(&target, &ListOptions::default()).await?.items {
            let object = served.parse()?;
            found.insert((name, object.namespace().to_owned(), object.name().to_owned()), object);
        }
    }
    Ok(found)
}

/// Keeps the rules of cluster roles with an `aggregationRule` equal to those of the roles that it selects.
pub async fn aggregate(client: Arc<dyn Client>) {
    let roles: Arc<std::sync::Mutex<BTreeMap<String, Object>>> = Arc::default();
    let queue: Queue<String> = Queue::default();
    let watching = {
        let (roles, queue) = (roles.clone(), queue.clone());
        follow(client.clone(), Interest::all(CLUSTER_ROLES), move |change| {
            let mut roles = roles.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match change {
                Change::Restart => roles.clear(),
                Change::Now(object) => {
                    let Ok(object) = object.parse() else { return };
                    roles.insert(object.name().to_owned(), object);
                }
                Change::Gone(object) => {
                    let Ok(object) = object.parse() else { return };
                    roles.remove(object.name());
                }
                Change::Synced => {}
            }
            for (name, _) in roles.iter().filter(|(_, r)| r.at(&["aggregationRule"]).is_some_and(|a| !a.is_null())) {
                queue.add(name.clone());
            }
        })
    };
    let working = queue.run(1, |name| {
        let (client, roles) = (client.clone(), roles.clone());
        async move {
            let wanted = {
                let roles = roles.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let Some(role) = roles.get(&name) else { return Outcome::Done };
                let union = union(role, roles.values());
                if role.list_at(&["rules"]) == union.as_slice() {
                    return Outcome::Done;
                }
                union
            };
            let target = Target::object(CLUSTER_ROLES, None, &name);
            match client.patch(&target, Patch::Merge(json!({"rules": wanted})), &WriteOptions::default()).await {
                Ok(_) => Outcome::Done,
                Err(status) if status.is(Reason::NotFound) => Outcome::Done,
                Err(_) => Outcome::Retry,
            }
        }
    });
    tokio::join!(watching, working);
}

/// The rules of all selected roles, without repetition, in the order of the roles' names.
fn union<'a>(role: &Object, all: impl Iterator<Item = &'a Object> + Clone) -> Vec<Value> {
    let mut rules: Vec<Value> = Vec::new();
    for selector in role.list_at(&["aggregationRule", "clusterRoleSelectors"]) {
        for selected in all.clone().filter(|r| r.name() != role.name() && selects(selector, r)) {
            for rule in selected.list_at(&["rules"]) {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    rules
}

fn selects(selector: &Value, object: &Object) -> bool {
    let empty = Map::new();
    let labels = selector.map_at(&["matchLabels"]).unwrap_or(&empty);
    let by_labels = labels.iter().all(|(key, value)| object.label(key) == value.as_str());
    let by_expressions = selector.list_at(&["matchExpressions"]).iter().all(|e| {
        let held = object.label(e.str_at(&["key"]));
        let listed = || held.is_some_and(|h| e.list_at(&["values"]).iter().any(|v| v.as_str() == Some(h)));
        match e.str_at(&["operator"]) {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => held.is_some(),
            "DoesNotExist" => held.is_none(),
            _ => false,
        }
    });
    by_labels && by_expressions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, label: &str, verbs: &[&str]) -> Object {
        let labels = json!({label: "true"});
        json!({"metadata": {"name": name, "labels": labels}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]})
    }

    #[test]
    fn a_role_is_the_sum_of_the_selected() {
        let all = [role("a", "x", &["get"]), role("b", "x", &["get"]), role("c", "y", &["list"]), role("d", "z", &["delete"])];
        let sum = json!({"metadata": {"name": "sum"}, "aggregationRule": {"clusterRoleSelectors": [
            {"matchLabels": {"y": "true"}}, {"matchExpressions": [{"key": "x", "operator": "Exists"}]}]}});
        let verbs: Vec<Value> = union(&sum, all.iter()).iter().map(|r| r["verbs"].clone()).collect();
        assert_eq!(verbs, [json!(["list"]), json!(["get"])]);
    }

    #[test]
    fn completion_adds_and_never_takes() {
        let held = role("a", "x", &["get", "delete"]);
        assert_eq!(completed(&held, &role("a", "x", &["get"])), None);
        let better = completed(&held, &role("a", "x", &["get", "list"])).unwrap();
        assert_eq!(better["rules"][1], json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}));
    }
}
