//! A plugin's grants: rules in RBAC's terms, cluster-wide unless they name namespaces. The API server's authorizer reads the same rules from
//! the Plugin object for writes; the host asks here before a read from its shared indexes, which no authorizer sees.

use pintle_api::GroupVersionResource;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyRule {
    pub verbs: Vec<String>,
    #[serde(rename = "apiGroups", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Empty: all. The shared indexes are of the whole cluster, so a rule with namespaces covers none of their reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// Whether the rules allow it in the whole cluster. An empty `name` is the whole collection, which rules with names do not cover.
pub fn allows(rules: &[PolicyRule], verb: &str, resource: &GroupVersionResource, subresource: &str, name: &str) -> bool {
    rules.iter().any(|rule| {
        (rule.namespaces.is_empty() || rule.namespaces.iter().any(|n| n == "*"))
            && holds(&rule.verbs, verb)
            && holds(&rule.api_groups, &resource.group)
            && rule.resources.iter().any(|r| covers(r, &resource.resource, subresource))
            && (rule.resource_names.is_empty() || rule.resource_names.iter().any(|n| n == name && !name.is_empty()))
    })
}

/// A rule over resources of one group.
pub fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
    PolicyRule { verbs: owned(verbs), api_groups: vec![group.to_owned()], resources: owned(resources), ..PolicyRule::default() }
}

fn holds(words: &[String], word: &str) -> bool {
    words.iter().any(|w| w == "*" || w == word)
}

fn covers(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.split_once('/') {
        None => subresource.is_empty() && pattern == resource,
        Some(("*", sub)) => sub == subresource,
        Some((main, sub)) => main == resource && (sub == subresource || sub == "*" && !subresource.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &[PolicyRule], verb: &str, resource: &str, subresource: &str, name: &str) -> bool {
        allows(rules, verb, &GroupVersionResource::new("", "v1", resource.to_owned()), subresource, name)
    }

    #[test]
    fn a_rule_covers_only_what_it_names() {
        let rules = [rule("", &["pods", "*/status"], &["get", "list"])];
        assert!(check(&rules, "list", "pods", "", ""));
        assert!(check(&rules, "get", "nodes", "status", "a"));
        assert!(!check(&rules, "get", "pods", "log", "a"));
        assert!(!check(&rules, "delete", "pods", "", "a"));
        assert!(!check(&rules, "get", "secrets", "", "a"));
    }

    #[test]
    fn a_rule_for_a_namespace_does_not_cover_the_cluster() {
        let rules = [PolicyRule { namespaces: vec!["one".to_owned()], ..rule("", &["secrets"], &["*"]) }];
        assert!(!check(&rules, "get", "secrets", "", "a"));
        assert!(!check(&rules, "list", "secrets", "", ""));
    }

    #[test]
    fn names_do_not_cover_the_collection() {
        let rules = [PolicyRule { resource_names: vec!["one".to_owned()], ..rule("", &["secrets"], &["*"]) }];
        assert!(check(&rules, "get", "secrets", "", "one"));
        assert!(!check(&rules, "get", "secrets", "", "two"));
        assert!(!check(&rules, "list", "secrets", "", ""));
    }
}
