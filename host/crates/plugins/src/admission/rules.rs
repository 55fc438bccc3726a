//! Whether a revision wants to be asked about a request, as the API server reads rules. The server goes by the live revision's, so a
//! candidate's own count here: what it would not be asked about as the live one, it is not asked about beside it. Pure.

use pintle_api::admission::Phase as Turn;
use pintle_plugin_bindings::admission::pintle::admission::types::{Operation, Phase, Request};
use pintle_plugin_bindings::common::types::ResourceId;

use crate::plugin::AdmissionRule;
use crate::stages::spec::Difference;

const ANY: &str = "*";

pub fn want(rules: &[AdmissionRule], request: &Request) -> bool {
    let phase = match request.phase {
        Phase::Mutate => Turn::Mutate.name(),
        Phase::Validate => Turn::Validate.name(),
    };
    let operation = match request.operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    };
    rules.iter().any(|rule| {
        has(&rule.phases, phase)
            && has(&rule.operations, operation)
            && in_scope(rule, request)
            // Under the live one's rules, or as it was sent.
            && [&request.resource, &request.request_resource].into_iter().any(|resource| names(rule, resource, &request.subresource))
    })
}

/// A note that the candidate wants to be asked about other requests.
pub fn differ(live: &[AdmissionRule], candidate: &[AdmissionRule]) -> Option<Difference> {
    let text = |rules: &[AdmissionRule]| {
        let mut lines: Vec<String> = rules.iter().map(line).collect();
        lines.sort();
        lines.join("; ")
    };
    let (live, candidate) = (text(live), text(candidate));
    let reason = "requests that only the candidate wants show once it is live; of those that only the live revision wants it lets each pass";
    (live != candidate).then(|| Difference {
        subject: "rules".to_owned(),
        kind: "Rules".to_owned(),
        live,
        candidate,
        reasons: vec![reason.to_owned()],
        ..Difference::default()
    })
}

fn names(rule: &AdmissionRule, resource: &ResourceId, subresource: &str) -> bool {
    let matches = |pattern: &String| {
        let (name, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
        (name == ANY || name == resource.name) && (sub == ANY || sub == subresource)
    };
    has(&rule.api_groups, &resource.group) && has(&rule.api_versions, &resource.version) && rule.resources.iter().any(matches)
}

fn in_scope(rule: &AdmissionRule, request: &Request) -> bool {
    let is_namespace = request.resource.group.is_empty() && request.resource.name == "namespaces";
    let namespaced = !is_namespace && !request.namespace.is_empty();
    match rule.scope.as_str() {
        "Cluster" => !namespaced,
        "Namespaced" => namespaced,
        _ => true,
    }
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|w| w == ANY || w == word)
}

fn line(rule: &AdmissionRule) -> String {
    let AdmissionRule { phases, operations, api_groups, api_versions, resources, scope } = rule;
    let [phases, operations, groups, versions, resources] = [phases, operations, api_groups, api_versions, resources].map(|list| list.join(","));
    format!("{phases} {operations} {groups}/{versions} {resources} {scope}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::compare::tests::request;
    use serde_json::json;

    fn rule(phase: &str, resources: &str, scope: &str) -> AdmissionRule {
        let list = |word: &str| vec![word.to_owned()];
        AdmissionRule {
            phases: list(phase),
            operations: vec!["CREATE".to_owned(), "UPDATE".to_owned()],
            api_groups: list(""),
            api_versions: list(ANY),
            resources: list(resources),
            scope: scope.to_owned(),
        }
    }

    #[test]
    fn a_request_is_wanted_when_one_rule_names_all_of_it() {
        let mut pod = request(Phase::Mutate, "pods", &json!({}));
        let wanted = |rules: &[AdmissionRule], request: &Request| want(rules, request);
        assert!(wanted(&[rule("Validate", "pods", "*"), rule("Mutate", "pods", "*")], &pod));
        assert!(!wanted(&[rule("Validate", "pods", "*")], &pod));
        assert!(wanted(&[rule("Mutate", "*", "Namespaced")], &pod) && !wanted(&[rule("Mutate", "*", "Cluster")], &pod));
        pod.subresource = "status".to_owned();
        let by = ["pods", "*", "*/*", "pods/*", "*/status", "pods/log"].map(|resources| wanted(&[rule("Mutate", resources, "*")], &pod));
        assert_eq!(by, [false, false, true, true, true, false]);
        pod.operation = Operation::Delete;
        assert!(!wanted(&[rule("Mutate", "*/*", "*")], &pod));
        let namespace = request(Phase::Mutate, "namespaces", &json!({}));
        assert!(wanted(&[rule("Mutate", "*", "Cluster")], &namespace), "though its requests name it as their namespace");
    }

    #[test]
    fn order_is_no_difference() {
        let (a, b) = (rule("Mutate", "pods", "*"), rule("Validate", "pods", "*"));
        assert_eq!(differ(&[a.clone(), b.clone()], &[b.clone(), a.clone()]), None);
        let told = differ(&[a.clone(), b], &[a]).map(|d| (d.live, d.candidate));
        let both = "Mutate CREATE,UPDATE /* pods *; Validate CREATE,UPDATE /* pods *".to_owned();
        assert_eq!(told, Some((both, "Mutate CREATE,UPDATE /* pods *".to_owned())));
    }
}
