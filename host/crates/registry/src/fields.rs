//! Short words for reading and defaulting fields of JSON objects, with Go's idea of an unset field.
//!
//! Go clients cannot tell a missing string or number from an empty one, so the defaults treat both alike where the field is no
//! pointer. Called by the defaults, validations and columns of the resources.

use std::collections::HashMap;

use pintle_api::object::ObjectExt;
use serde_json::{Map, Value};

pub type Fields = Map<String, Value>;

/// The field as an object that can be changed, if it is one.
pub fn object_mut<'a>(parent: &'a mut Fields, key: &str) -> Option<&'a mut Fields> {
    parent.get_mut(key)?.as_object_mut()
}

/// The field as an object; made when it is missing or null.
pub fn ensure_object<'a>(parent: &'a mut Fields, key: &str) -> &'a mut Fields {
    let value = parent.entry(key).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object above")
}

/// The objects of a list field.
pub fn each_mut<'a>(parent: &'a mut Fields, key: &str) -> impl Iterator<Item = &'a mut Fields> {
    parent.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The objects of a list by their names, each with its place; of one name the first.
pub fn by_name(list: &[Value]) -> HashMap<&str, (usize, &Value)> {
    let mut found = HashMap::with_capacity(list.len());
    for (i, item) in list.iter().enumerate() {
        found.entry(item.str_at(&["name"])).or_insert((i, item));
    }
    found
}

/// Sets a pointer field that is missing or null.
pub fn default_missing(fields: &mut Fields, key: &str, value: impl Into<Value>) {
    if fields.get(key).is_none_or(Value::is_null) {
        fields.insert(key.to_owned(), value.into());
    }
}

/// Sets a plain field that is missing, null, empty or zero.
pub fn default_empty(fields: &mut Fields, key: &str, value: impl Into<Value>) {
    if fields.get(key).is_none_or(is_zero) {
        fields.insert(key.to_owned(), value.into());
    }
}

pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

pub fn is_set(value: Option<&Value>) -> bool {
    value.is_some_and(|v| !v.is_null())
}

/// The `spec` of an object, made when missing.
pub fn spec_mut(object: &mut Value) -> Option<&mut Fields> {
    Some(ensure_object(object.as_object_mut()?, "spec"))
}

/// Values of two fields, where missing, null and empty are the same.
pub fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    let present = |v: Option<&Value>| v.is_some_and(|v| !is_empty_container(v));
    match (present(a), present(b)) {
        (false, false) => true,
        (true, true) => a == b,
        _ => false,
    }
}

fn is_empty_container(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Text of a field, for selectors and columns.
pub fn text(object: &Value, path: &[&str]) -> String {
    match object.at(path) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
