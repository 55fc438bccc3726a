//! Definitions of built-in types, written as JSON from the tables and their descriptions.

use std::collections::BTreeSet;
use std::io::Read;

use serde_json::{Map, Value, json};

use super::Dialect;
use crate::GroupVersionKind;
use crate::schema::kinds::{ListKind, MapKind};
use crate::schema::rows::{self, Definition, Field, NAME_PREFIX, Shape};

/// For each line of the types' table what upstream publishes beyond the structure: facts as JSON, a tab, the description.
const PUBLISHED: &[u8] = include_bytes!("../schema/published.txt.gz");
/// Bodies that every group version takes; each lists itself as a kind of all of them.
const KINDS_OF_EVERY_VERSION: [&str; 2] = ["apimachinery.pkg.apis.meta.v1.DeleteOptions", "apimachinery.pkg.apis.meta.v1.WatchEvent"];

pub(super) struct Definitions {
    rows: Vec<Definition>,
    published: String,
    /// Where each line of it begins.
    lines: Vec<usize>,
}

impl Definitions {
    /// Unpacks the tables; costs some milliseconds and a megabyte, so callers drop it after a document is made.
    pub(super) fn load() -> Self {
        let mut published = String::new();
        // The bytes are part of the program; should they be damaged, types go without their descriptions.
        if flate2::read::GzDecoder::new(PUBLISHED).read_to_string(&mut published).is_err() {
            published.clear();
        }
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', published.as_bytes()).map(|at| at + 1)).collect();
        Self { rows: rows::read(), published, lines }
    }

    /// The short name of the definition of a kind.
    pub(super) fn of_kind(&self, kind: &GroupVersionKind) -> Option<&'static str> {
        let api_version = kind.api_version();
        self.rows.iter().find(|row| row.kind == Some((api_version.as_str(), kind.kind.as_ref()))).map(|row| row.name)
    }

    /// The given definitions and all that they reach.
    pub(super) fn closure(&self, roots: impl IntoIterator<Item = &'static str>) -> BTreeSet<&'static str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&'static str> = roots.into_iter().collect();
        while let Some(name) = open.pop() {
            if found.insert(name) {
                open.extend(self.row(name).into_iter().flat_map(|row| &row.fields).filter_map(|field| referred(field.shape)));
            }
        }
        found
    }

    /// The table's own name of a definition.
    pub(super) fn known(&self, name: &str) -> Option<&'static str> {
        self.row(name).map(|row| row.name)
    }

    /// The schema of one definition. `versions`: the document's group versions, for bodies that belong to each.
    pub(super) fn schema(&self, name: &str, dialect: Dialect, versions: &[(&str, &str)]) -> Value {
        let Some(row) = self.row(name) else { return json!({}) };
        let mut schema = match row.shape {
            Some(shape) => shape_schema(shape, dialect),
            None => self.struct_schema(row, dialect),
        };
        self.describe(&mut schema, row.line);
        if row.atomic {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        let kinds = kinds_of(row, versions);
        if !kinds.is_empty() {
            schema["x-kubernetes-group-version-kind"] = kinds.into();
        }
        schema
    }

    fn struct_schema(&self, row: &Definition, dialect: Dialect) -> Value {
        let mut properties = Map::new();
        for field in &row.fields {
            properties.insert(field.name.to_owned(), self.field_schema(field, dialect));
        }
        let mut schema = json!({"type": "object"});
        if !properties.is_empty() {
            schema["properties"] = properties.into();
        }
        let required: Vec<&str> = row.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        add_facts(&mut schema, self.facts(row.line), dialect);
        schema
    }

    fn field_schema(&self, field: &Field, dialect: Dialect) -> Value {
        let mut schema = shape_schema(field.shape, dialect);
        self.describe(&mut schema, field.line);
        add_merge_facts(&mut schema, field);
        add_facts(&mut schema, self.facts(field.line), dialect);
        if dialect == Dialect::V3 {
            wrap_references(&mut schema);
        }
        schema
    }

    fn describe(&self, schema: &mut Value, line: usize) {
        let text = self.line(line).1;
        if !text.is_empty() {
            schema["description"] = unescape(text).into();
        }
    }

    fn facts(&self, line: usize) -> Value {
        serde_json::from_str(self.line(line).0).unwrap_or_default()
    }

    /// Facts and description.
    fn line(&self, line: usize) -> (&str, &str) {
        let (Some(start), Some(end)) = (self.lines.get(line), self.lines.get(line + 1)) else { return ("", "") };
        self.published[*start..end - 1].split_once('\t').unwrap_or_default()
    }

    fn row(&self, name: &str) -> Option<&Definition> {
        self.rows.binary_search_by_key(&name, |row| row.name).ok().map(|index| &self.rows[index])
    }
}

pub(super) fn reference(short_name: &str, dialect: Dialect) -> Value {
    json!({"$ref": dialect.reference(&format!("{NAME_PREFIX}{short_name}"))})
}

fn referred(shape: Shape<'static>) -> Option<&'static str> {
    match shape {
        Shape::Named(name) => Some(name),
        Shape::List(inner) | Shape::Map(inner) => referred(Shape::parse(inner)),
        _ => None,
    }
}

fn shape_schema(shape: Shape<'static>, dialect: Dialect) -> Value {
    match (shape, dialect) {
        (Shape::String, _) => json!({"type": "string"}),
        (Shape::Int32, _) => json!({"type": "integer", "format": "int32"}),
        (Shape::Int64, _) => json!({"type": "integer", "format": "int64"}),
        (Shape::Double, _) => json!({"type": "number", "format": "double"}),
        (Shape::Boolean, _) => json!({"type": "boolean"}),
        (Shape::Time | Shape::MicroTime, _) => json!({"type": "string", "format": "date-time"}),
        (Shape::Bytes, _) => json!({"type": "string", "format": "byte"}),
        (Shape::Quantity, Dialect::V2) => json!({"type": "string"}),
        (Shape::Quantity, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        (Shape::IntOrString, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
        (Shape::IntOrString, Dialect::V3) => json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        (Shape::Object, _) => json!({"type": "object"}),
        (Shape::Any, _) => json!({}),
        (Shape::List(item), _) => json!({"type": "array", "items": shape_schema(Shape::parse(item), dialect)}),
        (Shape::Map(value), _) => json!({"type": "object", "additionalProperties": shape_schema(Shape::parse(value), dialect)}),
        (Shape::Named(name), _) => reference(name, dialect),
    }
}

/// Adds what is published of this schema and of those within. Version 2 has no defaults.
fn add_facts(schema: &mut Value, facts: Value, dialect: Dialect) {
    let Value::Object(facts) = facts else { return };
    for (name, fact) in facts {
        match name.as_str() {
            "items" | "additionalProperties" => add_facts(&mut schema[name], fact, dialect),
            "default" if dialect == Dialect::V2 => {}
            _ => schema[name] = fact,
        }
    }
}

/// In version 3 a reference may have no siblings.
fn wrap_references(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    if members.len() > 1
        && let Some(target) = members.remove("$ref")
    {
        members.insert("allOf".to_owned(), json!([{"$ref": target}]));
    }
    for inner in ["items", "additionalProperties"] {
        members.get_mut(inner).into_iter().for_each(wrap_references);
    }
}

fn add_merge_facts(schema: &mut Value, field: &Field) {
    let facts = &field.merge;
    // Bytes are a list in Go.
    let is_list = matches!(field.shape, Shape::List(_) | Shape::Bytes);
    match &facts.list {
        Some(ListKind::Atomic) if is_list => schema["x-kubernetes-list-type"] = "atomic".into(),
        Some(ListKind::Set) => schema["x-kubernetes-list-type"] = "set".into(),
        Some(ListKind::Map { keys }) => {
            schema["x-kubernetes-list-type"] = "map".into();
            schema["x-kubernetes-list-map-keys"] = json!(keys);
        }
        _ => {}
    }
    match facts.map {
        Some(MapKind::Atomic) if !is_list => schema["x-kubernetes-map-type"] = "atomic".into(),
        Some(MapKind::Granular) => schema["x-kubernetes-map-type"] = "granular".into(),
        _ => {}
    }
    if let Some(key) = facts.key {
        schema["x-kubernetes-patch-merge-key"] = key.into();
    }
    if let Some(strategy) = facts.strategy {
        schema["x-kubernetes-patch-strategy"] = strategy.into();
    }
}

fn kinds_of(row: &Definition, versions: &[(&str, &str)]) -> Vec<Value> {
    if KINDS_OF_EVERY_VERSION.contains(&row.name) {
        let kind = row.name.rsplit('.').next().unwrap_or_default();
        return versions.iter().map(|(group, version)| json!({"group": group, "version": version, "kind": kind})).collect();
    }
    let kind = row.kind.map(|(api_version, kind)| {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        json!({"group": group, "version": version, "kind": kind})
    });
    kind.into_iter().collect()
}

pub(super) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            (other, _) => plain.push(other),
        }
    }
    plain
}
