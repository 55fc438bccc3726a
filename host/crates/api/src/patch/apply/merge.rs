//! Merging an applied configuration into an object, and taking fields out of an object.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::set::{self, FieldSet};
use super::walk::{Keys, Level, Shape, child_type, is_named_field, shape};
use crate::schema::kinds::{ListKind, MapKind, TypeRef};

/// The object with the configuration's values over its own. A null in the configuration leaves the field out.
pub fn merge(live: &Value, config: Value, schema: TypeRef<'_>) -> Value {
    match (shape(live, schema), config) {
        (Shape::Map(live), Value::Object(config)) => Value::Object(merge_maps(live, config, schema)),
        (Shape::List(live, keys), Value::Array(config)) => Value::Array(merge_lists(live, config, keys)),
        // A granular container is not emptied by null: its fields have owners of their own.
        (Shape::Map(_) | Shape::List(..), Value::Null) => live.clone(),
        (_, config) => without_nulls(config),
    }
}

/// The object without the set's members. Containers that become empty go as well.
pub fn remove(value: Value, gone: &FieldSet, schema: TypeRef<'_>) -> Option<Value> {
    match value {
        Value::Object(fields) if (schema.is_unknown() || schema.is_object()) && schema.map_kind() == MapKind::Granular => {
            let kept: Map<String, Value> = fields
                .into_iter()
                .filter_map(|(name, value)| {
                    let kept = match gone.get(&set::field_key(&name)) {
                        None => Some(value),
                        Some(node) if set::is_member(node) => None,
                        Some(node) => remove(value, node.as_object()?, child_type(schema, &name)),
                    };
                    Some((name, kept?))
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) if schema.is_list() && *schema.list_kind() != ListKind::Atomic => {
            let kept: Vec<Value> = items.into_iter().filter_map(|item| remove_item(item, gone, schema)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        Value::Object(_) | Value::Array(_) => None,
        scalar => Some(scalar),
    }
}

/// The set with each struct field that has members below it as a member.
/// `metadata` is never one: it holds what nobody may own.
pub fn with_named_fields(set: &FieldSet, schema: TypeRef<'_>) -> FieldSet {
    with_named_fields_below(set, schema, Level::Root)
}

fn with_named_fields_below(set: &FieldSet, schema: TypeRef<'_>, level: Level) -> FieldSet {
    let mut all = FieldSet::new();
    for (key, node) in set.iter().filter(|(key, _)| *key != ".") {
        let Some(below) = set::children(node) else {
            all.insert(key.clone(), node.clone());
            continue;
        };
        let field = key.strip_prefix("f:");
        let inner = match field {
            Some(name) => child_type(schema, name),
            None if key.starts_with("k:") => schema.items().unwrap_or_else(TypeRef::unknown),
            None => TypeRef::unknown(),
        };
        let inner_level = field.map_or(Level::Inner, |name| level.below(name));
        let member = set::is_member(node) || field.is_some_and(|name| is_named_field(schema, name));
        set::insert(&mut all, key.clone(), with_named_fields_below(below, inner, inner_level), member && inner_level != Level::Metadata);
    }
    all
}

/// Brings a set to the types of today: what is owned below something that has become atomic is owned as that whole.
pub fn reconcile(set: &mut FieldSet, schema: TypeRef<'_>) {
    for (key, node) in set.iter_mut().filter(|(key, _)| *key != ".") {
        let inner = match key.strip_prefix("f:") {
            Some(name) if schema.is_object() => schema.child(name),
            None if schema.is_list() => schema.items(),
            _ => None,
        };
        let (Some(inner), true) = (inner, set::children(node).is_some()) else { continue };
        let atomic = (inner.is_list() && *inner.list_kind() == ListKind::Atomic) || (inner.is_object() && inner.map_kind() == MapKind::Atomic);
        if atomic {
            *node = Value::Object(Map::new());
        } else if let Value::Object(below) = node {
            reconcile(below, inner);
        }
    }
}

fn merge_maps(live: &Map<String, Value>, config: Map<String, Value>, schema: TypeRef<'_>) -> Map<String, Value> {
    let mut merged: Map<String, Value> = live.iter().filter(|(name, _)| !config.contains_key(*name)).map(|(k, v)| (k.clone(), v.clone())).collect();
    for (name, value) in config {
        let inner = child_type(schema, &name);
        let value = match live.get(&name) {
            Some(live) => merge(live, value, inner),
            None => without_nulls(value),
        };
        if !value.is_null() {
            merged.insert(name, value);
        }
    }
    merged
}

/// The configuration's order for what it names; the others stay where they were relative to shared elements.
fn merge_lists(live: &[Value], config: Vec<Value>, keys: Keys<'_>) -> Vec<Value> {
    let live_keys: Vec<Option<String>> = live.iter().map(|item| keys.of(item).ok()).collect();
    let config_keys: Vec<Option<String>> = config.iter().map(|item| keys.of(item).ok()).collect();
    let mut config: Vec<Option<Value>> = config.into_iter().map(Some).collect();
    let mut copies: HashMap<&str, (usize, &Value)> = HashMap::new();
    for (key, item) in live_keys.iter().zip(live) {
        if let Some(key) = key {
            copies.entry(key).or_insert((0, item)).0 += 1;
        }
    }
    let in_config = |key: &Option<String>| key.is_some() && config_keys.contains(key);
    let mut shared = config_keys.iter().filter(|key| key.as_ref().is_some_and(|key| copies.contains_key(key.as_str())));
    let mut next_shared = shared.next();
    let mut merged = Vec::with_capacity(live.len().max(config.len()));
    let (mut l, mut r) = (0, 0);
    let mut take = |index: usize, merged: &mut Vec<Value>| {
        let Some(item) = config[index].take() else { return };
        // Of duplicates there is no telling which one is meant: the configuration's element stands alone.
        let old = config_keys[index].as_ref().and_then(|key| copies.get(key.as_str())).filter(|(count, _)| *count == 1);
        merged.push(match old {
            Some((_, old)) => merge(old, item, keys.item_type()),
            None => without_nulls(item),
        });
    };
    while l < live.len() || r < config_keys.len() {
        if l < live.len() && r < config_keys.len() {
            if live_keys[l].is_some() && live_keys[l] == config_keys[r] {
                take(r, &mut merged);
                (l, r) = (l + 1, r + 1);
                next_shared = shared.next();
                continue;
            }
            if in_config(&live_keys[l]) && next_shared.is_some_and(|next| *next != live_keys[l]) {
                l += 1;
                continue;
            }
        }
        if l < live.len() {
            if !in_config(&live_keys[l]) {
                merged.push(live[l].clone());
                l += 1;
                continue;
            }
            if config_keys[..r].contains(&live_keys[l]) {
                l += 1;
            }
        }
        if r < config_keys.len() {
            take(r, &mut merged);
            if next_shared.is_some_and(|next| *next == config_keys[r]) {
                next_shared = shared.next();
            }
            r += 1;
        }
    }
    merged
}

fn remove_item(item: Value, gone: &FieldSet, list: TypeRef<'_>) -> Option<Value> {
    let key = match shape(&Value::Array(Vec::new()), list) {
        Shape::List(_, keys) => keys.of(&item),
        _ => return Some(item),
    };
    match key.ok().and_then(|key| gone.get(&key)) {
        None => Some(item),
        Some(node) if set::is_member(node) => None,
        Some(node) => {
            Some(remove(item, node.as_object()?, list.items().unwrap_or_else(TypeRef::unknown)).unwrap_or_else(|| Value::Object(Map::new())))
        }
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
