//! What upstream refuses in CustomResourceDefinitions. Called by their strategy.
//!
//! Upstream checks an internal form, in which what all versions say alike stands once, above them: faults in the schema, the
//! subresources, the columns and the selectable fields of a definition with one version are told without the version.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use pintle_api::schema::structural::{Structural, oversized_patterns};
use serde_json::{Map, Value};

use super::shown;
use crate::admissionregistration::validate::client_config;
use crate::checks::one_of;
use crate::custom::costs;
use crate::custom::rules::Rules;
use crate::faults::{Faults, Path};
use crate::fields::is_set;
use crate::workload::SPEC;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const MAX_SELECTABLE_FIELDS: usize = 8;

pub fn validate(definition: &Value, faults: &mut Faults) {
    let spec = definition.get("spec").unwrap_or(&Value::Null);
    let group = spec.str_at(&["group"]);
    if group.is_empty() {
        faults.required(&SPEC.field("group"), "");
    } else {
        faults.texts(&SPEC.field("group"), group, names::dns1123_subdomain(group));
        if !group.contains('.') {
            faults.invalid_str(&SPEC.field("group"), group, "should be a domain with at least one dot");
        }
    }
    one_of(spec.str_at(&["scope"]), &["Cluster", "Namespaced"], &SPEC.field("scope"), faults);
    validate_versions(spec, faults);
    validate_names(spec, faults);
    validate_contents(spec, faults);
    conversion(spec.get("conversion").unwrap_or(&Value::Null), faults);
    stored_versions(definition, faults);
    if spec.bool_at(&["preserveUnknownFields"]) {
        let path = SPEC.field("preserveUnknownFields");
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        faults.invalid(&path, &Value::Bool(true), detail);
        if versions(spec).iter().any(|v| is_set(v.at(&["schema", "openAPIV3Schema"]))) {
            faults.invalid(&path, &Value::Bool(true), "must be false in order to use defaults in the schema");
        }
    }
}

/// Of a new definition: its name never changes, and what it is made of is told by itself when it does. Told before all others.
pub fn name(definition: &Value, faults: &mut Faults) {
    let (group, plural) = (definition.str_at(&["spec", "group"]), definition.str_at(&["spec", "names", "plural"]));
    if !definition.name().is_empty() && definition.name() != format!("{plural}.{group}") {
        let why = "must be spec.names.plural+\".\"+spec.group";
        faults.push_first(pintle_api::Cause::invalid("metadata.name", &definition.name().into(), why));
    }
}

/// Versions that objects may lie in: the one that stores now is among them, and each is still in the spec.
fn stored_versions(definition: &Value, faults: &mut Faults) {
    let path = Path::root("status.storedVersions");
    let stored = definition.list_at(&["status", "storedVersions"]);
    if stored.is_empty() {
        return faults.invalid(&path, &Value::Null, "must have at least one stored version");
    }
    let all = definition.list_at(&["spec", "versions"]);
    let noted: HashSet<&str> = stored.iter().filter_map(Value::as_str).collect();
    for name in all.iter().filter(|v| v.bool_at(&["storage"])).map(|v| v.str_at(&["name"])).filter(|name| !noted.contains(name)) {
        faults.invalid(&path, &stored.into(), &format!("must have the storage version {name}"));
    }
    let present: HashSet<&str> = all.iter().map(|v| v.str_at(&["name"])).collect();
    for (i, name) in stored.iter().enumerate().filter(|(_, name)| !name.as_str().is_some_and(|name| present.contains(name))) {
        let name = name.as_str().unwrap_or_default();
        let why = format!(
            "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
        );
        faults.invalid_str(&path.index(i), name, &why);
    }
}

/// Rules that do not compile or cost too much. What was let through before passes until its schema is changed.
pub fn rules(definition: &Value, old: Option<&Value>, faults: &mut Faults) {
    let schemas = |definition: &Value| -> Vec<Value> {
        let all = definition.list_at(&["spec", "versions"]).iter();
        all.map(|version| version.at(&["schema", "openAPIV3Schema"]).cloned().unwrap_or_default()).collect()
    };
    if old.is_some_and(|old| schemas(old) == schemas(definition)) {
        return;
    }
    for_each(definition.list_at(&["spec", "versions"]), &["schema"], "validation", &mut |version, here| {
        let Some(schema) = version.at(&["schema", "openAPIV3Schema"]) else { return };
        let place = here.field("openAPIV3Schema").to_string();
        // Of a schema that is itself wrong, types cannot be told.
        if Structural::from_json(schema, &place).is_ok() {
            let of_rules = Rules::faults(schema, &place).into_iter().chain(costs::faults(schema, &place));
            of_rules.chain(oversized_patterns(schema, &place)).for_each(|cause| faults.push(cause));
        }
    });
}

fn versions(spec: &Value) -> &[Value] {
    spec.list_at(&["versions"])
}

fn validate_names(spec: &Value, faults: &mut Faults) {
    let path = SPEC.field("names");
    let at = |field: &str| spec.str_at(&["names", field]);
    let fields = ["plural", "singular", "kind", "listKind"];
    fields.iter().filter(|field| at(field).is_empty()).for_each(|field| faults.required(&path.field(field), ""));
    for field in fields {
        let name = at(field);
        let may_be_mixed = matches!(field, "kind" | "listKind");
        let said = names::dns1035_label(&if may_be_mixed { name.to_lowercase() } else { name.to_owned() });
        if name.is_empty() {
            continue;
        }
        if may_be_mixed {
            let said = said.into_iter().map(|m| format!("may have mixed case, but should otherwise match: {m}")).collect();
            faults.texts(&path.field(field), name, said);
        } else {
            faults.texts(&path.field(field), name, said);
        }
    }
    if !at("kind").is_empty() && at("kind") == at("listKind") {
        faults.invalid_str(&path.field("listKind"), at("listKind"), "kind and listKind may not be the same");
    }
    for field in ["shortNames", "categories"] {
        let list = path.field(field);
        for (i, name) in spec.list_at(&["names", field]).iter().map(|n| n.as_str().unwrap_or("")).enumerate() {
            faults.texts(&list.index(i), name, names::dns1035_label(name));
        }
    }
}

fn conversion(conversion: &Value, faults: &mut Faults) {
    let path = SPEC.field("conversion");
    let strategy = conversion.str_at(&["strategy"]);
    one_of(strategy, &["None", "Webhook"], &path.field("strategy"), faults);
    let config = conversion.at(&["webhook", "clientConfig"]).filter(|c| !c.is_null());
    let reviews = conversion.list_at(&["webhook", "conversionReviewVersions"]);
    let (config_path, review_path) = (path.field("webhookClientConfig"), path.field("conversionReviewVersions"));
    if strategy != "Webhook" {
        if config.is_some() {
            faults.forbidden(&config_path, "should not be set when strategy is not set to Webhook");
        }
        if !reviews.is_empty() {
            faults.forbidden(&review_path, "should not be set when strategy is not set to Webhook");
        }
        return;
    }
    match config {
        None => faults.required(&config_path, "required when strategy is set to Webhook"),
        Some(config) => client_config(config, &config_path, faults),
    }
    if reviews.is_empty() {
        faults.required(&review_path, "");
    } else if !reviews.iter().any(|v| v == "v1" || v == "v1beta1") {
        faults.invalid(&review_path, &conversion["webhook"]["conversionReviewVersions"], "must include at least one of v1, v1beta1");
    }
}

fn validate_versions(spec: &Value, faults: &mut Faults) {
    let list = SPEC.field("versions");
    let all = versions(spec);
    for (i, version) in all.iter().enumerate() {
        if !is_set(version.at(&["schema", "openAPIV3Schema"])) {
            faults.required(&list.index(i).field("schema.openAPIV3Schema"), "");
        }
    }
    let mut seen = HashSet::new();
    let mut are_unique = true;
    for (i, version) in all.iter().enumerate() {
        let here = list.index(i);
        let name = version.str_at(&["name"]);
        faults.texts(&here.field("name"), name, names::dns1035_label(name));
        are_unique &= seen.insert(name);
    }
    if !are_unique {
        faults.push(pintle_api::Cause::invalid_shown(list.to_string(), &shown_versions(all), "must contain unique version names"));
    }
    let stored: Vec<&str> = all.iter().filter(|v| v.bool_at(&["storage"])).map(|v| v.str_at(&["name"])).collect();
    if stored.len() != 1 {
        let why = "must have exactly one version marked as storage version";
        let shown = if is_set(spec.get("versions")) { shown_versions(all) } else { "null".to_owned() };
        faults.push(pintle_api::Cause::invalid_shown(list.to_string(), &shown, why));
    }
    if let Some(name) = all.first().map(|first| first.str_at(&["name"])).filter(|name| !name.is_empty()) {
        faults.texts(&SPEC.field("version"), name, names::dns1035_label(name));
    }
}

fn validate_contents(spec: &Value, faults: &mut Faults) {
    let all = versions(spec);
    for_each(all, &["schema"], "validation", &mut |version, here| schema(version, &here.field("openAPIV3Schema"), faults));
    for_each(all, &["subresources"], "subresources", &mut |version, here| subresources(version, here, faults));
    for_each(all, &["additionalPrinterColumns"], "additionalPrinterColumns", &mut |version, here| columns(version, here, faults));
    for_each(all, &["selectableFields"], "selectableFields", &mut |version, here| selectable_fields(version, here, faults));
}

/// Each version with the place of what is checked, or only the first, with its place above, when all say the same.
fn for_each(all: &[Value], field: &[&str], above: &str, check: &mut dyn FnMut(&Value, &Path<'_>)) {
    let Some(first) = all.first() else { return };
    if all.iter().all(|v| v.at(field) == first.at(field)) {
        if is_set(first.at(field)) {
            check(first, &SPEC.field(above));
        }
        return;
    }
    let list = SPEC.field("versions");
    for (i, version) in all.iter().enumerate().filter(|(_, v)| is_set(v.at(field))) {
        check(version, &list.index(i).field(field[0]));
    }
}

/// As upstream prints its internal form, in which a single version's schema, subresources and columns stand elsewhere.
fn shown_versions(all: &[Value]) -> String {
    let same = |field: &str| all.iter().all(|v| v.get(field) == all[0].get(field));
    let shown = all.iter().map(|version| {
        let text = |value: Option<&Value>| value.filter(|v| !v.is_null()).map_or("null".to_owned(), Value::to_string);
        let part = |field: &str| if same(field) { "null".to_owned() } else { text(version.get(field)) };
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":{},\"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
            Value::from(version.str_at(&["name"])),
            version.bool_at(&["served"]),
            version.bool_at(&["storage"]),
            version.bool_at(&["deprecated"]),
            text(version.get("deprecationWarning")),
            part("schema"),
            part("subresources"),
            part("additionalPrinterColumns"),
            part("selectableFields"),
        )
    });
    if all.is_empty() { "[]".to_owned() } else { format!("[{}]", shown.collect::<Vec<_>>().join(",")) }
}

fn schema(version: &Value, path: &Path<'_>, faults: &mut Faults) {
    let Some(schema) = version.at(&["schema", "openAPIV3Schema"]).filter(|s| !s.is_null()) else { return };
    let place = path.to_string();
    Structural::from_json(schema, &place).err().into_iter().flatten().for_each(|cause| faults.push(cause));
    if is_set(version.at(&["subresources", "status"])) {
        beside_status(schema, path, faults);
    }
    rule_words(schema, &place, faults);
}

/// The status is judged by its own part of the schema, so nothing that stands at the root may be about it. The first that is is told.
fn beside_status(schema: &Value, path: &Path<'_>, faults: &mut Faults) {
    const ALLOWED: &str = "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems \
                           MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations";
    let kind = schema.str_at(&["type"]);
    match shown::set_fields(schema).find(|name| (*name == "Type" && kind != "object") || !ALLOWED.split(' ').any(|allowed| allowed == *name)) {
        Some("Type") => {
            let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            faults.invalid_str(&path.field("type"), kind, why);
        }
        Some(_) => {
            let why = format!("only [{ALLOWED}] fields are allowed at the root of the schema if the status subresource is enabled");
            faults.invalid_shown(path, &shown::schema(schema), &why);
        }
        None => {}
    }
}

/// What can be said of rules without their expressions.
fn rule_words(schema: &Value, path: &str, faults: &mut Faults) {
    const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    for (i, rule) in schema.list_at(&["x-kubernetes-validations"]).iter().enumerate() {
        let place = format!("{path}.x-kubernetes-validations[{i}]");
        let here = Path::root(&place);
        let (text, message) = (rule.str_at(&["rule"]), rule.str_at(&["message"]));
        if text.trim().is_empty() {
            faults.required(&here.field("rule"), "rule is not specified");
        }
        if !message.is_empty() && message.trim().is_empty() {
            faults.invalid_str(&here.field("message"), message, "message must be non-empty if specified");
        } else if message.trim().contains('\n') {
            faults.invalid_str(&here.field("message"), message, "must not contain line breaks");
        } else if text.contains('\n') && message.is_empty() {
            faults.required(&here.field("message"), "message must be specified if rule contains line breaks");
        }
        if let Some(reason) = rule.get("reason").and_then(Value::as_str).filter(|r| !REASONS.contains(r)) {
            faults.not_supported(&here.field("reason"), reason, &REASONS);
        }
        let field = rule.str_at(&["fieldPath"]);
        if !field.is_empty() && find(schema, field).is_none() {
            faults.invalid_str(&here.field("fieldPath"), field, "must be a valid path");
        }
        if let Some(optional) = rule.get("optionalOldSelf").filter(|o| !o.is_null() && !text.contains("oldSelf")) {
            faults.invalid(&here.field("optionalOldSelf"), optional, "may not be set if oldSelf is not used in rule");
        }
    }
    for (name, property) in schema.map_at(&["properties"]).into_iter().flatten() {
        rule_words(property, &format!("{path}.properties[{name}]"), faults);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(below).filter(|s| s.is_object()) {
            rule_words(inner, &format!("{path}.{below}"), faults);
        }
    }
}

/// The schema of a field by its path of plain names.
fn find<'s>(schema: &'s Value, path: &str) -> Option<&'s Value> {
    let mut here = schema;
    for step in path.strip_prefix('.')?.split('.') {
        here = here.at(&["properties", step])?;
    }
    Some(here)
}

fn subresources(version: &Value, path: &Path<'_>, faults: &mut Faults) {
    let Some(scale) = version.at(&["subresources", "scale"]).filter(|s| !s.is_null()) else { return };
    let here = path.field("scale");
    for (field, under, needed) in [("specReplicasPath", ".spec", true), ("statusReplicasPath", ".status", true), ("labelSelectorPath", "", false)] {
        let (text, place) = (scale.str_at(&[field]), here.field(field));
        if text.is_empty() {
            if needed {
                faults.required(&place, "");
            }
        } else if !text.starts_with('.') {
            faults.invalid_str(&place, text, "must be a simple json path starting with .");
        } else if needed && !text.starts_with(&format!("{under}.")) {
            faults.invalid_str(&place, text, &format!("should be a json path under {under}"));
        } else if !needed && !text.starts_with(".spec.") && !text.starts_with(".status.") {
            faults.invalid_str(&place, text, "should be a json path under either .status or .spec");
        }
    }
}

fn columns(version: &Value, path: &Path<'_>, faults: &mut Faults) {
    for (i, column) in version.list_at(&["additionalPrinterColumns"]).iter().enumerate() {
        let here = path.index(i);
        let of = |field: &str| column.str_at(&[field]);
        if of("name").is_empty() {
            faults.required(&here.field("name"), "");
        }
        let known = format!("must be one of {}", COLUMN_TYPES.join(","));
        if of("type").is_empty() {
            faults.required(&here.field("type"), &known);
        } else if !COLUMN_TYPES.contains(&of("type")) {
            faults.invalid_str(&here.field("type"), of("type"), &known);
        }
        if !of("format").is_empty() && !COLUMN_FORMATS.contains(&of("format")) {
            faults.invalid_str(&here.field("format"), of("format"), &format!("must be one of {}", COLUMN_FORMATS.join(",")));
        }
        if of("jsonPath").is_empty() {
            faults.required(&here.field("JSONPath"), "");
        } else if !of("jsonPath").starts_with('.') {
            faults.invalid_str(&here.field("JSONPath"), of("jsonPath"), "must be a simple json path starting with .");
        }
    }
}

fn selectable_fields(version: &Value, path: &Path<'_>, faults: &mut Faults) {
    let all = version.list_at(&["selectableFields"]);
    if all.len() > MAX_SELECTABLE_FIELDS {
        faults.too_many(path, all.len(), MAX_SELECTABLE_FIELDS);
    }
    let mut seen = HashSet::new();
    for (i, field) in all.iter().enumerate() {
        let here = path.index(i);
        let (text, place) = (field.str_at(&["jsonPath"]), here.field("jsonPath"));
        if text.is_empty() {
            faults.required(&place, "");
            continue;
        }
        if !text.starts_with('.') {
            let first: String = text.chars().take(1).collect();
            faults.invalid_str(&place, text, &format!("is an invalid path: expected [ or . but got: {first}"));
            continue;
        }
        let schema = version.at(&["schema", "openAPIV3Schema"]).unwrap_or(&Value::Null);
        match find(schema, text).filter(|_| !text.starts_with(".metadata.")) {
            None => faults.invalid_str(&place, text, "is an invalid path: does not refer to a valid field"),
            Some(found) if !is_selectable(found.as_object()) => {
                let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
                faults.invalid_str(&place, text, why);
            }
            Some(_) => {}
        }
        if !seen.insert(text) {
            faults.duplicate(&place, &text.into());
        }
    }
}

fn is_selectable(schema: Option<&Map<String, Value>>) -> bool {
    let kind = schema.and_then(|s| s.get("type")).and_then(Value::as_str);
    matches!(kind, Some("string" | "boolean" | "integer"))
}
