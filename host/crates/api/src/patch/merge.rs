//! Merge patch: objects merge, null removes, everything else replaces. The crate's own function copies the patch; this one moves it.

use serde_json::{Map, Value};

use crate::Status;

pub fn apply(object: Value, patch: Value) -> Result<Value, Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("Invalid JSON Patch"));
    }
    Ok(merge(object, patch))
}

fn merge(target: Value, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let mut merged = match target {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    for (key, value) in patch {
        if value.is_null() {
            merged.remove(&key);
        } else {
            let old = merged.get_mut(&key).map_or(Value::Null, Value::take);
            merged.insert(key, merge(old, value));
        }
    }
    Value::Object(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_merge_and_the_rest_is_replaced() {
        let check = |object, patch, expected| assert_eq!(apply(object, patch).unwrap(), expected);
        check(json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": null, "d": 3}}), json!({"a": {"c": 2, "d": 3}}));
        check(json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]}));
        check(json!({"a": "x"}), json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}}));
        check(json!({}), json!({"a": {"gone": null}}), json!({"a": {}}));
        assert_eq!(apply(json!({}), json!([])).unwrap_err().code, 400);
    }
}
