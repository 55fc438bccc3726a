//! What a schema says of the values that an expression will see: their types, how many there are at most, how long they are at most.
//! As upstream derives it: what no `maxItems`, `maxProperties` or `maxLength` bounds is as large as a request can make it.

use std::collections::BTreeMap;

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::escaped;

/// The largest request that is reckoned with.
const REQUEST_BYTES: u64 = 3 << 20;
const TEXT_MAX: u64 = REQUEST_BYTES - 2;
const DURATION_MAX: u64 = 32;
const DURATION_MIN: u64 = 3;
const TIME_MAX: u64 = 32;
const TIME_MIN: u64 = 21;
const DATE: u64 = 12;
/// Quotes, brackets or braces.
const EMPTY: u64 = 2;

#[derive(Clone, Debug)]
pub struct Declared {
    pub shape: Shape,
    /// Items, entries or bytes at most; 0 of what has neither.
    pub max: u64,
    /// Of the shortest JSON.
    pub min_bytes: u64,
}

#[derive(Clone, Debug)]
pub enum Shape {
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    Dyn,
    List(Box<Declared>),
    Map(Box<Declared>),
    Object(BTreeMap<String, Declared>),
}

impl Declared {
    fn plain(shape: Shape, max: u64, min_bytes: u64) -> Self {
        Self { shape, max, min_bytes }
    }

    /// `None`: expressions do not see such values.
    pub fn of(schema: &Value, is_root: bool) -> Option<Self> {
        let limit = |field: &str| schema.get(field).and_then(Value::as_i64).map(|limit| u64::try_from(limit).unwrap_or(0));
        let text_max = |max: u64| limit("maxLength").map_or(max, |limit| limit.saturating_mul(4));
        if schema.bool_at(&["x-kubernetes-int-or-string"]) {
            return Some(Self::plain(Shape::Dyn, text_max(TEXT_MAX), 1));
        }
        Some(match (schema.str_at(&["type"]), schema.str_at(&["format"])) {
            ("boolean", _) => Self::plain(Shape::Bool, 0, 4),
            ("number", _) => Self::plain(Shape::Double, 0, 1),
            ("integer", _) => Self::plain(Shape::Int, 0, 1),
            ("string", "byte") => Self::plain(Shape::Bytes, limit("maxLength").unwrap_or(TEXT_MAX), EMPTY),
            ("string", "duration") => Self::plain(Shape::Duration, DURATION_MAX, DURATION_MIN),
            ("string", "date") => Self::plain(Shape::Timestamp, DATE, DATE),
            ("string", "date-time") => Self::plain(Shape::Timestamp, TIME_MAX, TIME_MIN),
            ("string", _) => {
                let words = schema.list_at(&["enum"]).iter().filter_map(Value::as_str).map(|word| word.len() as u64).max();
                Self::plain(Shape::String, text_max(words.unwrap_or(TEXT_MAX)), EMPTY)
            }
            ("array", _) => {
                let item = Self::of(schema.get("items")?, schema.bool_at(&["items", "x-kubernetes-embedded-resource"]))?;
                let max = limit("maxItems").unwrap_or((REQUEST_BYTES - EMPTY) / (item.min_bytes + 1));
                Self::plain(Shape::List(Box::new(item)), max, EMPTY)
            }
            ("object", _) => match schema.get("additionalProperties").filter(|below| below.is_object()) {
                Some(below) => {
                    let value = Self::of(below, below.bool_at(&["x-kubernetes-embedded-resource"]))?;
                    let max = limit("maxProperties").unwrap_or((REQUEST_BYTES - EMPTY) / (value.min_bytes + 6));
                    Self::plain(Shape::Map(Box::new(value)), max, EMPTY)
                }
                None => Self::object(schema, is_root),
            },
            _ => return None,
        })
    }

    fn object(schema: &Value, is_root: bool) -> Self {
        let mut fields = BTreeMap::new();
        let mut min_bytes = EMPTY;
        let is_required = |name: &str| schema.list_at(&["required"]).iter().any(|required| required == name);
        for (name, property) in schema.map_at(&["properties"]).into_iter().flatten() {
            let Some(field) = Self::of(property, property.bool_at(&["x-kubernetes-embedded-resource"])) else { continue };
            if is_required(name) && property.get("default").is_none() {
                min_bytes += name.len() as u64 + field.min_bytes + 4;
            }
            if let Some(name) = escaped(name) {
                fields.insert(name, field);
            }
        }
        if is_root {
            let text = || Self::plain(Shape::String, TEXT_MAX, EMPTY);
            let is_text = |name: &str, fields: &BTreeMap<String, Self>| matches!(fields.get(name).map(|field| &field.shape), Some(Shape::String));
            let is_named = match fields.get("metadata").map(|field| &field.shape) {
                Some(Shape::Object(metadata)) => is_text("name", metadata) && is_text("generateName", metadata),
                _ => false,
            };
            if !(is_named && is_text("apiVersion", &fields) && is_text("kind", &fields)) {
                let named = ["name", "generateName"].map(|name| (name.to_owned(), text()));
                fields.insert("metadata".to_owned(), Self::plain(Shape::Object(named.into()), 0, EMPTY));
                ["apiVersion", "kind"].into_iter().for_each(|name| drop(fields.insert(name.to_owned(), text())));
            }
        }
        Self::plain(Shape::Object(fields), 0, min_bytes)
    }

    /// How many such values there may be where nothing bounds that.
    pub fn cardinality(&self) -> u64 {
        REQUEST_BYTES / (self.min_bytes + 1)
    }
}
