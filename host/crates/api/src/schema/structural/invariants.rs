//! Whether a schema is structural: every field's type is said outside of alternatives, so that pruning and defaulting are
//! decidable. Upstream's rules and messages.

use serde_json::Value;

use super::parse::wrong_kind;
use super::{Additional, Kind, ListType, Schema, validate};
use crate::Cause;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// `source` is the JSON that `schema` was read from; some rules ask whether a word was there at all.
pub(super) fn check(schema: &Schema, source: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    node(schema, source, Level::Root, path, &mut causes);
    if causes.is_empty() {
        complete(schema, source, Some(source), path, &mut causes);
    }
    causes
}

fn node(schema: &Schema, source: &Value, level: Level, path: &str, causes: &mut Vec<Cause>) {
    type_of(schema, source, level, path, causes);
    if level == Level::Root && schema.nullable {
        causes.push(Cause::forbidden(format!("{path}.nullable"), "nullable cannot be true at the root"));
    }
    extensions(schema, path, causes);
    list(schema, path, causes);
    default(schema, level, path, causes);
    if let Some(items) = &schema.items {
        node(items, &source["items"], Level::Item, &format!("{path}.items"), causes);
    }
    for (name, property) in &schema.properties {
        let place = format!("{path}.properties[{name}]");
        if level == Level::Root && name.as_ref() == "metadata" {
            root_metadata(property, &source["properties"]["metadata"], &place, causes);
        } else {
            node(property, &source["properties"][name.as_ref()], Level::Field, &place, causes);
        }
    }
    match &schema.additional {
        Additional::Unsaid => {}
        _ if level == Level::Root => causes.push(Cause::forbidden(format!("{path}.additionalProperties"), "must not be used at the root")),
        Additional::Open => {}
        Additional::Values(values) => node(values, &source["additionalProperties"], Level::Field, &format!("{path}.additionalProperties"), causes),
    }
    let skip = int_or_string_alternatives(source);
    alternatives(source, path, skip, causes);
}

fn type_of(schema: &Schema, source: &Value, level: Level, path: &str, causes: &mut Vec<Cause>) {
    let place = format!("{path}.type");
    match schema.kind {
        _ if schema.embedded && schema.kind != Some(Kind::Object) => {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            causes.push(match schema.kind {
                None => Cause::required(place, why),
                Some(kind) => Cause::invalid(place, &kind.name().into(), why),
            });
        }
        // A type of an unknown name was reported by the reader.
        None if !schema.int_or_string && !schema.preserve_unknown && source["type"].as_str().is_none_or(str::is_empty) => {
            causes.push(Cause::required(
                place,
                match level {
                    Level::Root => "must not be empty at the root",
                    Level::Item => "must not be empty for specified array items",
                    Level::Field => "must not be empty for specified object fields",
                },
            ));
        }
        Some(kind) if level == Level::Root && kind != Kind::Object => {
            causes.push(Cause::invalid(place, &kind.name().into(), "must be object at the root"));
        }
        _ => {}
    }
    if schema.kind == Some(Kind::Array) && schema.items.is_none() {
        causes.push(Cause::required(format!("{path}.items"), "must be specified"));
    }
}

fn extensions(schema: &Schema, path: &str, causes: &mut Vec<Cause>) {
    if schema.int_or_string && schema.preserve_unknown {
        let place = format!("{path}.x-kubernetes-preserve-unknown-fields");
        causes.push(Cause::invalid(place, &true.into(), "must be false if x-kubernetes-int-or-string is true"));
    }
    if schema.int_or_string && schema.embedded {
        let place = format!("{path}.x-kubernetes-embedded-resource");
        causes.push(Cause::invalid(place, &true.into(), "must be false if x-kubernetes-int-or-string is true"));
    }
    if schema.embedded && !schema.preserve_unknown && schema.properties.is_empty() {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        causes.push(Cause::required(format!("{path}.properties"), why));
    }
}

fn list(schema: &Schema, path: &str, causes: &mut Vec<Cause>) {
    if schema.list_type.is_some() && schema.kind != Some(Kind::Array) {
        let kind = schema.kind.map_or("", Kind::name);
        causes.push(wrong_kind(format!("{path}.type"), kind, "must be array if x-kubernetes-list-type is specified"));
        return;
    }
    let keys_place = format!("{path}.x-kubernetes-list-map-keys");
    let is_set_of_objects =
        schema.list_type == Some(ListType::Set) && schema.items.as_deref().is_some_and(|i| i.kind == Some(Kind::Object) && !i.atomic_map);
    if is_set_of_objects {
        let place = format!("{path}.items.x-kubernetes-map-type");
        causes.push(Cause::invalid(place, &Value::Null, "must be atomic as item of a list with x-kubernetes-list-type=set"));
    }
    if schema.list_type != Some(ListType::Map) {
        if !schema.list_map_keys.is_empty() {
            causes.push(Cause::forbidden(keys_place, "may only be specified if x-kubernetes-list-type is map"));
        }
        return;
    }
    if schema.list_map_keys.is_empty() {
        causes.push(Cause::required(&keys_place, "must not be empty if x-kubernetes-list-type is map"));
    }
    let Some(items) = &schema.items else { return };
    for key in &schema.list_map_keys {
        match items.properties.get(key) {
            None => {
                let keys: Value = schema.list_map_keys.iter().map(AsRef::<str>::as_ref).collect();
                causes.push(Cause::invalid(&keys_place, &keys, "entries must all be names of item properties"));
            }
            Some(property) if matches!(property.kind, Some(Kind::Array | Kind::Object)) => {
                let place = format!("{path}.items.properties[{key}].type");
                causes.push(Cause::invalid(
                    place,
                    &property.kind.map_or("", Kind::name).into(),
                    "must be a scalar type if parent array's x-kubernetes-list-type is map",
                ));
            }
            Some(property) if property.default.is_none() && !items.required.contains(key) => {
                let place = format!("{path}.items.properties[{key}].default");
                causes.push(Cause::required(
                    place,
                    "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
                ));
            }
            Some(_) => {}
        }
    }
}

fn default(schema: &Schema, level: Level, path: &str, causes: &mut Vec<Cause>) {
    let Some(value) = &schema.default else { return };
    let place = format!("{path}.default");
    if level == Level::Root {
        causes.push(Cause::forbidden(place, "must not be set at the root"));
        return;
    }
    for mut fault in validate::validate(schema, value, None) {
        fault.field = if fault.field.starts_with('<') { place.clone() } else { format!("{place}.{}", fault.field) };
        causes.push(fault);
    }
}

fn root_metadata(schema: &Schema, source: &Value, path: &str, causes: &mut Vec<Cause>) {
    if schema.kind != Some(Kind::Object) {
        let kind = schema.kind.map_or("", Kind::name);
        causes.push(Cause::invalid(format!("{path}.type"), &kind.into(), "must be object"));
    }
    let only_names = schema.properties.keys().all(|name| matches!(name.as_ref(), "name" | "generateName"));
    let plain = source.as_object().into_iter().flatten().all(|(word, _)| matches!(word.as_str(), "type" | "properties" | "description"));
    if !only_names || !plain {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        causes.push(Cause::forbidden(path, why));
    }
}

/// `anyOf: [integer, string]`, alone or first in an `allOf`, may name types beside `x-kubernetes-int-or-string`.
fn int_or_string_alternatives(source: &Value) -> bool {
    source["x-kubernetes-int-or-string"] == true && (is_int_or_string(&source["anyOf"]) || is_int_or_string(&source["allOf"][0]["anyOf"]))
}

fn is_int_or_string(branches: &Value) -> bool {
    *branches == serde_json::json!([{"type": "integer"}, {"type": "string"}])
}

fn alternatives(source: &Value, path: &str, skip_types: bool, causes: &mut Vec<Cause>) {
    for word in ["allOf", "anyOf", "oneOf"] {
        for (index, branch) in source[word].as_array().into_iter().flatten().enumerate() {
            let place = format!("{path}.{word}[{index}]");
            let exempt = skip_types && (word == "anyOf" || (word == "allOf" && index == 0));
            if exempt {
                continue;
            }
            nested(branch, &place, causes);
        }
    }
    if source["not"].is_object() {
        nested(&source["not"], &format!("{path}.not"), causes);
    }
}

/// A schema inside of an alternative may restrict values, but say nothing about structure.
fn nested(source: &Value, path: &str, causes: &mut Vec<Cause>) {
    const FORBIDDEN: [(&str, &str); 11] = [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
    ];
    for (word, why) in FORBIDDEN {
        let value = &source[word];
        if !value.is_null() && value != "" && value != false {
            causes.push(Cause::forbidden(format!("{path}.{word}"), why));
        }
    }
    if source["items"].is_object() {
        nested(&source["items"], &format!("{path}.items"), causes);
    }
    for (name, property) in source["properties"].as_object().into_iter().flatten() {
        let place = format!("{path}.properties[{name}]");
        if name == "metadata" {
            causes.push(Cause::forbidden(&place, "must not be specified in a nested context"));
        }
        nested(property, &place, causes);
    }
    alternatives(source, path, false, causes);
}

/// Every field and list that an alternative names must be there outside of it as well.
fn complete(schema: &Schema, source: &Value, outer: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    for word in ["allOf", "anyOf", "oneOf"] {
        for (index, branch) in source[word].as_array().into_iter().flatten().enumerate() {
            nested_complete(branch, outer, &format!("{path}.{word}[{index}]"), path, causes);
        }
    }
    if source["not"].is_object() {
        nested_complete(&source["not"], outer, &format!("{path}.not"), path, causes);
    }
    for (name, property) in &schema.properties {
        let inner = &source["properties"][name.as_ref()];
        complete(property, inner, Some(inner), &format!("{path}.properties[{name}]"), causes);
    }
    if let Some(items) = &schema.items {
        complete(items, &source["items"], Some(&source["items"]), &format!("{path}.items"), causes);
    }
    if let Additional::Values(values) = &schema.additional {
        let inner = &source["additionalProperties"];
        complete(values, inner, Some(inner), &format!("{path}.additionalProperties"), causes);
    }
}

fn nested_complete(branch: &Value, outer: Option<&Value>, path: &str, outer_path: &str, causes: &mut Vec<Cause>) {
    for (name, property) in branch["properties"].as_object().into_iter().flatten() {
        let place = format!("{outer_path}.properties[{name}]");
        match outer.and_then(|outer| outer["properties"].get(name)) {
            None => causes.push(Cause::required(place, &format!("because it is defined in {path}.properties[{name}]"))),
            found => nested_complete(property, found, &format!("{path}.properties[{name}]"), &place, causes),
        }
    }
    if branch["items"].is_object() {
        let place = format!("{outer_path}.items");
        match outer.map(|outer| &outer["items"]).filter(|items| items.is_object()) {
            None => causes.push(Cause::required(place, &format!("because it is defined in {path}.items"))),
            found => nested_complete(&branch["items"], found, &format!("{path}.items"), &place, causes),
        }
    }
    for word in ["allOf", "anyOf", "oneOf"] {
        for (index, inner) in branch[word].as_array().into_iter().flatten().enumerate() {
            nested_complete(inner, outer, &format!("{path}.{word}[{index}]"), outer_path, causes);
        }
    }
    if branch["not"].is_object() {
        nested_complete(&branch["not"], outer, &format!("{path}.not"), outer_path, causes);
    }
}
