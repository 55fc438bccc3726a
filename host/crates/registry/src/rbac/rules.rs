//! What roles and bindings of both scopes share: checks of rules and subjects, defaults and columns.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::faults::{Faults, Path};
use crate::fields::{default_empty, each_mut, ensure_object, same};
use crate::internal;
use crate::print::{AGE, NAME, age, text, wide};
use crate::strategy::Column;

pub const GROUP: &str = "rbac.authorization.k8s.io";
pub const BINDING_COLUMNS: &[Column] = &[
    NAME,
    text("Role", "The role that is granted."),
    AGE,
    wide("Users", "Users that get it."),
    wide("Groups", "Groups that get it."),
    wide("ServiceAccounts", "Service accounts that get it."),
];

pub fn validate_rules(role: &Value, is_namespaced: bool, faults: &mut Faults) {
    let list = Path::root("rules");
    for (i, rule) in role.list_at(&["rules"]).iter().enumerate() {
        validate_rule(rule, is_namespaced, &list.index(i), faults);
    }
}

pub fn validate_rule(rule: &Value, is_namespaced: bool, path: &Path<'_>, faults: &mut Faults) {
    let empty = |field: &str| rule.list_at(&[field]).is_empty();
    if empty("verbs") {
        faults.required(&path.field("verbs"), "verbs must contain at least one value");
    }
    if !empty("nonResourceURLs") {
        let at = path.field("nonResourceURLs");
        if is_namespaced {
            faults.invalid(&at, &rule["nonResourceURLs"], "namespaced rules cannot apply to non-resource URLs");
        }
        if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
            faults.invalid(&at, &rule["nonResourceURLs"], "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if empty("apiGroups") {
        faults.required(&path.field("apiGroups"), "resource rules must supply at least one api group");
    }
    if empty("resources") {
        faults.required(&path.field("resources"), "resource rules must supply at least one resource");
    }
}

pub fn default_binding(binding: &mut Value) {
    let Some(fields) = binding.as_object_mut() else { return };
    default_empty(ensure_object(fields, "roleRef"), "apiGroup", GROUP);
    for subject in each_mut(fields, "subjects") {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            default_empty(subject, "apiGroup", GROUP);
        }
    }
}

pub fn validate_binding(binding: &Value, is_namespaced: bool, faults: &mut Faults) {
    const REFERENCE: Path<'static> = Path::root("roleRef");
    let at = |field: &str| binding.str_at(&["roleRef", field]);
    if at("apiGroup") != GROUP {
        faults.not_supported(&REFERENCE.field("apiGroup"), at("apiGroup"), &[GROUP]);
    }
    let kinds: &[&str] = if is_namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&at("kind")) {
        faults.not_supported(&REFERENCE.field("kind"), at("kind"), kinds);
    }
    if at("name").is_empty() {
        faults.required(&REFERENCE.field("name"), "");
    } else {
        faults.texts(&REFERENCE.field("name"), at("name"), names::path_segment(at("name"), false));
    }
    let list = Path::root("subjects");
    for (i, subject) in binding.list_at(&["subjects"]).iter().enumerate() {
        validate_subject(subject, is_namespaced, &list.index(i), faults);
    }
}

fn validate_subject(subject: &Value, is_namespaced: bool, path: &Path<'_>, faults: &mut Faults) {
    let (name, group) = (subject.str_at(&["name"]), subject.str_at(&["apiGroup"]));
    if name.is_empty() {
        faults.required(&path.field("name"), "");
    }
    match subject.str_at(&["kind"]) {
        "ServiceAccount" => {
            if !name.is_empty() {
                faults.texts(&path.field("name"), name, names::dns1123_subdomain(name));
            }
            if !group.is_empty() {
                faults.not_supported(&path.field("apiGroup"), group, &[""]);
            }
            if !is_namespaced && subject.str_at(&["namespace"]).is_empty() {
                faults.required(&path.field("namespace"), "");
            }
        }
        "User" | "Group" if group != GROUP => faults.not_supported(&path.field("apiGroup"), group, &[GROUP]),
        "User" | "Group" => {}
        other => faults.not_supported(&path.field("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

pub fn fixed_role(new: &Value, old: &Value, faults: &mut Faults) {
    if !same(new.get("roleRef"), old.get("roleRef")) {
        let shown = internal::shown(&new["roleRef"], "rbac.RoleRef");
        faults.invalid_shown(&Path::root("roleRef"), &shown, "cannot change roleRef");
    }
}

pub fn binding_cells(binding: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let role = format!("{}/{}", binding.str_at(&["roleRef", "kind"]), binding.str_at(&["roleRef", "name"]));
    let of = |kind: &str| {
        let named = |s: &Value| match kind {
            "ServiceAccount" => format!("{}/{}", s.str_at(&["namespace"]), s.str_at(&["name"])),
            _ => s.str_at(&["name"]).to_owned(),
        };
        let found: Vec<String> = binding.list_at(&["subjects"]).iter().filter(|s| s.str_at(&["kind"]) == kind).map(named).collect();
        Value::from(found.join(", "))
    };
    vec![binding.name().into(), role.into(), age(binding, now), of("User"), of("Group"), of("ServiceAccount")]
}
