//! Why a value cannot become one of its type, in the words of who applies strategic patches.
//!
//! Upstream merges these as maps and then fills its types from the map, without JSON in between: other words than a decoder's, and no places.

use serde_json::Value;

use super::kinds::{Node, ScalarKind, TypeRef};

/// `wanted`: the type's name in Go.
pub(super) fn fault(value: &Value, of: TypeRef<'_>, wanted: &str) -> String {
    let found = kind_of(value);
    let unread = |wanted: &str| format!("json: cannot unmarshal {} into Go value of type {wanted}", json_kind_of(value));
    match of.node() {
        Node::List(_) => format!("cannot restore slice from {found}"),
        Node::Object(_) if of.additional().is_some() => format!("cannot restore map from {found}"),
        Node::Object(_) => format!("cannot restore struct from: {found}"),
        Node::Scalar(ScalarKind::Bytes) => format!("cannot restore slice from {found}"),
        Node::Scalar(ScalarKind::Time | ScalarKind::MicroTime) => unread("string"),
        Node::Scalar(ScalarKind::IntOrString) => unread("int32"),
        // Go would convert between some kinds, and JSON does not.
        Node::Scalar(ScalarKind::String) if found == "int64" => format!("cannot convert {found} to {wanted}"),
        Node::Scalar(ScalarKind::Int32 | ScalarKind::Int64) if found == "float64" => format!("cannot convert {found} to {wanted}"),
        Node::Scalar(kind) => format!(
            "unrecognized type: {}",
            match kind {
                ScalarKind::Boolean => "bool",
                ScalarKind::Int32 => "int32",
                ScalarKind::Int64 => "int64",
                ScalarKind::Number => "float64",
                _ => "string",
            }
        ),
        Node::Unknown => format!("cannot convert {found} to {wanted}"),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
    }
}

fn json_kind_of(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Number(_) => "number",
        other => kind_of(other),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use crate::GroupVersionKind;
    use crate::schema::{builtin, check};

    #[test]
    fn what_a_strategic_patch_cannot_make() {
        let kind = builtin().for_kind(&GroupVersionKind::new("apps", "v1", "Deployment")).unwrap();
        let of_spec = |spec| json!({"spec": spec});
        let of_container = |container| json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let told = [
            json!({"metadata": {"labels": {"a": 1}}}),
            json!({"metadata": {"labels": {"a": true}}}),
            json!({"metadata": {"labels": "a"}}),
            of_spec(json!({"replicas": "x"})),
            of_spec(json!({"replicas": 1.5})),
            of_spec(json!({"paused": 1})),
            of_spec(json!([])),
            of_spec(json!({"strategy": {"rollingUpdate": {"maxSurge": true}}})),
            of_container(json!({"imagePullPolicy": 1})),
            of_container(json!({"resources": {"limits": {"cpu": []}}})),
            of_container(json!({"command": "sh"})),
        ]
        .map(|body| check(&body, kind).unconverted.unwrap_or_default());
        expect![[r#"
            cannot convert int64 to string
            unrecognized type: string
            cannot restore map from string
            unrecognized type: int32
            cannot convert float64 to int32
            unrecognized type: bool
            cannot restore struct from: slice
            json: cannot unmarshal bool into Go value of type int32
            cannot convert int64 to v1.PullPolicy
            quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
            cannot restore slice from string"#]]
        .assert_eq(&told.join("\n"));
    }
}
