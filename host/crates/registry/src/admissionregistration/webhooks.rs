//! What the webhook configurations and admission policies share: defaults and cells.

use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::fields::{Fields, default_missing, each_mut, object_mut, spec_mut};
use crate::print::{AGE, NAME, UNSET, age, number, selector_text, text};
use crate::strategy::Column;

const TIMEOUT_SECONDS: i64 = 10;
const HTTPS: i64 = 443;

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

/// A policy that runs in process has a webhook's fields but for those that say where it is and what it wants.
pub fn default_component(policy: &mut Fields) {
    default_missing(policy, "failurePolicy", "Fail");
    default_matching(policy);
    default_missing(policy, "timeoutSeconds", TIMEOUT_SECONDS);
    default_missing(policy, "reinvocationPolicy", "Never");
}
