//! Which requests a webhook or an admission policy is about: rules, selectors and conditions.

use std::sync::Arc;

use pintle_api::object::ObjectExt;
use pintle_api::selector::LabelSelector;
use pintle_api::{GroupVersionResource, Object, Status};
use pintle_cel::{BUDGET_EXCEEDED, CONDITIONS_BUDGET, Expression, Variables};
use serde_json::Value;

use super::Operation;
use super::request::Request;
use crate::resources::Resource;

const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");

/// Expressions under their names; a request counts only where all are true.
pub type Conditions = Vec<(String, Result<Expression, String>)>;

pub struct Matcher {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    equivalent: bool,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
}

struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    /// Empty: all.
    names: Vec<String>,
    scope: String,
}

impl Matcher {
    /// From what holds `matchPolicy`, the selectors, and under `rules` the rules.
    pub fn of(value: &Value, rules: &str) -> Self {
        let selector = |field: &str| match value.get(field).filter(|s| s.as_object().is_some_and(|s| !s.is_empty())) {
            Some(spec) => LabelSelector::from_spec(Some(spec)).map_err(|why| why.to_string()),
            None => Ok(LabelSelector::everything()),
        };
        Self {
            rules: value.list_at(&[rules]).iter().map(Rule::of).collect(),
            excluded: value.list_at(&["excludeResourceRules"]).iter().map(Rule::of).collect(),
            equivalent: value.str_at(&["matchPolicy"]) != "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The same where no rules stand for all requests.
    pub fn of_binding(value: &Value) -> Self {
        let mut matcher = Self::of(value, "resourceRules");
        if matcher.rules.is_empty() {
            matcher.rules.push(Rule::everything());
        }
        matcher
    }

    /// In which version it wants to see the request; `None`: not at all.
    pub fn wants(&self, request: &Request<'_>, object: Option<&Object>) -> Result<Option<Arc<Resource>>, Status> {
        let Some(resource) = self.version_for(request) else { return Ok(None) };
        if !self.wants_namespace(request, object)? {
            return Ok(None);
        }
        let objects = self.objects.as_ref().map_err(Status::internal)?;
        let labelled = |o: Option<&Object>| o.is_some_and(|o| o.get("metadata").is_some() && objects.matches(o.map_at(&["metadata", "labels"])));
        let wants = objects.is_everything() || labelled(object) || labelled(request.old);
        Ok(wants.then_some(resource))
    }

    /// The resource as asked for, or one of its other versions.
    fn version_for(&self, request: &Request<'_>) -> Option<Arc<Resource>> {
        let asked = &request.scope.resource;
        let matches = |resource: &Resource| {
            let any = |rules: &[Rule]| rules.iter().any(|rule| rule.matches(resource, request));
            any(&self.rules) && !any(&self.excluded)
        };
        if matches(asked) {
            return Some(asked.clone());
        }
        if !self.equivalent || request.is_connect() {
            return None;
        }
        let table = request.resources.load();
        let def = asked.def();
        table.all.iter().find(|r| r.def().group == def.group && r.def().resource == def.resource && matches(r)).cloned()
    }

    fn wants_namespace(&self, request: &Request<'_>, object: Option<&Object>) -> Result<bool, Status> {
        let selector = self.namespaces.as_ref().map_err(Status::internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        let of_namespace = request.is_namespace();
        if request.namespace().is_none() && !of_namespace {
            return Ok(true);
        }
        if of_namespace && matches!(request.operation, Operation::Create | Operation::Update) && request.scope.subresource.is_empty() {
            return Ok(selector.matches(object.and_then(|o| o.map_at(&["metadata", "labels"]))));
        }
        let name = request.namespace().unwrap_or(request.name);
        let namespaces = request.resource(&NAMESPACES)?;
        let stored = request.cache.get(&namespaces.slot, name).ok_or_else(|| namespaces.not_found(name))?;
        Ok(selector.matches_by(|key| stored.index.label(key)))
    }
}

pub fn conditions_of(value: &Value) -> Conditions {
    let compiled = |c: &Value| (c.str_at(&["name"]).to_owned(), Expression::compile(c.str_at(&["expression"])));
    value.list_at(&["matchConditions"]).iter().map(compiled).collect()
}

/// Whether all are true. An error counts only where no condition says no.
pub fn conditions_hold(conditions: &Conditions, variables: &Variables<'_>) -> Result<bool, String> {
    let kept = variables.allow(CONDITIONS_BUDGET);
    let holds = all_hold(conditions, variables);
    variables.allow(kept);
    holds
}

fn all_hold(conditions: &Conditions, variables: &Variables<'_>) -> Result<bool, String> {
    let mut failed = None;
    for (name, condition) in conditions {
        match condition.as_ref().map_err(Clone::clone).and_then(|c| c.is_true(variables)) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(why) if why == BUDGET_EXCEEDED => return Err(why),
            Err(why) => failed = Some(format!("match condition {name:?}: {why}")),
        }
    }
    failed.map_or(Ok(true), Err)
}

impl Rule {
    fn of(rule: &Value) -> Self {
        let words = |field: &str| -> Vec<String> { rule.list_at(&[field]).iter().filter_map(|w| w.as_str().map(str::to_owned)).collect() };
        Self {
            operations: words("operations"),
            groups: words("apiGroups"),
            versions: words("apiVersions"),
            resources: words("resources"),
            names: words("resourceNames"),
            scope: rule.str_at(&["scope"]).to_owned(),
        }
    }

    fn everything() -> Self {
        let all = || vec!["*".to_owned()];
        Self { operations: all(), groups: all(), versions: all(), resources: vec!["*/*".to_owned()], names: Vec::new(), scope: String::new() }
    }

    fn matches(&self, resource: &Resource, request: &Request<'_>) -> bool {
        let def = resource.def();
        let has = |words: &[String], word: &str| words.iter().any(|w| w == "*" || w == word);
        let sub = request.scope.subresource.as_str();
        let resource_matches = |pattern: &String| {
            let (name, part) = pattern.split_once('/').unwrap_or((pattern, ""));
            (name == "*" || name == def.resource) && (part == "*" || part == sub)
        };
        let namespaced = resource.is_namespaced();
        let in_scope = match self.scope.as_str() {
            "Namespaced" => namespaced,
            "Cluster" => !namespaced,
            _ => true,
        };
        in_scope
            && has(&self.operations, request.operation.name())
            && has(&self.groups, &def.group)
            && has(&self.versions, &def.version)
            && self.resources.iter().any(resource_matches)
            && (self.names.is_empty() || self.names.iter().any(|n| n == request.name))
    }
}
