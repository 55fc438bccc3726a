//! `apiextensions.k8s.io/v1` CustomResourceDefinition.

use pintle_api::metadata::Repeats;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::{approval, formats, validate};
use crate::checks::IMMUTABLE;
use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::fields::{default_empty, default_missing, ensure_object, object_mut, same, spec_mut};
use crate::kind::Kind;
use crate::strategy::Part;

pub fn kind() -> Kind {
    let def = cluster("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition").short(&["crd", "crds"]);
    Kind {
        generation: true,
        unconditional_update: false,
        default,
        create: |definition, _| {
            let stored: Vec<Value> = storage_version(definition).map(Value::from).into_iter().collect();
            let names = json!({"plural": "", "kind": ""});
            definition.set_at(&["status"], json!({"conditions": [], "acceptedNames": names, "storedVersions": stored}));
        },
        update: |new, _, part, _| {
            if part == Part::Main {
                note_storage_version(new);
            }
        },
        warn: formats::warnings,
        validate: validate::validate,
        validate_new: |definition, faults| {
            validate::name(definition, faults);
            approval::validate(definition, None, faults);
            validate::rules(definition, None, faults);
        },
        repeats: Repeats::CUSTOM,
        validate_change: |new, old, part, faults| {
            if part != Part::Main {
                return;
            }
            approval::validate(new, Some(old), faults);
            validate::rules(new, Some(old), faults);
            for path in [&["spec", "group"][..], &["spec", "names", "plural"]] {
                unchanged(new, old, path, faults);
            }
            // Names and scope are settled once objects may exist.
            if is_established(old) {
                for path in [&["spec", "scope"][..], &["spec", "names", "kind"]] {
                    unchanged(new, old, path, faults);
                }
            }
        },
        ..Kind::new(def.categories(&["api-extensions"]).status())
    }
}

/// The first, where a definition that will be refused has several.
fn storage_version(definition: &Value) -> Option<&str> {
    definition.list_at(&["spec", "versions"]).iter().find(|v| v.bool_at(&["storage"])).map(|v| v.str_at(&["name"]))
}

/// A version that objects are stored in from now on stays noted until they are migrated.
fn note_storage_version(definition: &mut Value) {
    let mut stored = definition.list_at(&["status", "storedVersions"]).to_vec();
    let fresh = storage_version(definition).map(Value::from).filter(|v| !stored.contains(v));
    if let Some(fresh) = fresh {
        stored.push(fresh);
        definition.set_at(&["status", "storedVersions"], stored.into());
    }
}

fn is_established(definition: &Value) -> bool {
    definition.list_at(&["status", "conditions"]).iter().any(|c| c.str_at(&["type"]) == "Established" && c.str_at(&["status"]) == "True")
}

fn unchanged(new: &Value, old: &Value, path: &[&str], faults: &mut Faults) {
    if !same(new.at(path), old.at(path)) {
        let dotted = path.join(".");
        faults.invalid(&Path::root(&dotted), new.at(path).unwrap_or(&Value::Null), IMMUTABLE);
    }
}

fn default(definition: &mut Value) {
    let Some(spec) = spec_mut(definition) else { return };
    let names = ensure_object(spec, "names");
    let kind = names.get("kind").and_then(Value::as_str).unwrap_or("").to_owned();
    if !kind.is_empty() {
        default_empty(names, "singular", kind.to_lowercase());
        default_empty(names, "listKind", format!("{kind}List"));
    }
    if spec.get("conversion").is_none_or(Value::is_null) {
        spec.insert("conversion".to_owned(), json!({"strategy": "None"}));
    }
    let conversion = ensure_object(spec, "conversion");
    if let Some(service) = object_mut(conversion, "webhook").and_then(|w| object_mut(w, "clientConfig")).and_then(|c| object_mut(c, "service")) {
        default_missing(service, "port", 443);
    }
}
