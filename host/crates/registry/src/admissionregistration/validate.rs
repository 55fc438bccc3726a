//! What upstream refuses in webhook configurations. The checks of rules and match conditions serve the policies too.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{label_selector, one_of_if_set};
use crate::faults::{Faults, Path};
use pintle_cel::{Expression, Kind, Scope, Type};

const DEFAULT_TIMEOUT_SECONDS: i64 = 10;
const HTTPS: i64 = 443;
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const URL_FORM: &str = "desired format: https://host[/path]";
const MAX_CONDITIONS: usize = 64;

pub fn webhooks(configuration: &Value, faults: &mut Faults) {
    let list = Path::root("webhooks");
    let mut seen = HashSet::new();
    for (i, hook) in configuration.list_at(&["webhooks"]).iter().enumerate() {
        let here = list.index(i);
        let name = hook.str_at(&["name"]);
        webhook(hook, &here, faults);
        if !seen.insert(name) {
            faults.duplicate(&here.field("name"), &name.into());
        }
    }
}

/// A word of a few, where an empty one is as wrong as any other. Missing ones were filled in.
pub fn one_of_these(object: &Value, field: &str, supported: &[&str], path: &Path<'_>, faults: &mut Faults) {
    if let Some(word) = object.get(field).and_then(Value::as_str).filter(|word| !supported.contains(word)) {
        faults.not_supported(&path.field(field), word, supported);
    }
}

fn webhook(webhook: &Value, path: &Path<'_>, faults: &mut Faults) {
    let name = webhook.str_at(&["name"]);
    let messages = names::dns1123_subdomain(name);
    if name.is_empty() {
        faults.required(&path.field("name"), "");
    } else if !messages.is_empty() {
        faults.texts(&path.field("name"), name, messages);
    } else if name.split('.').count() < 3 {
        faults.invalid_str(&path.field("name"), name, "should be a domain with at least three segments separated by dots");
    }
    rules(webhook.list_at(&["rules"]), &path.field("rules"), faults);
    one_of_these(webhook, "failurePolicy", &["Fail", "Ignore"], path, faults);
    one_of_these(webhook, "matchPolicy", &["Equivalent", "Exact"], path, faults);
    match webhook.get("sideEffects").and_then(Value::as_str) {
        None => faults.required(&path.field("sideEffects"), "must specify one of None, NoneOnDryRun"),
        Some(_) => one_of_these(webhook, "sideEffects", &["None", "NoneOnDryRun"], path, faults),
    }
    asking(webhook, path, faults);
    client_config(webhook.get("clientConfig").unwrap_or(&Value::Null), &path.field("clientConfig"), faults);
    review_versions(webhook, &path.field("admissionReviewVersions"), faults);
    match_conditions(webhook.list_at(&["matchConditions"]), &condition_scope(), &path.field("matchConditions"), faults);
}

/// A policy that runs in process has a webhook's fields but for those that say where it is and what it wants.
pub fn component(policy: &Value, path: &Path<'_>, faults: &mut Faults) {
    one_of_if_set(policy.str_at(&["failurePolicy"]), &["Fail", "Ignore"], &path.field("failurePolicy"), faults);
    one_of_if_set(policy.str_at(&["matchPolicy"]), &["Equivalent", "Exact"], &path.field("matchPolicy"), faults);
    asking(policy, path, faults);
    match_conditions(policy.list_at(&["matchConditions"]), &condition_scope(), &path.field("matchConditions"), faults);
}

/// How long, how often and about which objects it is asked.
fn asking(webhook: &Value, path: &Path<'_>, faults: &mut Faults) {
    let timeout = webhook.i64_at(&["timeoutSeconds"]).unwrap_or(DEFAULT_TIMEOUT_SECONDS);
    if !(1..=30).contains(&timeout) {
        faults.invalid(&path.field("timeoutSeconds"), &timeout.into(), "the timeout value must be between 1 and 30 seconds");
    }
    one_of_if_set(webhook.str_at(&["reinvocationPolicy"]), &["IfNeeded", "Never"], &path.field("reinvocationPolicy"), faults);
    for field in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = webhook.get(field).filter(|s| !s.is_null()) {
            label_selector(selector, &path.field(field), faults);
        }
    }
}

fn review_versions(webhook: &Value, path: &Path<'_>, faults: &mut Faults) {
    let versions: Vec<&str> = webhook.list_at(&["admissionReviewVersions"]).iter().map(|v| v.as_str().unwrap_or("")).collect();
    if versions.is_empty() {
        return faults.required(path, "must specify one of v1, v1beta1");
    }
    let mut seen = HashSet::new();
    for (i, version) in versions.iter().enumerate() {
        if !seen.insert(version) {
            faults.invalid_str(&path.index(i), version, "duplicate version");
        } else {
            faults.texts(&path.index(i), version, names::dns1035_label(version));
        }
    }
    if !versions.iter().any(|v| matches!(*v, "v1" | "v1beta1")) {
        let shown: Value = versions.into_iter().collect();
        faults.invalid(path, &shown, "must include at least one of v1, v1beta1");
    }
}

/// How a server outside is reached. Conversion webhooks of custom kinds have the same.
pub fn client_config(config: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (link, target) = (config.get("url").and_then(Value::as_str), config.get("service").filter(|s| !s.is_null()));
    match (link, target) {
        (None, None) | (Some(_), Some(_)) => faults.required(path, "exactly one of url or service is required"),
        (Some(link), None) => url(link, &path.field("url"), faults),
        (None, Some(target)) => service(target, &path.field("service"), faults),
    }
}

fn url(text: &str, path: &Path<'_>, faults: &mut Faults) {
    if text.starts_with(':') {
        return faults.required(path, &format!("url must be a valid URL: parse {text:?}: missing protocol scheme; {URL_FORM}"));
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", ""));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or("");
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if scheme != "https" {
        faults.invalid_str(path, scheme, &format!("'https' is the only allowed URL scheme; {URL_FORM}"));
    }
    if host.is_empty() {
        faults.invalid_str(path, host, &format!("host must be specified; {URL_FORM}"));
    }
    for (part, what) in [(user, "user information is"), (fragment, "fragments are"), (query, "query parameters are")] {
        if !part.is_empty() {
            faults.invalid_str(path, part, &format!("{what} not permitted in the URL"));
        }
    }
}

fn service(service: &Value, path: &Path<'_>, faults: &mut Faults) {
    for field in ["name", "namespace"].iter().filter(|field| service.str_at(&[field]).is_empty()) {
        faults.required(&path.field(field), "");
    }
    let port = service.i64_at(&["port"]).unwrap_or(HTTPS);
    for message in names::port_number(port) {
        faults.invalid(&path.field("port"), &port.into(), &format!("port is not valid: {message}"));
    }
    let text = service.str_at(&["path"]);
    if text.is_empty() || text == "/" {
        return;
    }
    let here = path.field("path");
    if !text.starts_with('/') {
        faults.invalid_str(&here, text, "must start with a '/'");
    }
    let steps = text.get(1..).unwrap_or("").strip_suffix('/').unwrap_or(text.get(1..).unwrap_or(""));
    for (i, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            faults.invalid_str(&here, text, &format!("segment[{i}] may not be empty"));
            continue;
        }
        let said = names::dns1123_subdomain(step).into_iter().map(|m| format!("segment[{i}]: {m}")).collect();
        faults.texts(&here, text, said);
    }
}

/// What match conditions of webhooks may name.
fn condition_scope() -> Scope {
    with_authorizer(Scope::default().with("object", Type::Dyn).with("oldObject", Type::Dyn).with("request", pintle_cel::REQUEST.clone()))
}

pub fn with_authorizer(scope: Scope) -> Scope {
    let of = |name: &str| Type::hidden(&format!("kubernetes.authorization.{name}"));
    scope.with("authorizer", of("Authorizer")).with("authorizer.requestResource", of("ResourceCheck"))
}

pub fn match_conditions(conditions: &[Value], scope: &Scope, path: &Path<'_>, faults: &mut Faults) {
    if conditions.len() > MAX_CONDITIONS {
        faults.too_many(path, conditions.len(), MAX_CONDITIONS);
    }
    let mut seen = HashSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let here = path.index(i);
        let name = condition.str_at(&["name"]);
        if name.is_empty() {
            faults.required(&here.field("name"), "");
        } else {
            faults.texts(&here.field("name"), name, names::qualified_name(name));
            if !seen.insert(name) {
                faults.duplicate(&here.field("name"), &name.into());
            }
        }
        expression(condition.str_at(&["expression"]), "", Place { scope, gives: &[Kind::Bool] }, &here.field("expression"), faults);
    }
}

/// What an expression may name, and what it has to give.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub scope: &'a Scope,
    /// Empty: anything.
    pub gives: &'a [Kind],
}

/// An expression must be there and compile. `missing` is said where there is none. The type that it gives, where that could be told.
pub fn expression(text: &str, missing: &str, place: Place<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<Type> {
    if text.trim().is_empty() {
        faults.required(path, missing);
        return None;
    }
    match Expression::compile_in(text, place.scope) {
        Err(why) => {
            faults.invalid_str(path, text, &format!("compilation failed: {why}"));
            None
        }
        Ok(expression) => {
            if !place.gives.is_empty()
                && let Err(why) = expression.must_give(place.gives)
            {
                faults.invalid_str(path, text, &why);
                return None;
            }
            expression.result().cloned()
        }
    }
}

pub fn rules(rules: &[Value], path: &Path<'_>, faults: &mut Faults) {
    for (i, one) in rules.iter().enumerate() {
        rule(one, &path.index(i), faults);
    }
}

fn rule(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    for field in ["operations", "apiGroups", "apiVersions", "resources"].iter().filter(|f| rule.list_at(&[f]).is_empty()) {
        faults.required(&path.field(field), "");
    }
    for (field, others) in [("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = rule.list_at(&[field]);
        if list.len() > 1 && list.iter().any(|v| v == "*") {
            faults.invalid(&path.field(field), &rule[field], &format!("if '*' is present, must not specify other {others}"));
        }
    }
    for field in ["apiVersions", "resources"] {
        let list = path.field(field);
        for (i, _) in rule.list_at(&[field]).iter().enumerate().filter(|(_, v)| v.as_str().unwrap_or("").is_empty()) {
            faults.required(&list.index(i), "");
        }
    }
    let operations = path.field("operations");
    for (j, operation) in rule.list_at(&["operations"]).iter().map(|o| o.as_str().unwrap_or("")).enumerate() {
        if !OPERATIONS.contains(&operation) {
            faults.not_supported(&operations.index(j), operation, &OPERATIONS);
        }
    }
    resources(rule, &path.field("resources"), faults);
    let names = path.field("resourceNames");
    let mut seen = HashSet::new();
    for (i, name) in rule.list_at(&["resourceNames"]).iter().enumerate() {
        let text = name.as_str().unwrap_or("");
        faults.texts(&names.index(i), text, names::path_segment(text, false));
        if !seen.insert(name) {
            faults.duplicate(&names.index(i), name);
        }
    }
    one_of_if_set(rule.str_at(&["scope"]), &["*", "Cluster", "Namespaced"], &path.field("scope"), faults);
}

/// Wildcards leave nothing for other entries to add.
fn resources(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    let list: Vec<&str> = rule.list_at(&["resources"]).iter().map(|r| r.as_str().unwrap_or("")).collect();
    let mut before = HashSet::new();
    for (i, entry) in list.iter().enumerate() {
        let (resource, sub) = entry.split_once('/').unwrap_or((entry, ""));
        for wide in [format!("{resource}/*"), format!("*/{sub}")] {
            if !sub.is_empty() && wide != *entry && before.contains(wide.as_str()) {
                faults.invalid_str(&path.index(i), entry, &format!("if '{wide}' is present, must not specify {entry}"));
            }
        }
        before.insert(*entry);
    }
    if list.len() > 1 && list.contains(&"*/*") {
        faults.invalid(path, &rule["resources"], "if '*/*' is present, must not specify other resources");
    }
    if list.contains(&"*") && list.iter().any(|r| *r != "*" && !r.contains('/')) {
        let why = "if '*' is present, must not specify other resources without subresources";
        faults.invalid(path, &rule["resources"], why);
    }
}
