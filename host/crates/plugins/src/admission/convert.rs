//! The API server's words for a write into the world's, and the world's answer into the server's. Pure.

use pintle_api::admission::{Change, Phase, Refusal, Review, Verdict};
use pintle_api::object::ObjectExt;
use pintle_plugin_bindings::admission::pintle::admission::types::{self, Operation};
use pintle_plugin_bindings::common::types::ResourceId;
use serde_json::Value;

use crate::plugin::AdmissionRule;

pub fn request(review: &Review) -> types::Request {
    let asked = &review.request;
    let part = |field: &str| asked.get(field).unwrap_or(&Value::Null);
    let json = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or_else(Vec::new, |b| b.to_vec());
    let options = part("options");
    types::Request {
        phase: match review.phase {
            Phase::Mutate => types::Phase::Mutate,
            Phase::Validate => types::Phase::Validate,
        },
        operation: match asked.str_at(&["operation"]) {
            "CREATE" => Operation::Create,
            "UPDATE" => Operation::Update,
            "DELETE" => Operation::Delete,
            _ => Operation::Connect,
        },
        kind: kind(part("kind")),
        resource: resource(part("resource")),
        subresource: asked.str_at(&["subResource"]).to_owned(),
        request_kind: kind(part("requestKind")),
        request_resource: resource(part("requestResource")),
        name: asked.str_at(&["name"]).to_owned(),
        namespace: asked.str_at(&["namespace"]).to_owned(),
        user: user(part("userInfo")),
        object: json(&review.object),
        old_object: json(&review.old_object),
        dry_run: asked.bool_at(&["dryRun"]),
        options: if options.is_null() { Vec::new() } else { options.to_string().into_bytes() },
    }
}

/// What the policy answered; an error where that means nothing.
pub fn verdict(response: types::Response, plugin: &str) -> Result<Verdict, String> {
    let json = |bytes: Vec<u8>, what: &str| serde_json::from_slice::<Value>(&bytes).map_err(|e| format!("{what} is no JSON: {e}"));
    let change = match response.change {
        types::Change::None => Change::None,
        types::Change::Patch(bytes) => match json(bytes, "the patch")? {
            patch @ Value::Array(_) => Change::Patch(patch),
            _ => return Err("the patch is no list of operations".to_owned()),
        },
        types::Change::Object(bytes) => match json(bytes, "the object")? {
            object @ Value::Object(_) => Change::Object(object),
            _ => return Err("the object is none".to_owned()),
        },
    };
    let refusal = response.refusal.map(|r| Refusal { code: r.code, reason: r.reason, message: r.message });
    if let Some(Refusal { code, .. }) = refusal
        && code != 0
        && !(400..600).contains(&code)
    {
        return Err(format!("it refuses with the code {code}, which is no refusal"));
    }
    let audit_annotations = response.audit_annotations.into_iter().map(|p| (format!("{plugin}/{}", p.key), p.value)).collect();
    Ok(Verdict { refusal, change, warnings: response.warnings, audit_annotations })
}

/// As the Plugin's status has it; an error for a rule that can match nothing.
pub fn rule(rule: types::Rule) -> Result<AdmissionRule, String> {
    let phase = |p: &types::Phase| match p {
        types::Phase::Mutate => Phase::Mutate.name().to_owned(),
        types::Phase::Validate => Phase::Validate.name().to_owned(),
    };
    let operation = |o: &Operation| match o {
        Operation::Create => "CREATE".to_owned(),
        Operation::Update => "UPDATE".to_owned(),
        Operation::Delete => "DELETE".to_owned(),
        Operation::Connect => "CONNECT".to_owned(),
    };
    let rule = AdmissionRule {
        phases: rule.phases.iter().map(phase).collect(),
        operations: rule.operations.iter().map(operation).collect(),
        api_groups: rule.api_groups,
        api_versions: rule.api_versions,
        resources: rule.resources,
        scope: match rule.scope {
            types::Scope::Any => "*",
            types::Scope::Cluster => "Cluster",
            types::Scope::Namespaced => "Namespaced",
        }
        .to_owned(),
    };
    let AdmissionRule { phases, operations, api_groups, api_versions, resources, .. } = &rule;
    if [phases, operations, api_groups, api_versions, resources].into_iter().any(Vec::is_empty) {
        return Err(format!("`rules`: a rule with an empty list matches nothing: {rule:?}"));
    }
    Ok(rule)
}

fn kind(value: &Value) -> types::KindId {
    let part = |field: &str| value.str_at(&[field]).to_owned();
    types::KindId { group: part("group"), version: part("version"), kind: part("kind") }
}

fn resource(value: &Value) -> ResourceId {
    let part = |field: &str| value.str_at(&[field]).to_owned();
    ResourceId { group: part("group"), version: part("version"), name: part("resource") }
}

fn user(value: &Value) -> types::UserInfo {
    let words = |list: &[Value]| list.iter().filter_map(|w| w.as_str().map(str::to_owned)).collect::<Vec<_>>();
    let extra = value.map_at(&["extra"]).into_iter().flatten().map(|(k, v)| (k.clone(), words(v.as_array().map_or(&[], Vec::as_slice)))).collect();
    types::UserInfo {
        username: value.str_at(&["username"]).to_owned(),
        uid: value.str_at(&["uid"]).to_owned(),
        groups: words(value.list_at(&["groups"])),
        extra,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(change: types::Change) -> types::Response {
        types::Response { refusal: None, change, warnings: Vec::new(), audit_annotations: Vec::new() }
    }

    #[test]
    fn an_answer_that_means_nothing_is_an_error() {
        let said = |change: types::Change| verdict(response(change), "p").err().unwrap_or_default();
        assert_eq!(said(types::Change::Patch(vec![0xff, 0xfe])), "the patch is no JSON: expected value at line 1 column 1");
        assert_eq!(said(types::Change::Patch(b"{}".to_vec())), "the patch is no list of operations");
        // Where in the text depends on how the parser was built.
        assert!(said(types::Change::Object(b"\"\xc3\x28\"".to_vec())).starts_with("the object is no JSON: invalid unicode code point at line 1"));
        assert_eq!(said(types::Change::Object(b"[]".to_vec())), "the object is none");
        let refusal = Some(types::Refusal { code: 200, reason: String::new(), message: String::new() });
        let odd = types::Response { refusal, ..response(types::Change::None) };
        assert_eq!(verdict(odd, "p").err().as_deref(), Some("it refuses with the code 200, which is no refusal"));
        assert_eq!(verdict(response(types::Change::None), "p"), Ok(Verdict::default()));
    }
}
