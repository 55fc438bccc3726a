//! Brings a body of a built-in kind into the form that a typed decoder and encoder would leave: unknown fields and nulls
//! vanish, and zeros where Go's types say `omitempty` (empty lists and maps go later, see [`presence::leave_out`]); whole numbers are integers, quantities and times take their canonical text.
//!
//! Works in place and touches only what differs. A value of a wrong type is left alone: [`super::check`] reports it.

use serde_json::{Map, Number, Value};

use super::check::whole;
use super::kinds::{Node, ScalarKind, TypeRef};
use super::{presence, times};
use crate::quantity;

pub fn prune_unknown(value: &mut Value, of: TypeRef<'_>) {
    match (of.node(), value) {
        (Node::Object(_), Value::Object(members)) => members.retain(|name, member| keep_member(name, member, of)),
        (Node::List(_), Value::Array(items)) => {
            let Some(item_type) = of.items() else { return };
            for item in items {
                if item.is_null() {
                    *item = zero(item_type);
                } else {
                    prune_unknown(item, item_type);
                }
            }
        }
        (Node::Scalar(kind), value) => normalize(value, *kind),
        _ => {}
    }
}

fn keep_member(name: &str, value: &mut Value, of: TypeRef<'_>) -> bool {
    if let Some(field) = of.field(name) {
        if value.is_null() {
            return false;
        }
        prune_unknown(value, field);
        return !presence::is_unset(value, field);
    }
    let Some(additional) = of.additional() else { return false };
    if value.is_null() {
        *value = zero(additional);
    } else {
        prune_unknown(value, additional);
    }
    true
}

fn normalize(value: &mut Value, kind: ScalarKind) {
    let replacement = match (kind, &*value) {
        (ScalarKind::Int32 | ScalarKind::Int64 | ScalarKind::IntOrString, Value::Number(number)) if number.is_f64() => {
            whole(number).map(|n| Value::Number(Number::from(n)))
        }
        (ScalarKind::Quantity, Value::Number(number)) => quantity::canonical(&number.to_string()).ok().map(Value::String),
        (ScalarKind::Quantity, Value::String(text)) => quantity::canonical(text).ok().filter(|canonical| canonical != text).map(Value::String),
        (ScalarKind::Time, Value::String(text)) => times::normal_form(text, false).map(Value::String),
        (ScalarKind::MicroTime, Value::String(text)) => times::normal_form(text, true).map(Value::String),
        _ => None,
    };
    if let Some(replacement) = replacement {
        *value = replacement;
    }
}

/// What a null list item or map value decodes to.
fn zero(of: TypeRef<'_>) -> Value {
    match of.node() {
        Node::Object(_) => Value::Object(Map::new()),
        Node::List(_) => Value::Array(Vec::new()),
        Node::Scalar(kind) => match kind {
            ScalarKind::String | ScalarKind::Bytes | ScalarKind::Any => "".into(),
            ScalarKind::Number | ScalarKind::Int32 | ScalarKind::Int64 | ScalarKind::IntOrString => 0.into(),
            ScalarKind::Boolean => false.into(),
            ScalarKind::Quantity => "0".into(),
            ScalarKind::Time | ScalarKind::MicroTime => Value::Null,
        },
        Node::Unknown => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupVersionKind;
    use crate::schema::builtin;
    use expect_test::expect;
    use serde_json::json;

    /// Who checks a body knows whether anything is left to do here.
    #[test]
    fn what_is_not_loose_is_in_the_encoders_form_already() {
        let kind = builtin().for_kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
        let container = |of: Value| json!({"spec": {"containers": [of]}});
        let bodies = [
            (
                false,
                json!({"metadata": {"name": "a", "labels": {"x": "y"}, "creationTimestamp": "2026-01-02T03:04:05Z"}, "spec": {"hostUsers": false}}),
            ),
            (false, container(json!({"name": "c", "resources": {"requests": {"cpu": "500m", "memory": "2Gi"}}, "ports": [{"containerPort": 80}]}))),
            (true, json!({"metadata": {"creationTimestamp": null}})),
            (true, json!({"metadata": {"labels": {"x": null}}})),
            (true, json!({"metadata": {"creationTimestamp": "2026-01-02T03:04:05+01:00"}})),
            (true, json!({"spec": {"hostNetwork": false}})),
            (true, container(json!({"workingDir": ""}))),
            // Pointers, structs, and what a decoder keeps.
            (false, json!({"metadata": {"labels": {}}})),
            (false, container(json!({"args": []}))),
            (false, json!({"spec": {"securityContext": {}, "volumes": [{"name": "v", "emptyDir": {}}], "priority": 0}})),
            (false, container(json!({"resources": {}, "securityContext": {"privileged": false}}))),
            (true, json!({"bogus": 1})),
            (true, json!({"spec": {"containers": [null]}})),
            (true, json!({"spec": {"terminationGracePeriodSeconds": 30.0}})),
            (true, container(json!({"resources": {"requests": {"cpu": "0.5"}}}))),
            (true, container(json!({"resources": {"requests": {"cpu": 1}}}))),
            (true, container(json!({"livenessProbe": {"httpGet": {"port": 80.0}}}))),
        ];
        for (loose, mut body) in bodies {
            let before = body.clone();
            assert_eq!(crate::schema::check(&body, kind).is_loose, loose, "{body}");
            prune_unknown(&mut body, kind);
            assert_eq!(body != before, loose, "{before}");
        }
    }

    #[test]
    fn a_pod_takes_the_encoders_form() {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "bogus": 1,
            "metadata": {"name": "a", "creationTimestamp": null, "labels": {"x": null, "free": "y"}, "deletionTimestamp": "2026-01-02T03:04:05+01:00"},
            "spec": {"terminationGracePeriodSeconds": 30.0, "nodeSelector": null, "containers": [
                {"name": "c", "wrong": {}, "resources": {"requests": {"cpu": 0.5, "memory": "2048Mi"}}},
            ]},
        });
        prune_unknown(&mut pod, builtin().for_kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap());
        expect![[r#"{"apiVersion":"v1","kind":"Pod","metadata":{"deletionTimestamp":"2026-01-02T02:04:05Z","labels":{"free":"y","x":""},"name":"a"},"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"500m","memory":"2Gi"}}}],"terminationGracePeriodSeconds":30}}"#]]
            .assert_eq(&pod.to_string());
    }
}
