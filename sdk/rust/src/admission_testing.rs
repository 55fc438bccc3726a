//! A native harness for admission policies: a write goes through both turns as in the host. Re-exported by [`crate::testing`].

use serde_json::Value;

use crate::admission::{Admission, Change, Phase, Query, Reader, Refusal, Request, Resource, Rule, Summary};
use crate::controller::{Api, ApiError};
use crate::testing::FakeCluster;

impl Reader for FakeCluster {
    fn get(&self, resource: Resource, namespace: &str, name: &str) -> Result<Value, ApiError> {
        Api::get(self, resource, namespace, name)
    }
    fn list(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Value>, ApiError> {
        Api::list(self, resource, query)
    }
    fn list_summaries(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Summary>, ApiError> {
        Api::list_summaries(self, resource, query)
    }
}

/// What becomes of the write: the object as it would be stored with the warnings on its way, or the refusal. Turns that no rule of the
/// policy asks for are left out. Panics where the policy's answer means nothing, as a change while validating.
pub fn admit<A: Admission>(policy: &mut A, cluster: &FakeCluster, request: Request) -> Result<(Value, Vec<String>), Refusal> {
    let rules = policy.rules(cluster).expect("the policy takes its configuration");
    let mut request = request;
    let mut warnings = Vec::new();
    for phase in [Phase::Mutate, Phase::Validate] {
        request.phase = phase;
        if !rules.iter().any(|rule| covers(rule, &request)) {
            continue;
        }
        let response = policy.admit(cluster, &request);
        warnings.extend(response.warnings);
        if let Some(refusal) = response.refusal {
            return Err(refusal);
        }
        assert!(phase == Phase::Mutate || response.change == Change::None, "the policy changes the object while validating");
        match response.change {
            Change::None => {}
            Change::Patch(operations) => operations.iter().for_each(|operation| apply(&mut request.object, operation)),
            Change::Object(object) => request.object = object,
        }
    }
    Ok((request.object, warnings))
}

fn covers(rule: &Rule, request: &Request) -> bool {
    let has = |words: &[String], word: &str| words.iter().any(|w| w == "*" || w == word);
    let resource = |pattern: &String| {
        let (name, part) = pattern.split_once('/').unwrap_or((pattern, ""));
        (name == "*" || name == request.resource.name) && (part == "*" || part == request.subresource)
    };
    rule.phases.contains(&request.phase)
        && rule.operations.contains(&request.operation)
        && has(&rule.api_groups, &request.resource.group)
        && has(&rule.api_versions, &request.resource.version)
        && rule.resources.iter().any(resource)
}

/// `add`, `replace` and `remove` of a JSON patch.
fn apply(object: &mut Value, operation: &Value) {
    let path = operation["path"].as_str().expect("an operation has a path");
    let (parent, last) = path.rsplit_once('/').expect("a path begins with a slash");
    let key = last.replace("~1", "/").replace("~0", "~");
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("the patch names a path that is not there: {path}"));
    let value = operation["value"].clone();
    match (operation["op"].as_str(), parent) {
        (Some("add" | "replace"), Value::Object(map)) => drop(map.insert(key, value)),
        (Some("remove"), Value::Object(map)) => drop(map.remove(&key)),
        (Some("add"), Value::Array(list)) if key == "-" => list.push(value),
        (Some("add"), Value::Array(list)) => list.insert(key.parse().expect("an index"), value),
        (Some("replace"), Value::Array(list)) => list[key.parse::<usize>().expect("an index")] = value,
        (Some("remove"), Value::Array(list)) => drop(list.remove(key.parse().expect("an index"))),
        (op, _) => panic!("the harness knows no operation {op:?} at {path}"),
    }
}
