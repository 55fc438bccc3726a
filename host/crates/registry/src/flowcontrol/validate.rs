//! What upstream refuses in FlowSchemas and PriorityLevelConfigurations. Called by both kinds' strategies.

use std::collections::HashSet;

use pintle_api::object::ObjectExt;
use pintle_api::{Cause, names};
use serde_json::Value;

use super::mandatory;
use crate::checks::one_of;
use crate::faults::{Faults, Path};
use crate::fields::is_set;
use crate::internal;
use crate::workload::SPEC;

const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
const MAX_PRECEDENCE: i64 = 10_000;
const MAX_QUEUES: i64 = 10_000_000;
/// Bits of the hash that deals a flow its hand of queues.
const MAX_HASH_BITS: u32 = 60;

pub fn flow_schema(schema: &Value, faults: &mut Faults) {
    let path = SPEC.field("matchingPrecedence");
    match schema.i64_at(&["spec", "matchingPrecedence"]).unwrap_or(0) {
        precedence @ ..=0 => faults.invalid(&path, &precedence.into(), "must be a positive value"),
        precedence if precedence > MAX_PRECEDENCE => faults.invalid(&path, &precedence.into(), &format!("must not be greater than {MAX_PRECEDENCE}")),
        1 if schema.name() != "exempt" => faults.invalid(&path, &1.into(), "only the schema named 'exempt' may have matchingPrecedence 1"),
        _ => {}
    }
    if let Some(method) = schema.at(&["spec", "distinguisherMethod"]).filter(|m| !m.is_null()) {
        let kind = method.str_at(&["type"]);
        let supported = ["ByNamespace", "ByUser"];
        if !supported.contains(&kind) {
            let shown = serde_json::json!({"Type": kind});
            faults.push(Cause::not_supported(SPEC.field("distinguisherMethod.type").to_string(), &shown, &supported));
        }
    }
    let path = SPEC.field("priorityLevelConfiguration.name");
    match schema.str_at(&["spec", "priorityLevelConfiguration", "name"]) {
        "" => faults.required(&path, "must reference a priority level"),
        name => faults.texts(&path, name, names::dns1123_subdomain(name)),
    }
    let rules = SPEC.field("rules");
    for (i, rule) in schema.list_at(&["spec", "rules"]).iter().enumerate() {
        policy_rules(rule, &rules.index(i), faults);
    }
    if let Some(fixed) = mandatory::flow_schema(schema.name()) {
        let (spec, kind) = (schema.get("spec").unwrap_or(&Value::Null), "flowcontrol.FlowSchemaSpec");
        if internal::shown(spec, kind) != internal::shown(&fixed, kind) {
            faults.invalid_shown(&SPEC, &internal::shown(spec, kind), &format!("spec of '{}' must equal the fixed value", schema.name()));
        }
    }
}

fn policy_rules(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    let subjects = path.field("subjects");
    if rule.list_at(&["subjects"]).is_empty() {
        faults.required(&subjects, "subjects must contain at least one value");
    }
    for (i, one) in rule.list_at(&["subjects"]).iter().enumerate() {
        subject(one, &subjects.index(i), faults);
    }
    let (resources, others) = (rule.list_at(&["resourceRules"]), rule.list_at(&["nonResourceRules"]));
    if resources.is_empty() && others.is_empty() {
        faults.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    let list = path.field("resourceRules");
    for (i, one) in resources.iter().enumerate() {
        resource_rule(one, &list.index(i), faults);
    }
    let list = path.field("nonResourceRules");
    for (i, one) in others.iter().enumerate() {
        non_resource_rule(one, &list.index(i), faults);
    }
}

fn subject(subject: &Value, path: &Path<'_>, faults: &mut Faults) {
    const KINDS: [(&str, &str); 3] = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = subject.str_at(&["kind"]);
    let Some((_, own)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        return faults.not_supported(&path.field("kind"), kind, &KINDS.map(|(name, _)| name));
    };
    let here = path.field(own);
    match subject.get(*own).filter(|s| !s.is_null()) {
        None => faults.required(&here, &format!("{own} is required when subject kind is '{kind}'")),
        Some(named) => {
            let name = named.str_at(&["name"]);
            if name.is_empty() {
                faults.required(&here.field("name"), "");
            } else if *own == "serviceAccount" && name != "*" {
                faults.texts(&here.field("name"), name, names::dns1123_subdomain(name));
            }
            if *own == "serviceAccount" {
                match named.str_at(&["namespace"]) {
                    "" => faults.required(&here.field("namespace"), "must specify namespace for service account"),
                    namespace => faults.texts(&here.field("namespace"), namespace, names::dns1123_label(namespace)),
                }
            }
        }
    }
    for (name, field) in KINDS.iter().filter(|(_, field)| field != own && is_set(subject.get(*field))) {
        faults.forbidden(&path.field(field), &format!("{field} is forbidden when subject kind is not '{name}'"));
    }
}

fn verbs(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (here, verbs) = (path.field("verbs"), rule.list_at(&["verbs"]));
    if verbs.is_empty() {
        faults.required(&here, "verbs must contain at least one value");
    } else if verbs.iter().any(|v| v == "*") {
        only_wildcard(verbs, "verbs", &here, faults);
    } else if !verbs.iter().all(|v| VERBS.contains(&v.as_str().unwrap_or(""))) {
        faults.push(Cause::not_supported(here.to_string(), &shown(verbs), &VERBS));
    }
}

fn only_wildcard(list: &[Value], what: &str, path: &Path<'_>, faults: &mut Faults) {
    if list.len() > 1 && list.iter().any(|v| v == "*") {
        faults.invalid(path, &shown(list), &format!("if '*' is present, must not specify other {what}"));
    }
}

/// A null in a list of texts decodes as an empty one.
fn shown(list: &[Value]) -> Value {
    list.iter().map(|v| v.as_str().unwrap_or("")).collect()
}

fn resource_rule(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    verbs(rule, path, faults);
    for (field, one, many) in [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")] {
        let list = rule.list_at(&[field]);
        if list.is_empty() {
            faults.required(&path.field(field), &format!("resource rules must supply at least one {one}"));
        }
        only_wildcard(list, many, &path.field(field), faults);
    }
    let (here, namespaces) = (path.field("namespaces"), rule.list_at(&["namespaces"]));
    if namespaces.is_empty() && !rule.bool_at(&["clusterScope"]) {
        faults.required(&here, "resource rules that are not cluster scoped must supply at least one namespace");
    } else if namespaces.iter().any(|n| n == "*") {
        only_wildcard(namespaces, "namespaces", &here, faults);
    } else {
        for (i, name) in namespaces.iter().map(|n| n.as_str().unwrap_or("")).enumerate() {
            let said = names::dns1123_label(name).into_iter().map(|m| format!("each member of this list must be '*' or a DNS-1123 label; {m}"));
            faults.texts(&here.index(i), name, said.collect());
        }
    }
}

fn non_resource_rule(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    verbs(rule, path, faults);
    let (here, urls) = (path.field("nonResourceURLs"), rule.list_at(&["nonResourceURLs"]));
    if urls.is_empty() {
        faults.required(&here, "nonResourceURLs must contain at least one value");
    } else if urls.iter().any(|u| u == "*") {
        only_wildcard(urls, "non-resource URLs", &here, faults);
    } else {
        for (i, url) in urls.iter().map(|u| u.as_str().unwrap_or("")).enumerate() {
            if let Some(said) = url_fault(url) {
                faults.invalid_str(&here.index(i), url, said);
            }
        }
    }
}

fn url_fault(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !url.ends_with("/*")) => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}

pub fn priority_level(level: &Value, faults: &mut Faults) {
    let kind = level.str_at(&["spec", "type"]);
    if (level.name() == "exempt") != (kind == "Exempt") {
        faults.invalid_str(&SPEC.field("type"), kind, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    let of = |field: &str| level.at(&["spec", field]).filter(|v| !v.is_null());
    match kind {
        "Exempt" => {
            if of("limited").is_some() {
                faults.forbidden(&SPEC.field("limited"), "must be nil if the type is not Limited");
            }
            if let Some(exempt) = of("exempt") {
                shares(exempt, &SPEC.field("exempt"), faults);
            }
        }
        "Limited" => {
            if of("exempt").is_some() {
                faults.forbidden(&SPEC.field("exempt"), "must be nil if the type is Limited");
            }
            match of("limited") {
                None => faults.required(&SPEC.field("limited"), "must not be empty when type is Limited"),
                Some(part) => limited(part, &SPEC.field("limited"), faults),
            }
        }
        other => one_of(other, &["Exempt", "Limited"], &SPEC.field("type"), faults),
    }
    fixed_level(level, faults);
}

/// Of the level of the exempt its own field may be changed.
fn fixed_level(level: &Value, faults: &mut Faults) {
    let Some(fixed) = mandatory::priority_level(level.name()) else { return };
    let spec = level.get("spec").unwrap_or(&Value::Null);
    let (mut compared, mut but) = (spec.clone(), "");
    if let Some(exempt) = fixed.get("exempt") {
        compared["exempt"] = exempt.clone();
        but = " except the 'spec.exempt' field";
    }
    let shown = |spec: &Value| internal::shown(spec, "flowcontrol.PriorityLevelConfigurationSpec");
    if shown(&compared) != shown(&fixed) {
        faults.invalid_shown(&SPEC, &shown(spec), &format!("spec of '{}'{but} must equal the fixed value", level.name()));
    }
}

fn shares(part: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(shares) = part.i64_at(&["nominalConcurrencyShares"]).filter(|n| *n < 0) {
        faults.invalid(&path.field("nominalConcurrencyShares"), &shares.into(), "must be a non-negative integer");
    }
    if let Some(percent) = part.i64_at(&["lendablePercent"]).filter(|n| !(0..=100).contains(n)) {
        faults.invalid(&path.field("lendablePercent"), &percent.into(), "must be between 0 and 100, inclusive");
    }
}

fn limited(part: &Value, path: &Path<'_>, faults: &mut Faults) {
    shares(part, path, faults);
    if let Some(percent) = part.i64_at(&["borrowingLimitPercent"]).filter(|n| *n < 0) {
        faults.invalid(&path.field("borrowingLimitPercent"), &percent.into(), "if specified, must be a non-negative integer");
    }
    let here = path.field("limitResponse");
    let queuing = part.at(&["limitResponse", "queuing"]).filter(|q| !q.is_null());
    match (part.str_at(&["limitResponse", "type"]), queuing) {
        ("Reject", Some(_)) => faults.forbidden(&here.field("queuing"), "must be nil if limited.limitResponse.type is not Limited"),
        ("Queue", None) => faults.required(&here.field("queuing"), "must not be empty if limited.limitResponse.type is Limited"),
        ("Queue", Some(asked)) => queues(asked, &here.field("queuing"), faults),
        (other, _) => one_of(other, &["Queue", "Reject"], &here.field("type"), faults),
    }
}

fn queues(queuing: &Value, path: &Path<'_>, faults: &mut Faults) {
    let of = |field: &str| queuing.i64_at(&[field]).unwrap_or(0);
    let (queues, hand) = (of("queues"), of("handSize"));
    for field in ["queueLengthLimit", "queues", "handSize"] {
        if of(field) <= 0 {
            faults.invalid(&path.field(field), &of(field).into(), "must be positive");
        }
    }
    if queues > MAX_QUEUES {
        faults.invalid(&path.field("queues"), &queues.into(), &format!("must not be greater than {MAX_QUEUES}"));
    }
    if hand > 0 && hand > queues {
        faults.invalid(&path.field("handSize"), &hand.into(), &format!("should not be greater than queues ({queues})"));
    } else if hand > 0 && entropy_bits(queues, hand) > MAX_HASH_BITS {
        let said = format!("required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}");
        faults.invalid(&path.field("handSize"), &hand.into(), &said);
    }
}

/// Bits that dealing `hand` of `deck` cards uses up.
fn entropy_bits(deck: i64, hand: i64) -> u32 {
    // A hand within the limit has far fewer cards than bits.
    let bits: f64 = (0..hand.min(i64::from(MAX_HASH_BITS) + 1)).map(|dealt| ((deck - dealt).max(1) as f64).log2()).sum();
    bits.ceil() as u32
}

/// Conditions of either kind's status: each has a type, none twice.
pub fn conditions(object: &Value, faults: &mut Faults) {
    let path = Path::root("status.conditions");
    let mut seen = HashSet::new();
    for (i, condition) in object.list_at(&["status", "conditions"]).iter().enumerate() {
        let kind = condition.str_at(&["type"]);
        let here = path.index(i);
        if !seen.insert(kind) {
            faults.duplicate(&here.field("type"), &kind.into());
        }
        if kind.is_empty() {
            faults.required(&here.field("type"), "");
        }
    }
}
