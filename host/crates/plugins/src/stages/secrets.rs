//! Keeps the values of Secrets out of the words for a difference: those stand in a Plugin's status, which more people read. Whether two
//! values are the same still shows. Pure.

use pintle_api::GroupVersionResource;
use serde_json::{Map, Value};

const FIELDS: [&str; 2] = ["data", "stringData"];
/// `kubectl apply` keeps the whole object there.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const HIDDEN: &str = "<hidden>";
const ANOTHER: &str = "<hidden, another>";

pub fn are_in(resource: &GroupVersionResource) -> bool {
    resource.group.is_empty() && resource.resource == "secrets"
}

/// Both sides' objects or patches, without the values.
pub fn hide(live: &mut Value, candidate: &mut Value) {
    for field in FIELDS {
        let known = live.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
        cover(live.get_mut(field), &known, HIDDEN);
        cover(candidate.get_mut(field), &known, ANOTHER);
    }
    let known = live.as_array().cloned().unwrap_or_default();
    cover_operations(live, &known, HIDDEN);
    cover_operations(candidate, &known, ANOTHER);
    for side in [live, candidate] {
        if let Some(annotations) = side.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(APPLIED);
        }
    }
}

fn cover(values: Option<&mut Value>, known: &Map<String, Value>, other: &str) {
    for (key, value) in values.and_then(Value::as_object_mut).into_iter().flatten() {
        let text = if known.get(key) == Some(value) { HIDDEN } else { other };
        *value = text.into();
    }
}

/// A JSON patch may have values anywhere.
fn cover_operations(patch: &mut Value, known: &[Value], other: &str) {
    for operation in patch.as_array_mut().into_iter().flatten() {
        let text = if known.contains(operation) { HIDDEN } else { other };
        if let Some(value) = operation.get_mut("value") {
            *value = text.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_gone_and_whether_they_differ_shows() {
        let mut live = json!({"metadata": {"name": "s", "annotations": {APPLIED: "x"}}, "data": {"a": "eA==", "b": "eA=="}});
        let mut candidate = json!({"metadata": {"name": "s"}, "data": {"a": "eA==", "b": "eQ==", "c": "eA=="}});
        hide(&mut live, &mut candidate);
        assert_eq!(live, json!({"metadata": {"name": "s", "annotations": {}}, "data": {"a": HIDDEN, "b": HIDDEN}}));
        assert_eq!(candidate["data"], json!({"a": HIDDEN, "b": ANOTHER, "c": ANOTHER}));
        let operation = |value: &str| json!({"op": "add", "path": "/data/a", "value": value});
        let (mut live, mut candidate) = (json!([operation("x")]), json!([operation("x"), operation("y")]));
        hide(&mut live, &mut candidate);
        assert_eq!((live, candidate), (json!([operation(HIDDEN)]), json!([operation(HIDDEN), operation(ANOTHER)])));
    }
}
