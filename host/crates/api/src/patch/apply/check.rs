//! Whether an applied configuration fits its type. Upstream refuses unknown fields here whatever the field validation says.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::set::step;
use super::walk::{Keys, Shape, shape};
use crate::patch::shown::{shown, type_of};
use crate::schema::kinds::{ScalarKind, TypeRef};

/// The faults as one text, or nothing.
pub fn check(config: &Value, schema: TypeRef<'_>) -> Result<(), String> {
    let mut faults = Vec::new();
    check_value(config, schema, "", &mut faults);
    match &faults[..] {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn check_value(value: &Value, schema: TypeRef<'_>, path: &str, faults: &mut Vec<String>) {
    if value.is_null() || schema.is_unknown() {
        return;
    }
    if let Some(kind) = schema.scalar_kind() {
        faults.extend(scalar_fault(value, kind).map(|fault| at(path, &fault)));
    } else if schema.is_object() {
        match value.as_object() {
            Some(fields) => check_fields(fields, schema, path, faults),
            None => faults.push(at(path, &format!("expected map, got {value}"))),
        }
    } else {
        match value.as_array() {
            Some(items) => check_items(value, items, schema, path, faults),
            None => faults.push(at(path, &format!("expected list, got {value}"))),
        }
    }
}

fn check_fields(fields: &Map<String, Value>, schema: TypeRef<'_>, path: &str, faults: &mut Vec<String>) {
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match schema.child(name) {
            Some(child) => check_value(value, child, &path, faults),
            // Types leave these out at the root of custom resources.
            None if matches!(path.as_str(), ".apiVersion" | ".kind" | ".metadata") => {}
            None => faults.push(at(&path, "field not declared in schema")),
        }
    }
}

fn check_items(value: &Value, items: &[Value], schema: TypeRef<'_>, path: &str, faults: &mut Vec<String>) {
    let item_type = schema.items().unwrap_or_else(TypeRef::unknown);
    let Shape::List(_, keys) = shape(value, schema) else {
        for (index, item) in items.iter().enumerate() {
            check_value(item, item_type, &format!("{path}[{index}]"), faults);
        }
        return;
    };
    check_keyed_items(items, keys, item_type, path, faults);
}

fn check_keyed_items(items: &[Value], keys: Keys<'_>, item_type: TypeRef<'_>, path: &str, faults: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let key = match keys.of(item) {
            Ok(key) => key,
            Err(why) => return faults.push(at(path, &format!("element {index}: {why}"))),
        };
        let shown = step(&key);
        if !seen.insert(key) {
            faults.push(at(path, &format!("duplicate entries for key {shown}")));
        }
        check_value(item, item_type, &format!("{path}{shown}"), faults);
    }
}

fn scalar_fault(value: &Value, kind: ScalarKind) -> Option<String> {
    let (fits, expected) = match kind {
        ScalarKind::Number | ScalarKind::Int32 | ScalarKind::Int64 => (value.is_number(), "numeric (int or float)"),
        ScalarKind::Boolean => (value.is_boolean(), "boolean"),
        ScalarKind::String | ScalarKind::Time | ScalarKind::MicroTime | ScalarKind::Bytes => (value.is_string(), "string"),
        // Quantities and int-or-strings: either.
        _ => (!value.is_object() && !value.is_array(), "any scalar"),
    };
    // Upstream prints the type where it wants a number, and its own wrapper of the value elsewhere.
    let got = match value {
        other if expected.starts_with("numeric") => type_of(other).to_owned(),
        scalar if expected == "string" && !scalar.is_object() && !scalar.is_array() => format!("&value.valueUnstructured{{Value:{}}}", shown(scalar)),
        other => other.to_string(),
    };
    (!fits).then(|| format!("expected {expected}, got {got}"))
}

fn at(path: &str, fault: &str) -> String {
    if path.is_empty() { fault.to_owned() } else { format!("{path}: {fault}") }
}
