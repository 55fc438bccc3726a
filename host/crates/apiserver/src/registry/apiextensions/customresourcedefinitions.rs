//! `apiextensions.k8s.io/v1` CustomResourceDefinition.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use pintle_api::schema::structural::Structural;
use serde_json::{Value, json};

use crate::custom::rules::Rules;
use crate::registry::checks::{IMMUTABLE, one_of};
use crate::registry::def::cluster;
use crate::registry::faults::{Faults, Path};
use crate::registry::fields::{default_empty, default_missing, ensure_object, is_set, object_mut, same, spec_mut};
use crate::registry::kind::Kind;
use crate::registry::strategy::Part;
use crate::registry::workload::SPEC;

pub fn kind() -> Kind {
    let def = cluster("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition").short(&["crd", "crds"]);
    Kind {
        generation: true,
        unconditional_update: false,
        default,
        create: |definition, _| {
            let stored: Vec<Value> = storage_versions(definition).map(Value::from).collect();
            let names = json!({"plural": "", "kind": ""});
            definition.set_at(&["status"], json!({"conditions": [], "acceptedNames": names, "storedVersions": stored}));
        },
        update: |new, _, part, _| {
            if part == Part::Main {
                note_storage_version(new);
            }
        },
        validate,
        validate_change: |new, old, part, faults| {
            if part != Part::Main {
                return;
            }
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

fn storage_versions(definition: &Value) -> impl Iterator<Item = &str> {
    definition.list_at(&["spec", "versions"]).iter().filter(|v| v.bool_at(&["storage"])).map(|v| v.str_at(&["name"]))
}

/// A version that objects are stored in from now on stays noted until they are migrated.
fn note_storage_version(definition: &mut Value) {
    let mut stored = definition.list_at(&["status", "storedVersions"]).to_vec();
    let fresh: Vec<Value> = storage_versions(definition).map(Value::from).filter(|v| !stored.contains(v)).collect();
    if !fresh.is_empty() {
        stored.extend(fresh);
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
    let conversion = ensure_object(spec, "conversion");
    default_empty(conversion, "strategy", "None");
    if let Some(service) =
        object_mut(conversion, "webhook").and_then(|w| object_mut(w, "clientConfig")).and_then(|c| object_mut(c, "service"))
    {
        default_missing(service, "port", 443);
    }
}

fn validate(definition: &Value, faults: &mut Faults) {
    let spec = definition.get("spec").unwrap_or(&Value::Null);
    let (group, plural) = (spec.str_at(&["group"]), spec.str_at(&["names", "plural"]));
    let expected = format!("{plural}.{group}");
    if definition.name() != expected {
        faults.invalid_str(&Path::root("metadata.name"), definition.name(), "must be spec.names.plural+\".\"+spec.group");
    }
    if group.is_empty() {
        faults.required(&SPEC.field("group"), "");
    } else {
        faults.texts(&SPEC.field("group"), group, names::dns1123_subdomain(group));
        if !group.contains('.') {
            faults.invalid_str(&SPEC.field("group"), group, "should be a domain with at least one dot");
        }
    }
    one_of(spec.str_at(&["scope"]), &["Cluster", "Namespaced"], &SPEC.field("scope"), faults);
    validate_names(spec, faults);
    validate_versions(spec, faults);
    let strategy = spec.str_at(&["conversion", "strategy"]);
    one_of(strategy, &["None", "Webhook"], &SPEC.field("conversion.strategy"), faults);
    if strategy == "Webhook" && !is_set(spec.at(&["conversion", "webhook", "clientConfig"])) {
        faults.required(&SPEC.field("conversion.webhook.clientConfig"), "required when strategy is set to Webhook");
    }
    if spec.bool_at(&["preserveUnknownFields"]) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        faults.invalid(&SPEC.field("preserveUnknownFields"), &Value::Bool(true), detail);
    }
}

fn validate_names(spec: &Value, faults: &mut Faults) {
    let path = SPEC.field("names");
    let at = |field: &str| spec.str_at(&["names", field]);
    for field in ["plural", "singular", "kind", "listKind"] {
        let name = at(field);
        if name.is_empty() {
            faults.required(&path.field(field), "");
        } else {
            faults.texts(&path.field(field), name, names::dns1035_label(&name.to_lowercase()));
        }
    }
    if !at("kind").is_empty() && at("kind") == at("listKind") {
        faults.invalid_str(&path.field("listKind"), at("listKind"), "kind and listKind may not be the same");
    }
    let list = path.field("shortNames");
    for (i, name) in spec.list_at(&["names", "shortNames"]).iter().filter_map(Value::as_str).enumerate() {
        faults.texts(&list.index(i), name, names::dns1035_label(name));
    }
}

fn validate_versions(spec: &Value, faults: &mut Faults) {
    let list = SPEC.field("versions");
    let versions = spec.list_at(&["versions"]);
    if versions.is_empty() {
        return faults.required(&list, "");
    }
    let mut seen = HashSet::new();
    for (i, version) in versions.iter().enumerate() {
        let here = list.index(i);
        let name = version.str_at(&["name"]);
        faults.texts(&here.field("name"), name, names::dns1035_label(name));
        if !seen.insert(name) {
            faults.invalid(&list, &spec["versions"], "must contain unique version names");
        }
        if !is_set(version.at(&["schema", "openAPIV3Schema"])) {
            faults.required(&here.field("schema.openAPIV3Schema"), "schemas are required");
        } else if version.str_at(&["schema", "openAPIV3Schema", "type"]) != "object" {
            let kind = version.str_at(&["schema", "openAPIV3Schema", "type"]);
            let at = here.field("schema.openAPIV3Schema.type");
            if kind.is_empty() {
                faults.required(&at, "must not be empty at the root");
            } else {
                faults.invalid_str(&at, kind, "must be object at the root");
            }
        } else {
            let at = here.field("schema.openAPIV3Schema").to_string();
            let schema = version.at(&["schema", "openAPIV3Schema"]).unwrap_or(&Value::Null);
            Structural::from_json(schema, &at).err().into_iter().flatten().for_each(|cause| faults.push(cause));
            Rules::of(schema, &at).1.into_iter().for_each(|cause| faults.push(cause));
        }
    }
    if versions.iter().filter(|v| v.bool_at(&["storage"])).count() != 1 {
        faults.invalid(&list, &spec["versions"], "must have exactly one version marked as storage version");
    }
}
