//! What upstream refuses in admission policies and their bindings.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::validate::{Place, expression, match_conditions, one_of_these, rules, with_authorizer};
use crate::checks::{label_selector, one_of};
use crate::faults::{Faults, Path};
use crate::fields::is_set;
use crate::workload::SPEC;
use pintle_cel::{Kind, NAMESPACE, REQUEST, Scope, Type};

const MAX_AUDIT_ANNOTATIONS: usize = 20;
const VARIABLES: &str = "variables";

/// Checks that validating and mutating policies share. What the policy's other expressions may name.
fn policy(policy: &Value, faults: &mut Faults) -> Scope {
    let spec = policy.get("spec").unwrap_or(&Value::Null);
    one_of_these(spec, "failurePolicy", &["Fail", "Ignore"], &SPEC, faults);
    if let Some(kind) = spec.get("paramKind").filter(|k| !k.is_null()) {
        param_kind(kind, &SPEC.field("paramKind"), faults);
    }
    match spec.get("matchConstraints").filter(|m| !m.is_null()) {
        None => faults.required(&SPEC.field("matchConstraints"), ""),
        Some(constraints) => {
            let here = SPEC.field("matchConstraints");
            if constraints.list_at(&["resourceRules"]).is_empty() {
                faults.required(&here.field("resourceRules"), "");
            }
            match_resources(constraints, &here, faults);
        }
    }
    match_conditions(spec.list_at(&["matchConditions"]), &with_authorizer(scope(spec)), &SPEC.field("matchConditions"), faults);
    variables(spec, &SPEC.field("variables"), faults)
}

pub fn validating(object: &Value, faults: &mut Faults) {
    let scope = policy(object, faults);
    let (checks, notes) = (object.list_at(&["spec", "validations"]), object.list_at(&["spec", "auditAnnotations"]));
    if checks.is_empty() && notes.is_empty() {
        for field in ["validations", "auditAnnotations"] {
            faults.required(&SPEC.field(field), "validations or auditAnnotations must contain at least one item");
        }
    }
    let list = SPEC.field("validations");
    for (i, check) in checks.iter().enumerate() {
        validation(check, &scope, &list.index(i), faults);
    }
    let list = SPEC.field("auditAnnotations");
    if notes.len() > MAX_AUDIT_ANNOTATIONS {
        let why = format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations");
        faults.invalid(&list, &object["spec"]["auditAnnotations"], &why);
    }
    let mut keys = HashSet::new();
    for (i, note) in notes.iter().enumerate() {
        audit_annotation(note, object.name(), !keys.insert(note.str_at(&["key"])), &scope, &list.index(i), faults);
    }
}

fn validation(check: &Value, scope: &Scope, path: &Path<'_>, faults: &mut Faults) {
    let (text, message) = (check.str_at(&["expression"]), check.str_at(&["message"]));
    expression(text, "expression is not specified", Place { scope, gives: &[Kind::Bool] }, &path.field("expression"), faults);
    if !message.is_empty() && message.trim().is_empty() {
        faults.invalid_str(&path.field("message"), message, "must be non-empty if specified");
    } else if message.trim().contains('\n') {
        faults.invalid_str(&path.field("message"), message, "must not contain line breaks");
    }
    let told = check.str_at(&["messageExpression"]);
    if !told.is_empty() && told.trim().is_empty() {
        faults.invalid_str(&path.field("messageExpression"), told, "must be non-empty if specified");
    } else if !told.is_empty() {
        // Nobody who is told of a refusal learns from it what they may do.
        let scope = scope.without(&["authorizer", "authorizer.requestResource"]);
        expression(told, "", Place { scope: &scope, gives: &[Kind::String] }, &path.field("messageExpression"), faults);
    }
    one_of_these(check, "reason", &["Forbidden", "Invalid", "RequestEntityTooLarge"], path, faults);
}

fn audit_annotation(note: &Value, policy: &str, again: bool, scope: &Scope, path: &Path<'_>, faults: &mut Faults) {
    let key = note.str_at(&["key"]);
    if policy.is_empty() {
        faults.invalid_str(&path.field("key"), key, "requires metadata.name be non-empty");
    } else {
        let whole = format!("{policy}/{key}");
        faults.texts(&path.field("key"), &whole, names::qualified_name(&whole));
    }
    let place = Place { scope, gives: &[Kind::String, Kind::Null] };
    expression(note.str_at(&["valueExpression"]), "valueExpression is not specified", place, &path.field("valueExpression"), faults);
    if again {
        faults.duplicate(&path.field("key"), &key.into());
    }
}

pub fn mutating(object: &Value, faults: &mut Faults) {
    let scope = policy(object, faults).with_patches();
    mutating_operations(object, "matchConstraints", faults);
    let again = object.str_at(&["spec", "reinvocationPolicy"]);
    one_of(again, &["IfNeeded", "Never"], &SPEC.field("reinvocationPolicy"), faults);
    let list = SPEC.field("mutations");
    let mutations = object.list_at(&["spec", "mutations"]);
    if mutations.is_empty() {
        faults.required(&list, "mutations must contain at least one item");
    }
    for (i, mutation) in mutations.iter().enumerate() {
        let here = list.index(i);
        let kinds = [("ApplyConfiguration", "applyConfiguration", Kind::Object), ("JSONPatch", "jsonPatch", Kind::Patches)];
        let kind = mutation.str_at(&["patchType"]);
        one_of(kind, &kinds.map(|(name, ..)| name), &here.field("patchType"), faults);
        if !kinds.iter().any(|(name, ..)| *name == kind) {
            continue;
        }
        for (name, field, gives) in kinds {
            let place = here.field(field);
            match mutation.get(field).filter(|m| !m.is_null()) {
                None if name == kind => faults.required(&place, &format!("must be specified when patchType is {kind}")),
                Some(_) if name != kind => {
                    faults.invalid_str(&place, &format!("{{{field}}}"), &format!("must not be specified when patchType is {kind}"));
                }
                Some(asked) => {
                    let own = Place { scope: &scope, gives: &[gives] };
                    expression(asked.str_at(&["expression"]), "", own, &place.field("expression"), faults);
                }
                None => {}
            }
        }
    }
}

/// What all expressions of a policy may name. Without a kind of parameters there are none.
fn scope(spec: &Value) -> Scope {
    let scope = Scope::default()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", REQUEST.clone())
        .with("namespaceObject", NAMESPACE.clone());
    if spec.get("paramKind").is_some_and(|kind| !kind.is_null()) { scope.with("params", Type::Dyn) } else { scope }
}

/// What may be named where the policy's variables, each of which sees those before it, are there as well.
fn variables(spec: &Value, path: &Path<'_>, faults: &mut Faults) -> Scope {
    let all = spec.list_at(&["variables"]);
    let mut scope = with_authorizer(scope(spec));
    if !all.is_empty() {
        scope = scope.with(VARIABLES, Type::object("kubernetes.variables", []));
    }
    for (i, variable) in all.iter().enumerate() {
        let here = path.index(i);
        let name = variable.str_at(&["name"]);
        if name.trim().is_empty() {
            faults.required(&here.field("name"), "name is not specified");
        } else if !is_identifier(name) {
            faults.invalid_str(&here.field("name"), name, "must be a valid CEL identifier");
        }
        let place = Place { scope: &scope, gives: &[] };
        let of = expression(variable.str_at(&["expression"]), "expression is not specified", place, &here.field("expression"), faults);
        scope.declare(VARIABLES, name, of.map_or(Type::Dyn, Type::of_variable));
    }
    scope
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn param_kind(kind: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (version, name) = (kind.str_at(&["apiVersion"]), kind.str_at(&["kind"]));
    let here = path.field("apiVersion");
    match version.split('/').collect::<Vec<_>>()[..] {
        [""] => faults.required(&here, ""),
        [version] => faults.texts(&here, version, names::dns1035_label(version)),
        [group, version] => {
            faults.texts(&here, group, names::dns1123_subdomain(group));
            faults.texts(&here, version, names::dns1035_label(version));
        }
        _ => faults.invalid_str(&here, version, &format!("unexpected GroupVersion string: {version}")),
    }
    if name.is_empty() {
        faults.required(&path.field("kind"), "");
    } else {
        let said = names::dns1035_label(&name.to_lowercase()).into_iter();
        let said = said.map(|m| format!("may have mixed case, but should otherwise match: {m}")).collect();
        faults.texts(&path.field("kind"), name, said);
    }
}

fn match_resources(resources: &Value, path: &Path<'_>, faults: &mut Faults) {
    for field in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = resources.get(field).filter(|s| !s.is_null()) {
            label_selector(selector, &path.field(field), faults);
        }
    }
    one_of_these(resources, "matchPolicy", &["Equivalent", "Exact"], path, faults);
    for field in ["resourceRules", "excludeResourceRules"] {
        rules(resources.list_at(&[field]), &path.field(field), faults);
    }
}

/// `acts`: bindings of validating policies say what a failed rule leads to.
pub fn binding(binding: &Value, acts: bool, faults: &mut Faults) {
    let here = SPEC.field("policyName");
    match binding.str_at(&["spec", "policyName"]) {
        "" => faults.required(&here, ""),
        name => faults.texts(&here, name, names::dns1123_subdomain(name)),
    }
    if let Some(reference) = binding.at(&["spec", "paramRef"]).filter(|r| !r.is_null()) {
        param_ref(reference, &SPEC.field("paramRef"), faults);
    }
    if let Some(resources) = binding.at(&["spec", "matchResources"]).filter(|r| !r.is_null()) {
        match_resources(resources, &SPEC.field("matchResources"), faults);
    }
    if !acts {
        mutating_operations(binding, "matchResources", faults);
    }
    if acts {
        actions(binding.list_at(&["spec", "validationActions"]), &SPEC.field("validationActions"), faults);
    }
}

/// There is nothing to mutate in a deletion. Told beside what any rule is told.
fn mutating_operations(object: &Value, field: &str, faults: &mut Faults) {
    const MUTATED: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
    let path = SPEC.field(field);
    let operations = object.list_at(&["spec", field, "resourceRules"]).iter().flat_map(|rule| rule.list_at(&["operations"]));
    for operation in operations.map(|operation| operation.as_str().unwrap_or_default()).filter(|operation| !MUTATED.contains(operation)) {
        faults.not_supported(&path.field("resourceRules.operations"), operation, &MUTATED);
    }
}

fn param_ref(reference: &Value, path: &Path<'_>, faults: &mut Faults) {
    let name = reference.str_at(&["name"]);
    match (name.is_empty(), is_set(reference.get("selector"))) {
        (false, true) => {
            for field in ["name", "selector"] {
                faults.forbidden(&path.field(field), "name and selector are mutually exclusive");
            }
        }
        (true, false) => faults.required(path, "one of name or selector must be specified"),
        _ => {}
    }
    one_of(reference.str_at(&["parameterNotFoundAction"]), &["Deny", "Allow"], &path.field("parameterNotFoundAction"), faults);
}

fn actions(actions: &[Value], path: &Path<'_>, faults: &mut Faults) {
    if actions.is_empty() {
        return faults.required(path, "at least one validation action is required");
    }
    let mut seen = HashSet::new();
    for (i, action) in actions.iter().map(|a| a.as_str().unwrap_or("")).enumerate() {
        if !matches!(action, "Audit" | "Deny" | "Warn") {
            faults.not_supported(&path.index(i), action, &["Audit", "Deny", "Warn"]);
        }
        if !seen.insert(action) {
            faults.duplicate(&path.index(i), &action.into());
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        faults.invalid(path, &json!(actions), why);
    }
}
