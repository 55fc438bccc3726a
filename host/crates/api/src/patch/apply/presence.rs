//! Which fields of a value are there in the sense of Go's types, which upstream compares: a struct that is no pointer is there
//! before anybody writes it, and an empty list under `omitempty` never is.
//!
//! Values come as they were sent or stored; what they leave out or say in vain is put right here, field by field, without a copy.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::schema::kinds::{Node, Presence, ScalarKind, TypeRef};

static NULL: Value = Value::Null;
static FALSE: Value = Value::Bool(false);
static TEXT: Value = Value::String(String::new());
static NUMBER: LazyLock<Value> = LazyLock::new(|| Value::from(0));
static QUANTITY: LazyLock<Value> = LazyLock::new(|| Value::from("0"));
static STRUCT: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));

/// The field's value as Go's types have it, or nothing.
pub fn there<'v>(value: Option<&'v Value>, field: TypeRef<'_>) -> Option<&'v Value> {
    match field.presence() {
        Presence::Optional => value,
        Presence::NonZero => value.filter(|value| !is_empty(value)),
        Presence::Always | Presence::AlwaysNull => Some(value.filter(|value| !value.is_null()).unwrap_or_else(|| zero(field))),
    }
}

/// Fields of a struct that are there although the value does not have them.
pub fn unwritten<'t>(fields: &Map<String, Value>, schema: TypeRef<'t>) -> impl Iterator<Item = (&'t str, TypeRef<'t>)> {
    let named = if let Node::Object(object) = schema.node() { &object.fields[..] } else { &[] };
    let always = |presence| matches!(presence, Presence::Always | Presence::AlwaysNull);
    let absent = named.iter().filter(move |(name, edge)| always(edge.presence) && !fields.contains_key(name.as_ref()));
    absent.filter_map(move |(name, _)| Some((name.as_ref(), schema.field(name)?)))
}

/// What a field that is always there holds before it is written.
pub fn zero(field: TypeRef<'_>) -> &'static Value {
    match (field.presence(), field.node()) {
        (Presence::AlwaysNull, _) | (_, Node::List(_) | Node::Unknown) => &NULL,
        (_, Node::Object(object)) if object.fields.is_empty() && object.additional.is_some() => &NULL,
        (_, Node::Object(_)) => &STRUCT,
        (_, Node::Scalar(kind)) => match kind {
            ScalarKind::String | ScalarKind::Bytes | ScalarKind::Any => &TEXT,
            ScalarKind::Number | ScalarKind::Int32 | ScalarKind::Int64 | ScalarKind::IntOrString => &NUMBER,
            ScalarKind::Boolean => &FALSE,
            ScalarKind::Quantity => &QUANTITY,
            ScalarKind::Time | ScalarKind::MicroTime => &NULL,
        },
    }
}

/// Null, or a container of nothing.
pub fn is_bare(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// What `omitempty` leaves out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        other => is_bare(other),
    }
}
