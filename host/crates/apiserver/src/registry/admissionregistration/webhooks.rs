//! What the webhook configurations and admission policies share: defaults, checks and cells.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::cel::Expression;
use crate::registry::checks::{label_selector, one_of, one_of_if_set};
use crate::registry::faults::{Faults, Path};
use crate::registry::fields::{Fields, default_missing, each_mut, is_set, object_mut, spec_mut};
use crate::registry::print::{AGE, NAME, UNSET, age, number, selector_text, text};
use crate::registry::strategy::Column;

const TIMEOUT_SECONDS: i64 = 10;
const HTTPS: i64 = 443;
const OPERATIONS: [&str; 5] = ["*", "CREATE", "UPDATE", "DELETE", "CONNECT"];

pub const WEBHOOK_COLUMNS: &[Column] = &[NAME, number("Webhooks", "Number of webhooks."), AGE];
pub const BINDING_COLUMNS: &[Column] =
    &[NAME, text("PolicyName", "The policy that is put to work."), text("ParamRef", "The object with its parameters."), AGE];

pub fn default_webhooks(configuration: &mut Value, mutating: bool) {
    let Some(fields) = configuration.as_object_mut() else { return };
    for webhook in each_mut(fields, "webhooks") {
        default_missing(webhook, "failurePolicy", "Fail");
        default_matching(webhook);
        default_missing(webhook, "timeoutSeconds", TIMEOUT_SECONDS);
        if mutating {
            default_missing(webhook, "reinvocationPolicy", "Never");
        }
        default_rules(webhook, "rules");
        if let Some(service) = object_mut(webhook, "clientConfig").and_then(|c| object_mut(c, "service")) {
            default_missing(service, "port", HTTPS);
        }
    }
}

fn default_matching(fields: &mut Fields) {
    default_missing(fields, "matchPolicy", "Equivalent");
    default_missing(fields, "namespaceSelector", json!({}));
    default_missing(fields, "objectSelector", json!({}));
}

fn default_rules(fields: &mut Fields, list: &str) {
    each_mut(fields, list).for_each(|rule| default_missing(rule, "scope", "*"));
}

pub fn default_policy(policy: &mut Value) {
    let Some(spec) = spec_mut(policy) else { return };
    default_missing(spec, "failurePolicy", "Fail");
    default_match_resources(spec, "matchConstraints");
}

pub fn default_binding(binding: &mut Value) {
    if let Some(spec) = spec_mut(binding) {
        default_match_resources(spec, "matchResources");
    }
}

fn default_match_resources(spec: &mut Fields, field: &str) {
    if let Some(resources) = object_mut(spec, field) {
        default_matching(resources);
        default_rules(resources, "resourceRules");
        default_rules(resources, "excludeResourceRules");
    }
}

pub fn webhook_cells(configuration: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![configuration.name().into(), configuration.list_at(&["webhooks"]).len().into(), age(configuration, now)]
}

pub fn binding_cells(binding: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let reference = binding.at(&["spec", "paramRef"]).filter(|r| !r.is_null());
    let shown = reference.map_or(UNSET.to_owned(), |r| match (r.str_at(&["namespace"]), r.str_at(&["name"])) {
        ("", "") => selector_text(r.get("selector")),
        ("", name) => format!("*/{name}"),
        (namespace, name) => format!("{namespace}/{name}"),
    });
    vec![binding.name().into(), binding.str_at(&["spec", "policyName"]).into(), shown.into(), age(binding, now)]
}

/// Name, number of `rules`, kind of parameters, age.
pub fn policy_cells(policy: &Value, rules: &str, now: jiff::Timestamp) -> Vec<Value> {
    let kind = policy.at(&["spec", "paramKind"]).filter(|k| !k.is_null());
    let kind = kind.map_or(UNSET.to_owned(), |k| format!("{}/{}", k.str_at(&["apiVersion"]), k.str_at(&["kind"])));
    vec![policy.name().into(), policy.list_at(&["spec", rules]).len().into(), kind.into(), age(policy, now)]
}

pub fn validate_webhooks(configuration: &Value, faults: &mut Faults) {
    let list = Path::root("webhooks");
    let mut seen = HashSet::new();
    for (i, webhook) in configuration.list_at(&["webhooks"]).iter().enumerate() {
        let here = list.index(i);
        let name = webhook.str_at(&["name"]);
        validate_webhook(webhook, &here, faults);
        if !seen.insert(name) {
            faults.duplicate(&here.field("name"), &name.into());
        }
    }
}

fn validate_webhook(webhook: &Value, path: &Path<'_>, faults: &mut Faults) {
    let name = webhook.str_at(&["name"]);
    let messages = names::dns1123_subdomain(name);
    if name.is_empty() {
        faults.required(&path.field("name"), "");
    } else if !messages.is_empty() {
        faults.texts(&path.field("name"), name, messages);
    } else if name.split('.').count() < 3 {
        faults.invalid_str(&path.field("name"), name, "should be a domain with at least three segments separated by dots");
    }
    validate_rules(webhook.list_at(&["rules"]), &path.field("rules"), faults);
    one_of(webhook.str_at(&["failurePolicy"]), &["Fail", "Ignore"], &path.field("failurePolicy"), faults);
    one_of(webhook.str_at(&["matchPolicy"]), &["Equivalent", "Exact"], &path.field("matchPolicy"), faults);
    side_effects(webhook, &path.field("sideEffects"), faults);
    asking(webhook, path, faults);
    client_config(webhook.get("clientConfig").unwrap_or(&Value::Null), &path.field("clientConfig"), faults);
    review_versions(webhook, &path.field("admissionReviewVersions"), faults);
    match_conditions(webhook.list_at(&["matchConditions"]), &path.field("matchConditions"), faults);
}

/// How long, how often and about which objects it is asked.
fn asking(webhook: &Value, path: &Path<'_>, faults: &mut Faults) {
    let timeout = webhook.i64_at(&["timeoutSeconds"]).unwrap_or(TIMEOUT_SECONDS);
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

/// A policy that runs in process has a webhook's fields but for those that say where it is and what it wants.
pub fn default_component(policy: &mut Fields) {
    default_missing(policy, "failurePolicy", "Fail");
    default_matching(policy);
    default_missing(policy, "timeoutSeconds", TIMEOUT_SECONDS);
    default_missing(policy, "reinvocationPolicy", "Never");
}

pub fn validate_component(policy: &Value, path: &Path<'_>, faults: &mut Faults) {
    one_of_if_set(policy.str_at(&["failurePolicy"]), &["Fail", "Ignore"], &path.field("failurePolicy"), faults);
    one_of_if_set(policy.str_at(&["matchPolicy"]), &["Equivalent", "Exact"], &path.field("matchPolicy"), faults);
    asking(policy, path, faults);
    match_conditions(policy.list_at(&["matchConditions"]), &path.field("matchConditions"), faults);
}

fn side_effects(webhook: &Value, path: &Path<'_>, faults: &mut Faults) {
    match webhook.str_at(&["sideEffects"]) {
        "" => faults.required(path, "must specify one of None, NoneOnDryRun"),
        "None" | "NoneOnDryRun" => {}
        other => faults.not_supported(path, other, &["None", "NoneOnDryRun"]),
    }
}

fn review_versions(webhook: &Value, path: &Path<'_>, faults: &mut Faults) {
    let versions = webhook.list_at(&["admissionReviewVersions"]);
    if versions.is_empty() {
        return faults.required(path, "must specify one of v1, v1beta1");
    }
    if !versions.iter().any(|v| v == "v1" || v == "v1beta1") {
        faults.invalid(path, &webhook["admissionReviewVersions"], "must include at least one of v1, v1beta1");
    }
}

fn client_config(config: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (url, service) = (config.get("url").and_then(Value::as_str), config.get("service").filter(|s| !s.is_null()));
    match (url, service) {
        (None, None) | (Some(_), Some(_)) => faults.required(path, "exactly one of url or service is required"),
        (Some(url), None) if !url.starts_with("https://") => {
            let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
            let detail = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
            faults.invalid_str(&path.field("url"), scheme, detail);
        }
        (Some(_), None) => {}
        (None, Some(service)) => {
            let here = path.field("service");
            for (field, detail) in [("name", "service name is required"), ("namespace", "service namespace is required")] {
                if service.str_at(&[field]).is_empty() {
                    faults.required(&here.field(field), detail);
                }
            }
            let text = service.str_at(&["path"]);
            if !text.is_empty() && !text.starts_with('/') {
                faults.invalid_str(&here.field("path"), text, "must start with a '/'");
            }
            let port = service.i64_at(&["port"]).unwrap_or(HTTPS);
            for message in names::port_number(port) {
                faults.invalid(&here.field("port"), &port.into(), &format!("port is not valid: {message}"));
            }
        }
    }
}

fn match_conditions(conditions: &[Value], path: &Path<'_>, faults: &mut Faults) {
    const MAX_CONDITIONS: usize = 64;
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
        expression(condition.str_at(&["expression"]), &here.field("expression"), faults);
    }
}

/// An expression must be there and compile.
fn expression(text: &str, path: &Path<'_>, faults: &mut Faults) {
    if text.trim().is_empty() {
        faults.required(path, "");
    } else if let Err(why) = Expression::compile(text) {
        faults.invalid_str(path, text, &format!("compilation failed: {why}"));
    }
}

pub fn validate_rules(rules: &[Value], path: &Path<'_>, faults: &mut Faults) {
    for (i, rule) in rules.iter().enumerate() {
        let here = path.index(i);
        for field in ["operations", "apiGroups", "apiVersions", "resources"].iter().filter(|f| rule.list_at(&[f]).is_empty()) {
            faults.required(&here.field(field), "");
        }
        for field in ["operations", "apiGroups", "apiVersions"] {
            let list = rule.list_at(&[field]);
            if list.len() > 1 && list.iter().any(|v| v == "*") {
                faults.invalid(&here.field(field), &rule[field], "if '*' is present, must not specify other values");
            }
        }
        let operations = here.field("operations");
        for (j, operation) in rule.list_at(&["operations"]).iter().filter_map(Value::as_str).enumerate() {
            if !OPERATIONS.contains(&operation) {
                faults.not_supported(&operations.index(j), operation, &OPERATIONS);
            }
        }
        one_of_if_set(rule.str_at(&["scope"]), &["*", "Cluster", "Namespaced"], &here.field("scope"), faults);
    }
}

/// Checks that validating and mutating policies share.
pub fn validate_policy(policy: &Value, faults: &mut Faults) {
    const SPEC: Path<'static> = Path::root("spec");
    one_of(policy.str_at(&["spec", "failurePolicy"]), &["Fail", "Ignore"], &SPEC.field("failurePolicy"), faults);
    if let Some(kind) = policy.at(&["spec", "paramKind"]).filter(|k| !k.is_null()) {
        for field in ["apiVersion", "kind"].iter().filter(|f| kind.str_at(&[f]).is_empty()) {
            faults.required(&SPEC.field("paramKind").field(field), "");
        }
    }
    match policy.at(&["spec", "matchConstraints"]).filter(|m| !m.is_null()) {
        None => faults.required(&SPEC.field("matchConstraints"), ""),
        Some(constraints) => {
            let here = SPEC.field("matchConstraints.resourceRules");
            if constraints.list_at(&["resourceRules"]).is_empty() {
                faults.required(&here, "");
            }
            validate_rules(constraints.list_at(&["resourceRules"]), &here, faults);
        }
    }
    match_conditions(policy.list_at(&["spec", "matchConditions"]), &SPEC.field("matchConditions"), faults);
}

pub fn validate_binding(binding: &Value, needs_actions: bool, faults: &mut Faults) {
    const SPEC: Path<'static> = Path::root("spec");
    if binding.str_at(&["spec", "policyName"]).is_empty() {
        faults.required(&SPEC.field("policyName"), "");
    }
    if let Some(reference) = binding.at(&["spec", "paramRef"]).filter(|r| !r.is_null()) {
        let here = SPEC.field("paramRef");
        match (reference.str_at(&["name"]).is_empty(), is_set(reference.get("selector"))) {
            (false, true) => faults.forbidden(&here.field("name"), "name and selector are mutually exclusive"),
            (true, false) => faults.required(&here, "one of name or selector must be specified"),
            _ => {}
        }
        one_of(reference.str_at(&["parameterNotFoundAction"]), &["Allow", "Deny"], &here.field("parameterNotFoundAction"), faults);
    }
    let actions = binding.list_at(&["spec", "validationActions"]);
    let list = SPEC.field("validationActions");
    if needs_actions && actions.is_empty() {
        faults.required(&list, "");
    }
    for action in actions.iter().filter_map(Value::as_str).filter(|a| !matches!(*a, "Audit" | "Deny" | "Warn")) {
        faults.not_supported(&list, action, &["Audit", "Deny", "Warn"]);
    }
    let has = |name: &str| actions.iter().any(|a| a == name);
    if has("Deny") && has("Warn") {
        faults.invalid(&list, &binding["spec"]["validationActions"], "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)");
    }
}
