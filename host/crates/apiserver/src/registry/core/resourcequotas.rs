//! `v1` ResourceQuota. Scopes never change.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::registry::checks::{IMMUTABLE, nonnegative_quantity};
use crate::registry::def::namespaced;
use crate::registry::faults::{Faults, Path};
use crate::registry::fields::text as field_text;
use crate::registry::kind::Kind;
use crate::registry::print::{AGE, NAME, age, text};
use crate::registry::strategy::Part;

const SPEC: Path<'static> = Path::root("spec");
const SCOPES: [&str; 7] =
    ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity", "VolumeAttributesClass"];

pub fn kind() -> Kind {
    Kind {
        validate,
        validate_change: |new, old, part, faults| {
            let scopes = |q: &Value| {
                let mut all = q.list_at(&["spec", "scopes"]).to_vec();
                all.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                all
            };
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
    let path = SPEC.field("hard");
    for (name, value) in quota.map_at(&["spec", "hard"]).into_iter().flatten() {
        let here = path.key(name);
        faults.texts(&here, name, names::qualified_name(name));
        if let Some(amount) = nonnegative_quantity(value, &here, faults)
            && is_count(name)
            && !amount.is_whole()
        {
            faults.invalid_str(&here, &amount.to_string(), "must be an integer");
        }
        if !is_known(name) {
            faults.invalid_str(&here, name, "must be a standard resource for quota");
        }
    }
    let shown = quota.at(&["spec", "scopes"]).unwrap_or(&Value::Null);
    let scopes: Vec<&str> = quota.list_at(&["spec", "scopes"]).iter().filter_map(Value::as_str).collect();
    let path = SPEC.field("scopes");
    for _ in scopes.iter().filter(|scope| !SCOPES.contains(scope)) {
        faults.invalid(&path, shown, "unsupported scope");
    }
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            faults.invalid(&path, shown, "conflicting scopes");
        }
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
        || matches!(bare, "cpu" | "memory" | "ephemeral-storage" | "storage")
        || bare.starts_with("hugepages-")
}
