//! `v1` ResourceQuota. Scopes never change.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{IMMUTABLE, nonnegative_quantity};
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::text as field_text;
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, text};
use crate::strategy::Part;

const SPEC: Path<'static> = Path::root("spec");
const SCOPES: [&str; 7] =
    ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity", "VolumeAttributesClass"];

/// Scopes that no pod is in both of.
const CONFLICTING: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

pub fn kind() -> Kind {
    Kind {
        validate,
        validate_change: |new, old, part, faults| {
            let scopes = |q: &Value| {
                let mut all = q.list_at(&["spec", "scopes"]).to_vec();
                all.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                all
            };
            if part == Part::Status {
                return status(new, faults);
            }
            if part == Part::Main && scopes(new) != scopes(old) {
                faults.invalid(&SPEC.field("scopes"), new.at(&["spec", "scopes"]).unwrap_or(&Value::Null), IMMUTABLE);
            }
        },
        ..Kind::new(namespaced("v1", "resourcequotas", "ResourceQuota").short(&["quota"]).status()).table(
            &[NAME, text("Request", "Used and allowed."), text("Limit", "Used and allowed limits."), AGE],
            |quota, now| {
                let [requests, limits] = [false, true].map(|limits| side(quota, limits));
                vec![quota.name().into(), requests.into(), limits.into(), age(quota, now)]
            },
        )
    }
}

fn side(quota: &Value, limits: bool) -> String {
    let mut names: Vec<&String> = quota.map_at(&["status", "hard"]).into_iter().flat_map(|m| m.keys()).collect();
    names.sort_unstable();
    let shown = names.into_iter().filter(|name| name.starts_with("limits.") == limits).map(|name| {
        let used = field_text(quota, &["status", "used", name]);
        let used = if used.is_empty() { "0".to_owned() } else { used };
        format!("{name}: {used}/{}", field_text(quota, &["status", "hard", name]))
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn validate(quota: &Value, faults: &mut Faults) {
    amounts(quota, "spec", "hard", faults);
    scope_selector(quota, faults);
    let shown = quota.at(&["spec", "scopes"]).unwrap_or(&Value::Null);
    let scopes: Vec<&str> = quota.list_at(&["spec", "scopes"]).iter().filter_map(Value::as_str).collect();
    let path = SPEC.field("scopes");
    let hard: Vec<&str> = quota.map_at(&["spec", "hard"]).into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            faults.invalid(&path, shown, "unsupported scope");
        }
        for _ in hard.iter().filter(|name| is_standard(name) && !is_scoped_by(scope, name)) {
            faults.invalid(&path, shown, "unsupported scope applied to resource");
        }
    }
    for pair in CONFLICTING {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            faults.invalid(&path, shown, "conflicting scopes");
        }
    }
}

/// Whether the quota system knows the resource by itself.
fn is_standard(name: &str) -> bool {
    const OTHERS: [&str; 10] = [
        "requests.storage",
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "persistentvolumeclaims",
        "configmaps",
        "services.nodeports",
        "services.loadbalancers",
    ];
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    let is_page = name.strip_prefix("requests.").unwrap_or(name).starts_with("hugepages-");
    OTHERS.contains(&name) || matches!(bare, "cpu" | "memory" | "ephemeral-storage") || is_page
}

/// Whether what the scope picks uses the resource.
fn is_scoped_by(scope: &str, name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            name == "pods" || matches!(bare, "cpu" | "memory")
        }
        _ => true,
    }
}

/// A list of resources in the spec or the status.
fn amounts(quota: &Value, part: &str, field: &str, faults: &mut Faults) {
    let path = format!("{part}.{field}");
    let path = Path::root(&path);
    for (name, value) in quota.map_at(&[part, field]).into_iter().flatten() {
        let here = path.key(name);
        let messages = names::qualified_name(name);
        let is_named = messages.is_empty();
        faults.texts(&here, name, messages);
        if let Some(amount) = nonnegative_quantity(value, &here, faults)
            && is_count(name)
            && !amount.is_whole()
        {
            faults.invalid_str(&here, &amount.to_string(), "must be an integer");
        }
        if !is_known(name) {
            faults.invalid_str(&here, name, "must be a standard resource for quota");
            if is_named && name != "storage" {
                faults.invalid_str(&here, name, "must be a standard resource type or fully qualified");
            }
        }
    }
}

fn status(quota: &Value, faults: &mut Faults) {
    for field in ["hard", "used"] {
        amounts(quota, "status", field, faults);
    }
}

fn scope_selector(quota: &Value, faults: &mut Faults) {
    let path = SPEC.field("scopeSelector.matchExpressions");
    let expressions = quota.list_at(&["spec", "scopeSelector", "matchExpressions"]);
    for expression in expressions {
        let (scope, operator) = (expression.str_at(&["scopeName"]), expression.str_at(&["operator"]));
        let values = expression.list_at(&["values"]);
        if !SCOPES.contains(&scope) {
            faults.invalid_str(&path.field("scopeName"), scope, "unsupported scope");
        }
        if SCOPES.contains(&scope) && scope != "PriorityClass" && operator != "Exists" {
            let said = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            faults.invalid_str(&path.field("operator"), operator, said);
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                faults.required(&path.field("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let said = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                faults.invalid(&path.field("values"), &expression["values"], said);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => faults.invalid_str(&path.field("operator"), other, "not a valid selector operator"),
        }
    }
    let named = |scope: &str| expressions.iter().any(|e| e.str_at(&["scopeName"]) == scope);
    for _ in CONFLICTING.iter().filter(|pair| pair.iter().all(|scope| named(scope))) {
        faults.invalid(&path, &Value::Null, "conflicting scopes");
    }
}

fn is_count(name: &str) -> bool {
    name.starts_with("count/")
        || name.starts_with("services")
        || matches!(name, "pods" | "resourcequotas" | "secrets" | "configmaps" | "persistentvolumeclaims" | "replicationcontrollers")
}

fn is_known(name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    name.contains('/')
        || is_count(name)
        || matches!(bare, "cpu" | "memory" | "ephemeral-storage")
        || name == "requests.storage"
        || bare.starts_with("hugepages-")
}
