//! Pruning, null dropping and defaulting of custom objects, as upstream orders and defines them.

use serde_json::Value;

use super::{Additional, Schema};
use crate::schema::builtin::builtin;
use crate::schema::check::{Findings, check};
use crate::schema::prune::prune_unknown;

const OBJECT_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

pub(super) fn prune_object(root: &Schema, object: &mut Value) -> Findings {
    let mut findings = Findings::default();
    if let Some(metadata) = object.get_mut("metadata") {
        let of_metadata = check(metadata, builtin().object_meta());
        findings.mismatch = of_metadata.mismatch;
        findings.unknown = of_metadata.unknown.into_iter().map(|path| format!("metadata.{path}")).collect();
        prune_unknown(metadata, builtin().object_meta());
    }
    let mut pruner = Pruner { path: String::new(), unknown: Vec::new() };
    pruner.node(Some(root), object, true);
    findings.unknown.extend(pruner.unknown);
    findings.unknown.sort();
    findings
}

struct Pruner {
    path: String,
    unknown: Vec<String>,
}

impl Pruner {
    /// `None`: nothing is known below, so every member goes.
    fn node(&mut self, schema: Option<&Schema>, value: &mut Value, resource: bool) {
        let open = schema.is_some_and(|schema| schema.preserve_unknown);
        let resource = resource || schema.is_some_and(|schema| schema.embedded);
        match value {
            Value::Object(members) => members.retain(|name, member| {
                if resource && OBJECT_FIELDS.contains(&name.as_str()) {
                    return true;
                }
                let known = schema.and_then(|schema| {
                    schema.properties.get(name.as_str()).map(Some).or(match &schema.additional {
                        Additional::Unsaid => None,
                        Additional::Open => Some(None),
                        Additional::Values(values) => Some(Some(values)),
                    })
                });
                match known {
                    Some(below) => {
                        self.below(name, |pruner| pruner.node(below, member, false));
                        true
                    }
                    None if open => true,
                    None => {
                        self.report(name);
                        false
                    }
                }
            }),
            Value::Array(items) => {
                let below = schema.and_then(|schema| schema.items.as_deref());
                if open && below.is_none() {
                    return;
                }
                let length = self.path.len();
                for (index, item) in items.iter_mut().enumerate() {
                    self.path.push_str(&format!("[{index}]"));
                    self.node(below, item, false);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn below(&mut self, name: &str, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        visit(self);
        self.path.truncate(length);
    }

    fn report(&mut self, name: &str) {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        self.unknown.push(path);
    }
}

/// Removes nulls where the schema has neither `nullable` nor a default.
pub(super) fn drop_nulls(schema: Option<&Schema>, value: &mut Value) {
    match value {
        Value::Object(members) => members.retain(|name, member| {
            let below = schema.and_then(|schema| schema.member(name));
            if member.is_null() && below.is_some_and(|below| !below.nullable && below.default.is_none()) {
                return false;
            }
            drop_nulls(below, member);
            true
        }),
        Value::Array(items) => {
            let below = schema.and_then(|schema| schema.items.as_deref());
            items.iter_mut().for_each(|item| drop_nulls(below, item));
        }
        _ => {}
    }
}

pub(super) fn fill_defaults(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                let missing = members.get(name.as_ref()).is_none_or(|found| found.is_null() && !property.nullable);
                if missing {
                    members.insert(name.to_string(), default.clone());
                }
            }
            for (name, member) in members.iter_mut() {
                if let Some(below) = schema.member(name) {
                    fill_one(below, member);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                items.iter_mut().for_each(|item| fill_one(below, item));
            }
        }
        _ => {}
    }
}

fn fill_one(schema: &Schema, value: &mut Value) {
    if let (Value::Null, false, Some(default)) = (&*value, schema.nullable, &schema.default) {
        *value = default.clone();
    }
    fill_defaults(schema, value);
}
