//! One rule of a role: what it allows, and whether a set of rules covers another.
//!
//! Pure matching in RBAC's terms, shared by RBAC, the Node authorizer and the grants of plugins. It knows nothing of
//! who holds a rule.

use std::fmt;

use pintle_api::object::ObjectExt;
use serde_json::{Map, Value, json};

use super::Attributes;

/// `rbac.authorization.k8s.io/v1 PolicyRule`; grants of plugins add `namespaces`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub verbs: Vec<String>,
    pub resource_names: Vec<String>,
    pub non_resource_urls: Vec<String>,
    /// Only in a plugin's grants: where the rule holds. Empty: everywhere.
    pub namespaces: Vec<String>,
}

impl Rule {
    pub fn from_value(value: &Value) -> Self {
        Self {
            api_groups: strings(value, "apiGroups"),
            resources: strings(value, "resources"),
            verbs: strings(value, "verbs"),
            resource_names: strings(value, "resourceNames"),
            non_resource_urls: strings(value, "nonResourceURLs"),
            namespaces: strings(value, "namespaces"),
        }
    }

    /// The rules under `path` of an object.
    pub fn list(object: &Value, path: &[&str]) -> Vec<Self> {
        object.list_at(path).iter().map(Self::from_value).collect()
    }

    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        for (key, list) in self.fields() {
            if !list.is_empty() {
                map.insert(key.to_owned(), json!(list));
            }
        }
        Value::Object(map)
    }

    pub fn allows(&self, asked: &Attributes<'_>) -> bool {
        if !has(&self.verbs, asked.verb) {
            return false;
        }
        if asked.resource.is_empty() {
            return self.non_resource_urls.iter().any(|url| url_covers(url, asked.path));
        }
        has(&self.api_groups, asked.group)
            && self.resources.iter().any(|r| resource_covers(r, asked.resource, asked.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|n| n == asked.name))
            && (self.namespaces.is_empty() || self.namespaces.iter().any(|n| n == "*" || n == asked.namespace))
    }

    fn fields(&self) -> [(&'static str, &[String]); 6] {
        [
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("verbs", &self.verbs),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.non_resource_urls),
            ("namespaces", &self.namespaces),
        ]
    }

    /// One rule for each combination of group, resource, name (or URL) and verb.
    fn atoms(&self) -> Vec<Rule> {
        let one = |s: &String| vec![s.clone()];
        let mut atoms = Vec::new();
        for verb in &self.verbs {
            for url in &self.non_resource_urls {
                atoms.push(Rule { verbs: one(verb), non_resource_urls: one(url), ..Rule::default() });
            }
            for group in &self.api_groups {
                for resource in &self.resources {
                    let atom = Rule { verbs: one(verb), api_groups: one(group), resources: one(resource), ..Rule::default() };
                    if self.resource_names.is_empty() {
                        atoms.push(atom);
                        continue;
                    }
                    atoms.extend(self.resource_names.iter().map(|n| Rule { resource_names: one(n), ..atom.clone() }));
                }
            }
        }
        atoms
    }

    fn covers_atom(&self, atom: &Rule) -> bool {
        let all = |held: &[String], asked: &[String]| asked.iter().all(|a| has(held, a));
        if !all(&self.verbs, &atom.verbs) {
            return false;
        }
        if let Some(url) = atom.non_resource_urls.first() {
            return self.non_resource_urls.iter().any(|held| url_covers(held, url));
        }
        let Some(resource) = atom.resources.first() else { return false };
        let (main, sub) = resource.split_once('/').unwrap_or((resource, ""));
        all(&self.api_groups, &atom.api_groups)
            && self.resources.iter().any(|held| held == resource || resource_covers(held, main, sub))
            && (self.resource_names.is_empty()
                || (!atom.resource_names.is_empty() && atom.resource_names.iter().all(|n| self.resource_names.contains(n))))
    }
}

/// The parts of `wanted` that `held` does not allow. Empty: covered.
pub fn uncovered(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let atoms = wanted.iter().flat_map(Rule::atoms);
    atoms.filter(|atom| !held.iter().any(|rule| rule.covers_atom(atom))).collect()
}

impl fmt::Display for Rule {
    /// `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`, as escalation messages show a rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            ("NonResourceURLs", &self.non_resource_urls),
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let shown: Vec<String> = named.iter().filter(|(_, l)| !l.is_empty()).map(|(n, l)| format!("{n}:{l:?}")).collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

/// The strings of a list field; anything else reads as empty.
pub fn strings(value: &Value, key: &str) -> Vec<String> {
    value.list_at(&[key]).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn has(list: &[String], asked: &str) -> bool {
    list.iter().any(|held| held == "*" || held == asked)
}

fn resource_covers(held: &str, resource: &str, subresource: &str) -> bool {
    if held == "*" {
        return true;
    }
    match held.split_once('/') {
        None => subresource.is_empty() && held == resource,
        Some((main, sub)) => sub == subresource && !subresource.is_empty() && (main == "*" || main == resource),
    }
}

fn url_covers(held: &str, asked: &str) -> bool {
    match held.strip_suffix('*') {
        Some(prefix) => asked.starts_with(prefix),
        None => held == asked,
    }
}

#[cfg(test)]
mod tests {
    use super::super::User;
    use super::*;

    fn rule(groups: &[&str], resources: &[&str], verbs: &[&str], names: &[&str]) -> Rule {
        let own = |l: &[&str]| l.iter().map(|s| s.to_string()).collect();
        Rule { api_groups: own(groups), resources: own(resources), verbs: own(verbs), resource_names: own(names), ..Rule::default() }
    }

    fn allows(rule: &Rule, verb: &str, group: &str, resource: &str, subresource: &str, name: &str) -> bool {
        let user = User::default();
        rule.allows(&Attributes::of_resource(&user, verb, group, "v1", resource, "ns", name).with_subresource(subresource))
    }

    #[test]
    fn matches_like_rbac() {
        let pods = rule(&[""], &["pods", "*/scale"], &["get", "list"], &[]);
        assert!(allows(&pods, "get", "", "pods", "", "a"));
        assert!(!allows(&pods, "get", "", "pods", "log", "a"), "a resource does not include its subresources");
        assert!(allows(&pods, "get", "", "replicationcontrollers", "scale", "a"));
        assert!(!allows(&pods, "delete", "", "pods", "", "a"));
        assert!(!allows(&pods, "get", "apps", "pods", "", "a"));
        let named = rule(&["*"], &["*"], &["*"], &["a"]);
        assert!(allows(&named, "get", "x", "y", "z", "a"));
        assert!(!allows(&named, "list", "x", "y", "z", ""));
    }

    #[test]
    fn non_resource_paths() {
        let urls = Rule { verbs: vec!["get".into()], non_resource_urls: vec!["/healthz".into(), "/api/*".into()], ..Rule::default() };
        let user = User::default();
        let asks = |path| urls.allows(&Attributes::of_path(&user, "get", path));
        assert!(asks("/healthz") && asks("/api/v1") && !asks("/apis") && !asks("/healthz/x"));
    }

    #[test]
    fn covering() {
        let held = [rule(&[""], &["pods"], &["get", "list"], &[]), rule(&[""], &["secrets"], &["*"], &["a"])];
        assert!(uncovered(&held, &[rule(&[""], &["pods"], &["get"], &["x"]), rule(&[""], &["secrets"], &["delete"], &["a"])]).is_empty());
        let missing = uncovered(&held, &[rule(&["", "apps"], &["pods"], &["get"], &[]), rule(&[""], &["secrets"], &["get"], &[])]);
        let shown: Vec<String> = missing.iter().map(Rule::to_string).collect();
        assert_eq!(
            shown,
            [r#"{APIGroups:["apps"], Resources:["pods"], Verbs:["get"]}"#, r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#,]
        );
    }
}
