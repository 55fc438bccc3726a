//! JSON patch: a list of operations, all or none.

use json_patch::PatchOperation;
use serde_json::Value;

use super::unprocessable;
use crate::{Reason, Status};

/// Operations in one patch. Copying within a patch grows an object exponentially.
pub const MAX_OPERATIONS: usize = 10_000;

/// A patch that does not parse is a 400; one that fails on this object a 422.
pub fn apply(mut object: Value, patch: &Value) -> Result<Value, Status> {
    let operations: Vec<PatchOperation> =
        serde::Deserialize::deserialize(patch).map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if operations.len() > MAX_OPERATIONS {
        let message = format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", operations.len());
        return Err(Status::new(413, Reason::RequestEntityTooLarge, message));
    }
    // On failure the object is dropped, so nothing need be undone.
    json_patch::patch_unsafe(&mut object, &operations).map_err(|_| unprocessable())?;
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operations_apply_in_order() {
        let object = json!({"metadata": {"labels": {"a/b": "1"}}, "l": [1, 2]});
        let patch = json!([
            {"op": "test", "path": "/metadata/labels/a~1b", "value": "1"},
            {"op": "replace", "path": "/metadata/labels/a~1b", "value": "2"},
            {"op": "add", "path": "/l/-", "value": 3},
            {"op": "remove", "path": "/l/0"},
        ]);
        assert_eq!(apply(object, &patch).unwrap(), json!({"metadata": {"labels": {"a/b": "2"}}, "l": [2, 3]}));
    }

    #[test]
    fn faults() {
        let code = |patch| apply(json!({"a": 1}), &patch).unwrap_err().code;
        assert_eq!(code(json!({"op": "add"})), 400);
        assert_eq!(code(json!([{"op": "jump", "path": "/a"}])), 400);
        assert_eq!(code(json!([{"op": "test", "path": "/a", "value": 2}])), 422);
        assert_eq!(code(json!([{"op": "remove", "path": "/b"}])), 422);
        assert_eq!(code(Value::Array(vec![json!({"op": "remove", "path": "/a"}); MAX_OPERATIONS + 1])), 413);
    }
}
