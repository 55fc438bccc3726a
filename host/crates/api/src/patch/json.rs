//! JSON patch: a list of operations, all or none, read as upstream's library reads them where that says more than the RFC: an object's member
//! that is missing is null to a `test`, and is made by a `replace`.

use json_patch::jsonptr::Pointer;
use json_patch::{AddOperation, PatchOperation};
use serde_json::Value;

use super::unprocessable;
use crate::{Reason, Status};

/// Operations in one patch. Copying within a patch grows an object exponentially.
pub const MAX_OPERATIONS: usize = 10_000;

/// A patch that is no list is a 400; one that fails on this object, or asks for what is no operation, a 422.
pub fn apply(mut object: Value, patch: &Value) -> Result<Value, Status> {
    if let Some(found) = not_a_list(patch) {
        let message = format!("error decoding patch: json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp");
        return Err(Status::bad_request(message));
    }
    let operations: Vec<PatchOperation> = serde::Deserialize::deserialize(patch).map_err(|_| unprocessable())?;
    if operations.len() > MAX_OPERATIONS {
        let message = format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", operations.len());
        return Err(Status::new(413, Reason::RequestEntityTooLarge, message));
    }
    // On failure the object is dropped, so nothing need be undone.
    for operation in operations {
        let operation = match operation {
            PatchOperation::Test(test) if test.value.is_null() && is_missing_member(&object, &test.path) => continue,
            PatchOperation::Replace(replace) if is_missing_member(&object, &replace.path) => {
                PatchOperation::Add(AddOperation { path: replace.path, value: replace.value })
            }
            other => other,
        };
        json_patch::patch_unsafe(&mut object, &[operation]).map_err(|_| unprocessable())?;
    }
    Ok(object)
}

/// What a decoder in Go calls a value that is no list.
fn not_a_list(patch: &Value) -> Option<&'static str> {
    match patch {
        Value::Array(_) | Value::Null => None,
        Value::Object(_) => Some("object"),
        Value::String(_) => Some("string"),
        Value::Number(_) => Some("number"),
        Value::Bool(_) => Some("bool"),
    }
}

/// The object in which it would be is there, and it is not.
fn is_missing_member(object: &Value, path: &Pointer) -> bool {
    let Some((parent, member)) = path.split_back() else { return false };
    let parent = object.pointer(parent.as_str()).and_then(Value::as_object);
    parent.is_some_and(|fields| !fields.contains_key(&*member.decoded()))
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

    /// kube-rs adds the first finalizer in this way.
    #[test]
    fn a_missing_member_is_null_and_can_be_replaced() {
        let patch = json!([
            {"op": "test", "path": "/metadata/finalizers", "value": null},
            {"op": "add", "path": "/metadata/finalizers", "value": ["mine"]},
            {"op": "replace", "path": "/metadata/a~1b", "value": 1},
        ]);
        assert_eq!(apply(json!({"metadata": {}}), &patch).unwrap(), json!({"metadata": {"finalizers": ["mine"], "a/b": 1}}));
    }

    #[test]
    fn faults() {
        let code = |patch| apply(json!({"a": 1}), &patch).unwrap_err().code;
        assert_eq!(code(json!({"op": "add"})), 400);
        assert_eq!(code(json!([{"op": "jump", "path": "/a"}])), 422);
        assert_eq!(code(json!([{"op": "test", "path": "/b/c", "value": null}])), 422);
        assert_eq!(code(json!([{"op": "test", "path": "/b", "value": 1}])), 422);
        assert_eq!(code(json!([{"op": "replace", "path": "/b/c", "value": 1}])), 422);
        assert_eq!(code(json!([{"op": "test", "path": "/a", "value": 2}])), 422);
        assert_eq!(code(json!([{"op": "remove", "path": "/b"}])), 422);
        assert_eq!(code(Value::Array(vec![json!({"op": "remove", "path": "/a"}); MAX_OPERATIONS + 1])), 413);
    }
}
