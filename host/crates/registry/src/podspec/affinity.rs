//! Validation of where a pod may go: affinity, tolerations, topology spread.

use std::collections::HashMap;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{label_selector, one_of_if_set};
use crate::faults::{Faults, Path};
use crate::fields::is_set;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
pub const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub fn validate(affinity: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    let Some(affinity) = affinity else { return };
    if let Some(node) = affinity.get("nodeAffinity").filter(|a| !a.is_null()) {
        node_affinity(node, &path.field("nodeAffinity"), faults);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let here = path.field(kind);
        let list = here.field(REQUIRED);
        for (i, term) in affinity.list_at(&[kind, REQUIRED]).iter().enumerate() {
            pod_affinity_term(term, &list.index(i), faults);
        }
        let list = here.field(PREFERRED);
        for (i, weighted) in affinity.list_at(&[kind, PREFERRED]).iter().enumerate() {
            let at = list.index(i);
            weight(weighted, &at, faults);
            pod_affinity_term(weighted.get("podAffinityTerm").unwrap_or(&Value::Null), &at.field("podAffinityTerm"), faults);
        }
    }
}

fn node_affinity(affinity: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(selector) = affinity.get(REQUIRED).filter(|s| !s.is_null()) {
        node_selector(selector, &path.field(REQUIRED), faults);
    }
    let list = path.field(PREFERRED);
    for (i, term) in affinity.list_at(&[PREFERRED]).iter().enumerate() {
        let at = list.index(i);
        weight(term, &at, faults);
        node_selector_term(term.get("preference").unwrap_or(&Value::Null), false, &at.field("preference"), faults);
    }
}

/// A `NodeSelector`, as affinity and PersistentVolumes have it.
pub fn node_selector(selector: &Value, path: &Path<'_>, faults: &mut Faults) {
    let list = path.field("nodeSelectorTerms");
    let terms = selector.list_at(&["nodeSelectorTerms"]);
    if terms.is_empty() {
        faults.required(&list, "must have at least one node selector term");
    }
    for (i, term) in terms.iter().enumerate() {
        node_selector_term(term, true, &list.index(i), faults);
    }
}

fn node_selector_term(term: &Value, check_values: bool, path: &Path<'_>, faults: &mut Faults) {
    let list = path.field("matchExpressions");
    for (i, requirement) in term.list_at(&["matchExpressions"]).iter().enumerate() {
        node_requirement(requirement, check_values, &list.index(i), faults);
    }
    let list = path.field("matchFields");
    for (i, requirement) in term.list_at(&["matchFields"]).iter().enumerate() {
        let at = list.index(i);
        let operator = requirement.str_at(&["operator"]);
        if !matches!(operator, "In" | "NotIn") {
            faults.invalid_str(&at.field("operator"), operator, "not a valid selector operator");
        } else if requirement.list_at(&["values"]).len() != 1 {
            faults.required(&at.field("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
        }
        let key = requirement.str_at(&["key"]);
        if key != "metadata.name" {
            faults.invalid_str(&at.field("key"), key, "not a valid field selector key");
        } else {
            let values = at.field("values");
            for (j, value) in requirement.list_at(&["values"]).iter().filter_map(Value::as_str).enumerate() {
                faults.texts(&values.index(j), value, names::dns1123_subdomain(value));
            }
        }
    }
}

fn node_requirement(requirement: &Value, check_values: bool, path: &Path<'_>, faults: &mut Faults) {
    let values = requirement.list_at(&["values"]);
    match requirement.str_at(&["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            faults.required(&path.field("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            faults.forbidden(&path.field("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            faults.required(&path.field("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => faults.invalid_str(&path.field("operator"), other, "not a valid selector operator"),
    }
    let key = requirement.str_at(&["key"]);
    faults.texts(&path.field("key"), key, names::qualified_name(key));
    if check_values {
        let list = path.field("values");
        for (i, value) in values.iter().filter_map(Value::as_str).enumerate() {
            faults.texts(&list.index(i), value, names::label_value(value));
        }
    }
}

fn weight(term: &Value, path: &Path<'_>, faults: &mut Faults) {
    let weight = term.i64_at(&["weight"]).unwrap_or(0);
    if !(1..=100).contains(&weight) {
        faults.invalid(&path.field("weight"), &weight.into(), "must be in the range 1-100");
    }
}

fn pod_affinity_term(term: &Value, path: &Path<'_>, faults: &mut Faults) {
    for selector in ["labelSelector", "namespaceSelector"] {
        if let Some(selected) = term.get(selector).filter(|s| !s.is_null()) {
            label_selector(selected, &path.field(selector), faults);
        }
    }
    for name in term.list_at(&["namespaces"]).iter().filter_map(Value::as_str) {
        faults.texts(&path.field("namespace"), name, names::dns1123_label(name));
    }
    let key = term.str_at(&["topologyKey"]);
    if key.is_empty() {
        faults.required(&path.field("topologyKey"), "can not be empty");
    }
    faults.texts(&path.field("topologyKey"), key, names::qualified_name(key));
    let (with, without) = (term.list_at(&["matchLabelKeys"]), term.list_at(&["mismatchLabelKeys"]));
    for (field, keys) in [("matchLabelKeys", with), ("mismatchLabelKeys", without)] {
        label_keys(keys, &path.field(field), faults);
    }
    let list = path.field("matchLabelKeys");
    for (i, key) in with.iter().enumerate().filter(|(_, key)| without.contains(key)) {
        faults.invalid(&list.index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
    if term.list_at(&["matchLabelKeys"]).len() + term.list_at(&["mismatchLabelKeys"]).len() > 0 && !is_set(term.get("labelSelector")) {
        for field in ["matchLabelKeys", "mismatchLabelKeys"].iter().filter(|f| !term.list_at(&[f]).is_empty()) {
            faults.forbidden(&path.field(field), "must not be specified when labelSelector is not set");
        }
    }
}

fn label_keys(keys: &[Value], path: &Path<'_>, faults: &mut Faults) {
    for (i, key) in keys.iter().map(|k| k.as_str().unwrap_or("")).enumerate() {
        faults.texts(&path.index(i), key, names::qualified_name(key));
    }
}

pub fn spread_constraints(constraints: &[Value], path: &Path<'_>, faults: &mut Faults) {
    let pair = |c: &'_ Value| (c.str_at(&["topologyKey"]).to_owned(), c.str_at(&["whenUnsatisfiable"]).to_owned());
    let last: HashMap<_, usize> = constraints.iter().enumerate().map(|(i, c)| (pair(c), i)).collect();
    for (i, constraint) in constraints.iter().enumerate() {
        let here = path.index(i);
        above_zero(constraint.get("maxSkew"), &here.field("maxSkew"), faults);
        let (key, action) = (constraint.str_at(&["topologyKey"]), constraint.str_at(&["whenUnsatisfiable"]));
        if key.is_empty() {
            faults.required(&here.field("topologyKey"), "can not be empty");
        }
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            faults.not_supported(&here.field("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        if last.get(&pair(constraint)).is_some_and(|last| *last > i) {
            faults.duplicate(&here.field("{topologyKey, whenUnsatisfiable}"), &format!("{{{key}, {action}}}").into());
        }
        if let Some(domains) = constraint.get("minDomains").filter(|d| !d.is_null()) {
            above_zero(Some(domains), &here.field("minDomains"), faults);
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                faults.invalid(&here.field("minDomains"), domains, &detail);
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            one_of_if_set(constraint.str_at(&[policy]), &["Honor", "Ignore"], &here.field(policy), faults);
        }
        if let Some(selector) = constraint.get("labelSelector").filter(|s| !s.is_null()) {
            label_selector(selector, &here.field("labelSelector"), faults);
        }
        let keys = constraint.list_at(&["matchLabelKeys"]);
        if !keys.is_empty() && !is_set(constraint.get("labelSelector")) {
            faults.forbidden(&here.field("matchLabelKeys"), "must not be specified when labelSelector is not set");
        } else {
            label_keys(keys, &here.field("matchLabelKeys"), faults);
        }
    }
}

pub fn tolerations(list: &[Value], path: &Path<'_>, faults: &mut Faults) {
    for (i, toleration) in list.iter().enumerate() {
        let here = path.index(i);
        let (key, operator, value) = (toleration.str_at(&["key"]), toleration.str_at(&["operator"]), toleration.str_at(&["value"]));
        let effect = toleration.str_at(&["effect"]);
        if !key.is_empty() {
            faults.texts(&here.field("key"), key, names::qualified_name(key));
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            faults.invalid_str(&here.field("operator"), operator, detail);
        }
        if is_set(toleration.get("tolerationSeconds")) && effect != "NoExecute" {
            faults.invalid_str(&here.field("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator {
            "Equal" | "" => {
                let messages = names::label_value(value);
                if !messages.is_empty() {
                    faults.invalid_str(&here.field("operator"), value, &messages.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                faults.invalid_str(&here.field("operator"), value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            // Upstream has these two behind a feature that is off, and names them to those who know of them.
            "Lt" | "Gt" => faults.not_supported(&here.field("operator"), operator, &["Equal", "Exists", "Lt", "Gt"]),
            other => faults.not_supported(&here.field("operator"), other, &["Equal", "Exists"]),
        }
        one_of_if_set(effect, &EFFECTS, &here.field("effect"), faults);
    }
}

fn above_zero(value: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    if value.and_then(Value::as_i64).unwrap_or(0) <= 0 {
        faults.invalid(path, value.unwrap_or(&Value::from(0)), "must be greater than zero");
    }
}
