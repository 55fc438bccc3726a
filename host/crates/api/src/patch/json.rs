//! JSON patch: a list of operations, all or none, read as upstream's library reads them where that says more than the RFC: an object's member
//! that is missing is null to a `test`, and is made by a `replace`.
//!
//! What an object can grow to is bounded: by the number of operations, by what they copy, and by how deep they nest it.

use std::io;

use json_patch::jsonptr::Pointer;
use json_patch::{AddOperation, PatchOperation};
use serde_json::Value;

use super::unprocessable;
use crate::object::{self, MAX_DEPTH};
use crate::{Reason, Status};

/// Operations in one patch.
pub const MAX_OPERATIONS: usize = 10_000;
/// What all `copy` operations of a patch copy, as JSON, for each may double the object; upstream's number. Here what is moved deeper counts, too.
pub const MAX_COPIED_BYTES: usize = 3 << 20;

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
    let mut copied = Counter { left: MAX_COPIED_BYTES };
    // On failure the object is dropped, so nothing need be undone.
    for operation in operations {
        check_growth(&object, &operation, &mut copied)?;
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

/// Refuses before it is done what would make the object too large or too deep: taking a deep value apart again needs a stack.
fn check_growth(object: &Value, operation: &PatchOperation, copied: &mut Counter) -> Result<(), Status> {
    let above = operation.path().count();
    let (from, value) = match operation {
        PatchOperation::Add(add) => (None, Some(&add.value)),
        PatchOperation::Replace(replace) => (None, Some(&replace.value)),
        PatchOperation::Move(step) if step.from.count() < above => (Some(&step.from), None),
        PatchOperation::Copy(step) => (Some(&step.from), None),
        PatchOperation::Move(_) | PatchOperation::Remove(_) | PatchOperation::Test(_) => (None, None),
    };
    let source = from.and_then(|from| object.pointer(from.as_str()));
    if source.is_some_and(|source| serde_json::to_writer(copied, source).is_err()) {
        return Err(unprocessable());
    }
    let Some(value) = value.or(source) else { return Ok(()) };
    if above > MAX_DEPTH || object::is_deeper_than(value, MAX_DEPTH - above) { Err(unprocessable()) } else { Ok(()) }
}

/// Takes so many bytes and keeps none.
struct Counter {
    left: usize,
}

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

    /// Twenty-five operations of fifty bytes would make half a gigabyte of one kilobyte.
    #[test]
    fn copies_are_counted() {
        let object = json!({"l": ["x".repeat(1 << 10)]});
        let copies = |times| apply(object.clone(), &Value::Array(vec![json!({"op": "copy", "from": "/l", "path": "/l/-"}); times]));
        assert!(copies(10).is_ok());
        assert_eq!(copies(25).unwrap_err().code, 422);
    }

    #[test]
    fn an_object_is_not_nested_without_end() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        let add = |depth: usize, value| json!({"op": "add", "path": format!("/a{}", "/0".repeat(depth)), "value": value});
        let deepen = |levels| apply(json!({"a": []}), &json!([add(0, nested(100)), add(99, nested(levels))]));
        assert!(deepen(MAX_DEPTH - 100).is_ok());
        assert_eq!(deepen(MAX_DEPTH - 99).unwrap_err().code, 422);
        // Each copies the whole into its own innermost place.
        let inside = |times: u32| json!({"op": "copy", "from": "/a", "path": format!("/a{}/-", "/0".repeat(2_usize.pow(times) - 1))});
        assert!(apply(json!({"a": [[]]}), &json!([inside(1), inside(2)])).is_ok());
        assert_eq!(apply(json!({"a": [[]]}), &(1..12).map(inside).collect()).unwrap_err().code, 422);
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
