//! Which fields of a value are there in the sense of Go's types, which upstream compares: a struct that is no pointer is there
//! before anybody writes it, and an empty list under `omitempty` never is.
//!
//! Values come as they were sent or stored; what they leave out or say in vain is put right here, field by field, without a copy.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::kinds::{ListKind, Node, Presence, ScalarKind, TypeRef};

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

/// What a field holds that was not written: nothing, where it is a pointer.
pub fn unwritten_value(field: TypeRef<'_>) -> &'static Value {
    if field.presence() == Presence::Optional { &NULL } else { zero(field) }
}

/// Whether a decoder cannot tell this value of the field from none, so that an encoder writes nothing for it. An empty list or map is told from none
/// until it is written: see [`leave_out`].
pub fn is_unset(value: &Value, field: TypeRef<'_>) -> bool {
    !is_container(value) && field.presence() == Presence::NonZero && is_empty(value)
}

/// Whether [`leave_out`] changes anything.
pub fn leaves_out(value: &Value, of: TypeRef<'_>) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, member)| match of.field(name).filter(|_| is_container(member)) {
            Some(field) => is_left_out(member, field) || leaves_out(member, field),
            None => is_container(member) && of.additional().is_some_and(|additional| leaves_out(member, additional)),
        }),
        Value::Array(items) => of.items().is_some_and(|of| items.iter().any(|item| leaves_out(item, of))),
        _ => false,
    }
}

/// Takes out the empty lists and maps that an encoder does not write. Defaults and validation may tell them from what is not there, so this comes after.
pub fn leave_out(value: &mut Value, of: TypeRef<'_>) {
    match value {
        Value::Object(members) => members.retain(|name, member| {
            if !is_container(member) {
                return true;
            }
            let field = of.field(name);
            if let Some(of) = field.or_else(|| of.additional()) {
                leave_out(member, of);
            }
            !field.is_some_and(|field| is_left_out(member, field))
        }),
        Value::Array(items) => {
            if let Some(of) = of.items() {
                items.iter_mut().for_each(|item| leave_out(item, of));
            }
        }
        _ => {}
    }
}

/// Gives a value what another of its type has of zeros, empty lists and maps where this one has nothing: that is the same by the type, and a comparison
/// finds no difference in it any more.
pub fn take_over_empties(value: &mut Value, other: &Value, of: TypeRef<'_>) {
    match (value, other) {
        (Value::Object(members), Value::Object(others)) => {
            for (name, other) in others {
                match members.get_mut(name) {
                    Some(member) if is_container(member) && is_container(other) => {
                        of.field(name).or_else(|| of.additional()).into_iter().for_each(|of| take_over_empties(member, other, of));
                    }
                    None if !other.is_null() && is_empty(other) && of.field(name).is_some_and(|field| field.presence() == Presence::NonZero) => {
                        members.insert(name.clone(), other.clone());
                    }
                    _ => {}
                }
            }
        }
        (Value::Array(items), Value::Array(others)) => {
            let Some(item_type) = of.items() else { return };
            for (index, item) in items.iter_mut().enumerate() {
                if let Some(other) = counterpart(item, index, others, of.list_kind()) {
                    take_over_empties(item, other, item_type);
                }
            }
        }
        _ => {}
    }
}

/// The item of another list that is meant by the same keys, or, where a list has none, in the same place.
fn counterpart<'v>(item: &Value, index: usize, others: &'v [Value], kind: &ListKind) -> Option<&'v Value> {
    let ListKind::Map { keys } = kind else { return others.get(index) };
    let is_meant = |other: &&Value| keys.iter().all(|key| other.get(&**key) == item.get(&**key));
    others.get(index).filter(is_meant).or_else(|| others.iter().find(is_meant))
}

fn is_left_out(container: &Value, field: TypeRef<'_>) -> bool {
    is_bare(container) && field.presence() == Presence::NonZero
}

fn is_container(value: &Value) -> bool {
    matches!(value, Value::Array(_) | Value::Object(_))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupVersionKind;
    use crate::schema::builtin;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn empty_lists_and_maps_go_that_an_encoder_does_not_write() {
        let kind = builtin().for_kind(&GroupVersionKind::new("apps", "v1", "Deployment")).unwrap();
        let mut deployment = json!({
            "metadata": {"name": "a", "labels": {}, "finalizers": []},
            "spec": {"selector": {"matchLabels": {}}, "strategy": {}, "template": {
                "metadata": {"annotations": {}},
                "spec": {
                    "nodeSelector": {}, "securityContext": {}, "imagePullSecrets": [], "volumes": [{"name": "v", "emptyDir": {}}],
                    "containers": [{"name": "c", "args": [], "resources": {"limits": {}}, "securityContext": {"capabilities": {"drop": []}}}],
                },
            }},
        });
        assert!(leaves_out(&deployment, kind));
        leave_out(&mut deployment, kind);
        expect![[r#"{"metadata":{"name":"a"},"spec":{"selector":{},"strategy":{},"template":{"metadata":{},"spec":{"containers":[{"name":"c","resources":{},"securityContext":{"capabilities":{}}}],"securityContext":{},"volumes":[{"emptyDir":{},"name":"v"}]}}}}"#]]
            .assert_eq(&deployment.to_string());
        assert!(!leaves_out(&deployment, kind));
    }

    #[test]
    fn what_is_empty_is_taken_over_and_nothing_else() {
        let kind = builtin().for_kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
        let pod = |containers: Value| json!({"metadata": {"name": "a"}, "spec": {"containers": containers}});
        let mut one = pod(json!([{"name": "c", "command": ["x"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}, {"name": "d"}]));
        let other = json!({"metadata": {"name": "b", "labels": {"x": ""}}, "spec": {"hostNetwork": false, "priority": 0, "containers": [
            {"name": "d", "args": [], "stdin": false},
            {"name": "c", "args": [], "command": [], "securityContext": {}, "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": false}], "image": "i"},
        ]}});
        take_over_empties(&mut one, &other, kind);
        let mut expected = pod(json!([
            {"name": "c", "args": [], "command": ["x"], "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": false}]},
            {"name": "d", "args": [], "stdin": false},
        ]));
        expected["spec"]["hostNetwork"] = json!(false);
        assert_eq!(one, expected);
    }
}
