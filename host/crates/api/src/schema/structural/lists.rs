//! Lists that are sets or maps by keys hold no element twice.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{ListType, Schema};
use crate::Cause;

pub(super) fn check_list(schema: &Schema, items: &[Value], path: impl Fn(usize) -> String, causes: &mut Vec<Cause>) {
    match schema.list_type {
        Some(ListType::Set) => {
            for index in repeated(items.iter().map(Value::to_string)) {
                causes.push(Cause::duplicate(path(index), &items[index]));
            }
        }
        Some(ListType::Map) => check_map(schema, items, path, causes),
        Some(ListType::Atomic) | None => {}
    }
}

fn check_map(schema: &Schema, items: &[Value], path: impl Fn(usize) -> String, causes: &mut Vec<Cause>) {
    if let Some(index) = items.iter().position(|item| !item.is_object() && !item.is_null()) {
        causes.push(Cause::invalid(path(index), &items[index], "must be an object for an array of list-type map"));
        return;
    }
    let key_of = |item: &Value| -> Value {
        let found = schema.list_map_keys.iter().filter_map(|key| Some((key.to_string(), item.get(key.as_ref())?.clone())));
        Value::Object(found.collect::<Map<_, _>>())
    };
    for index in repeated(items.iter().map(|item| key_of(item).to_string())) {
        causes.push(Cause::duplicate(path(index), &key_of(&items[index])));
    }
}

/// The place of each element's second occurrence.
fn repeated(keys: impl Iterator<Item = String>) -> Vec<usize> {
    let mut once = HashSet::new();
    let mut reported = HashSet::new();
    let mut found = Vec::new();
    for (index, key) in keys.enumerate() {
        if once.contains(&key) {
            if reported.insert(key) {
                found.push(index);
            }
        } else {
            once.insert(key);
        }
    }
    found
}
