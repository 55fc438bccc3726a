//! Strategic merge patch: lists merge by the keys that their type declares, and `$`-directives steer it.
//!
//! `$patch: delete|replace`, `$retainKeys`, `$setElementOrder/<list>` and `$deleteFromPrimitiveList/<list>` are
//! understood. Only built-in kinds take this patch; the caller answers 415 for custom ones.

use serde_json::{Map, Value};

use super::shown::shown;
use super::unprocessable;
use crate::schema::kinds::TypeRef;
use crate::{Reason, Status};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

type Fields = Map<String, Value>;
type Merged<T> = Result<T, Status>;

pub fn apply(object: Value, patch: Value, schema: TypeRef<'_>) -> Merged<Value> {
    let (Value::Object(object), Value::Object(patch)) = (object, patch) else {
        return Err(Status::bad_request("invalid JSON document"));
    };
    merge_objects(object, patch, schema).map(Value::Object)
}

fn merge_objects(mut object: Fields, mut patch: Fields, schema: TypeRef<'_>) -> Merged<Fields> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(without_directives_in(patch)),
            Some("delete") => Ok(Fields::new()),
            _ => Err(unknown_directive(&directive, &patch)),
        };
    }
    retain_keys(&mut object, &mut patch)?;
    merge_ordered_lists(&mut object, &mut patch, schema)?;
    for (key, value) in patch {
        match key.strip_prefix(DELETE_FROM_LIST) {
            Some(list) => delete_from_list(&mut object, list_name(list, "invalid patch format of primitive list")?, &value),
            None => merge_field(&mut object, key, value, schema)?,
        }
    }
    Ok(object)
}

fn merge_field(object: &mut Fields, key: String, patch: Value, schema: TypeRef<'_>) -> Merged<()> {
    if patch.is_null() {
        object.remove(&key);
        return Ok(());
    }
    let old = object.get_mut(&key).map_or(Value::Null, Value::take);
    let field = schema.child(&key).unwrap_or_else(TypeRef::unknown);
    let merged = match (old, patch) {
        (Value::Object(_), Value::Object(patch)) if field.patch_strategy().replace => without_directives(Value::Object(patch)),
        (Value::Object(old), Value::Object(patch)) => Some(Value::Object(merge_objects(old, patch, field)?)),
        (Value::Array(old), Value::Array(patch)) if field.patch_strategy().merge => Some(Value::Array(merge_lists(old, patch, field)?)),
        (_, patch) => without_directives(patch),
    };
    match merged {
        Some(value) => object.insert(key, value),
        None => object.remove(&key),
    };
    Ok(())
}

/// `$retainKeys` drops every field that it does not name; the patch may set only fields that it names.
fn retain_keys(object: &mut Fields, patch: &mut Fields) -> Merged<()> {
    let Some(kept) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let malformed = || Status::bad_request("invalid patch format of retainKeys");
    let kept = kept.as_array().ok_or_else(malformed)?;
    let is_kept = |key: &str| kept.iter().any(|name| name == key);
    let is_ruled = |key: &str, value: &Value| !value.is_null() && !key.starts_with(DELETE_FROM_LIST) && !key.starts_with(ELEMENT_ORDER);
    if patch.iter().any(|(key, value)| is_ruled(key, value) && !is_kept(key)) {
        return Err(malformed());
    }
    object.retain(|key, _| is_kept(key));
    Ok(())
}

fn delete_from_list(object: &mut Fields, list: &str, gone: &Value) {
    if let (Some(Value::Array(items)), Value::Array(gone)) = (object.get_mut(list), gone) {
        items.retain(|item| !gone.contains(item));
    }
}

/// Lists with an order given beside them. They are taken out of the patch, with their directives.
fn merge_ordered_lists(object: &mut Fields, patch: &mut Fields, schema: TypeRef<'_>) -> Merged<()> {
    const MALFORMED: &str = "invalid patch format of setElementOrder list";
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let list = list_name(&directive[ELEMENT_ORDER.len()..], MALFORMED)?;
        let Some(Value::Array(order)) = patch.remove(&directive) else { return Err(Status::bad_request(MALFORMED)) };
        let field = schema.child(list).unwrap_or_else(TypeRef::unknown);
        let old = as_list(object.get_mut(list).map(Value::take), MALFORMED)?;
        let change = as_list(patch.remove(list), MALFORMED)?;
        let key = field.merge_key();
        check_order(change.as_deref().unwrap_or_default(), &order, key)?;
        let live_order: Vec<Value> = old.iter().flatten().map(|item| identity(item, key)).collect();
        let merged = match (old, change) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(change)) => change.into_iter().filter_map(without_directives).collect(),
            (Some(old), Some(change)) if field.patch_strategy().merge => merge_lists(old, change, field)?,
            (Some(_), Some(change)) => change.into_iter().filter_map(without_directives).collect(),
        };
        require_keys(&merged, key)?;
        let order: Vec<Value> = order.iter().map(|item| identity(item, key)).collect();
        let sorted = in_order(merged, &order, &live_order, key);
        object.insert(list.to_owned(), Value::Array(sorted));
    }
    Ok(())
}

/// The patch's elements must be named by the order list, in that order.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Merged<()> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let live = patch.iter().filter(|item| item.get(DIRECTIVE).is_none()).map(|item| identity_of(item, key));
    let mut places = order.iter().map(|item| identity_of(item, key));
    for item in live {
        if !places.any(|place| place == item) {
            let text = format!("The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}\n", Value::from(patch), Value::from(order));
            return Err(failed(text));
        }
    }
    Ok(())
}

fn merge_lists(old: Vec<Value>, patch: Vec<Value>, field: TypeRef<'_>) -> Merged<Vec<Value>> {
    let Some(first) = old.iter().chain(&patch).next() else { return Ok(old) };
    if first.is_array() {
        return Err(unprocessable());
    }
    let objects = first.is_object();
    if old.iter().chain(&patch).any(|item| item.is_object() != objects) {
        return Err(failed(format!("list element types are not identical: [{} {}]", Value::from(old), Value::from(patch))));
    }
    if objects { merge_object_lists(old, patch, field) } else { Ok(merge_scalar_lists(old, patch)) }
}

fn merge_scalar_lists(old: Vec<Value>, patch: Vec<Value>) -> Vec<Value> {
    let live_order = old.clone();
    let mut merged: Vec<Value> = Vec::with_capacity(old.len() + patch.len());
    for item in old.into_iter().chain(patch.iter().cloned()) {
        if !merged.contains(&item) {
            merged.push(item);
        }
    }
    in_order(merged, &patch, &live_order, None)
}

fn merge_object_lists(old: Vec<Value>, patch: Vec<Value>, field: TypeRef<'_>) -> Merged<Vec<Value>> {
    let key = field.merge_key().ok_or_else(|| failed("cannot merge lists without merge key".to_owned()))?;
    let item_type = field.items().unwrap_or_else(TypeRef::unknown);
    let (mut merged, patch) = carry_out_directives(old, patch, key)?;
    let live_order: Vec<Value> = merged.iter().map(|item| identity(item, Some(key))).collect();
    let mut patch_order = Vec::with_capacity(patch.len());
    for item in patch {
        let id = require_key(&item, key)?.clone();
        match (merged.iter_mut().find(|old| old.get(key) == Some(&id)), item) {
            (Some(slot), Value::Object(item)) => {
                let Value::Object(old) = slot.take() else { unreachable!("a value with a key is an object") };
                *slot = Value::Object(merge_objects(old, item, item_type)?);
            }
            (_, item) => merged.extend(without_directives(item)),
        }
        patch_order.push(id);
    }
    require_keys(&merged, Some(key))?;
    Ok(in_order(merged, &patch_order, &live_order, Some(key)))
}

/// Deletes and replaces as elements with `$patch` say; gives the list and the patch's other elements.
fn carry_out_directives(mut old: Vec<Value>, patch: Vec<Value>, key: &str) -> Merged<(Vec<Value>, Vec<Value>)> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        match item.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default().to_owned()).as_deref() {
            None => rest.push(item),
            Some("delete") => {
                let id = require_key(&item, key)?;
                old.retain(|element| element.get(key) != Some(id));
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(failed("merging lists cannot yet be specified in the patch".to_owned())),
            Some(_) => return Err(unknown_directive(&item[DIRECTIVE], item.as_object().expect("it has a field"))),
        }
    }
    Ok(if replace { (rest.into_iter().filter_map(without_directives).collect(), Vec::new()) } else { (old, rest) })
}

/// Elements that the patch names in its order, the others where they stood relative to them.
fn in_order(items: Vec<Value>, patch_order: &[Value], live_order: &[Value], key: Option<&str>) -> Vec<Value> {
    let place = |order: &[Value], item: &Value| order.iter().position(|id| id == identity_of(item, key));
    let (mut named, mut others): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| place(patch_order, item).is_some());
    named.sort_by_cached_key(|item| place(patch_order, item));
    others.sort_by_cached_key(|item| place(live_order, item).unwrap_or(usize::MAX));
    let mut sorted = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in named {
        let at = place(live_order, &item);
        while let Some(other) = others.next_if(|other| matches!((place(live_order, other), at), (Some(other), Some(at)) if other < at)) {
            sorted.push(other);
        }
        sorted.push(item);
    }
    sorted.extend(others);
    sorted
}

/// What an element is told apart by: its merge key, or itself.
fn identity_of<'a>(item: &'a Value, key: Option<&str>) -> &'a Value {
    key.and_then(|key| item.get(key)).unwrap_or(item)
}

fn identity(item: &Value, key: Option<&str>) -> Value {
    identity_of(item, key).clone()
}

fn require_keys(items: &[Value], key: Option<&str>) -> Merged<()> {
    let Some(key) = key else { return Ok(()) };
    items.iter().try_for_each(|item| require_key(item, key).map(|_| ()))
}

fn require_key<'a>(item: &'a Value, key: &str) -> Merged<&'a Value> {
    item.get(key).ok_or_else(|| failed(format!("map: {} does not contain declared merge key: {key}", shown(item))))
}

fn list_name<'a>(rest: &'a str, malformed: &str) -> Merged<&'a str> {
    rest.strip_prefix('/').ok_or_else(|| Status::bad_request(malformed))
}

fn as_list(value: Option<Value>, malformed: &str) -> Merged<Option<Vec<Value>>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(_) => Err(Status::bad_request(malformed)),
    }
}

/// A new value without nulls and directives; `None` for a value that is itself a directive.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => Some(Value::Object(without_directives_in(fields))),
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

fn without_directives_in(fields: Fields) -> Fields {
    let is_directive = |key: &str| key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) || key.starts_with(DELETE_FROM_LIST);
    fields
        .into_iter()
        .filter(|(key, value)| !value.is_null() && !is_directive(key))
        .filter_map(|(key, value)| Some((key, without_directives(value)?)))
        .collect()
}

fn unknown_directive(directive: &Value, patch: &Fields) -> Status {
    failed(format!("unknown patch type: {} in map: {}", directive.as_str().unwrap_or_default(), Value::Object(patch.clone())))
}

/// A fault that upstream does not class: it answers 500 without a reason.
fn failed(message: String) -> Status {
    Status::new(500, Reason::Unknown, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::kinds::{Edge, ListKind, ListNode, Node, NodeId, ObjectNode, PatchStrategy, ScalarKind, Types, TypesBuilder};
    use serde_json::json;

    /// `items` merges by `name`, `tags` merges as scalars, `args` is replaced, `how` is replaced as a whole.
    fn types() -> (Types, NodeId) {
        let mut builder = TypesBuilder::default();
        let scalar = builder.add(Node::Scalar(ScalarKind::Any));
        let root = builder.reserve();
        let mut list = |to| builder.add(Node::List(ListNode { items: Edge::to(to), kind: ListKind::Atomic }));
        let (items, scalars) = (list(root), list(scalar));
        let merge = PatchStrategy::parse("merge");
        let field = |name: &str, edge: Edge| (Box::from(name), edge);
        let fields = vec![
            field("items", Edge { merge_key: Some("name".into()), strategy: merge, ..Edge::to(items) }),
            field("tags", Edge { strategy: merge, ..Edge::to(scalars) }),
            field("args", Edge::to(scalars)),
            field("how", Edge { strategy: PatchStrategy::parse("replace"), ..Edge::to(root) }),
            field("sub", Edge { strategy: PatchStrategy::parse("retainKeys"), ..Edge::to(root) }),
            field("name", Edge::to(scalar)),
            field("v", Edge::to(scalar)),
        ];
        builder.set(root, Node::Object(ObjectNode { fields, ..ObjectNode::default() }));
        (builder.build(), root)
    }

    fn patched(object: Value, patch: Value) -> Merged<Value> {
        let (types, root) = types();
        apply(object, patch, types.at(root))
    }

    #[track_caller]
    fn check(object: Value, patch: Value, expected: Value) {
        assert_eq!(patched(object, patch).unwrap(), expected);
    }

    #[test]
    fn lists_merge_by_key() {
        check(
            json!({"items": [{"name": "a", "v": 1}, {"name": "b", "v": 2}]}),
            json!({"items": [{"name": "c", "v": null}, {"name": "b", "v": 3}]}),
            json!({"items": [{"name": "c"}, {"name": "a", "v": 1}, {"name": "b", "v": 3}]}),
        );
        check(json!({"tags": [1, 2], "args": [1]}), json!({"tags": [2, 3], "args": [9]}), json!({"tags": [1, 2, 3], "args": [9]}));
    }

    #[test]
    fn elements_are_deleted_and_lists_replaced() {
        let object = || json!({"items": [{"name": "a"}, {"name": "b"}]});
        check(object(), json!({"items": [{"name": "a", "$patch": "delete"}]}), json!({"items": [{"name": "b"}]}));
        check(object(), json!({"items": [{"$patch": "replace"}, {"name": "z"}]}), json!({"items": [{"name": "z"}]}));
        check(object(), json!({"items": null}), json!({}));
        check(json!({}), json!({"items": [{"name": "a", "$patch": "delete"}, {"name": "b"}]}), json!({"items": [{"name": "b"}]}));
        check(json!({"tags": ["x", "y"]}), json!({"$deleteFromPrimitiveList/tags": ["x"]}), json!({"tags": ["y"]}));
    }

    #[test]
    fn objects_merge_are_replaced_or_keep_keys() {
        check(json!({"sub": {"v": 1, "name": "n"}}), json!({"sub": {"v": 2}}), json!({"sub": {"v": 2, "name": "n"}}));
        check(json!({"how": {"v": 1, "name": "n"}}), json!({"how": {"v": 2}}), json!({"how": {"v": 2}}));
        check(json!({"sub": {"v": 1, "name": "n"}}), json!({"sub": {"$patch": "replace", "v": 2}}), json!({"sub": {"v": 2}}));
        check(json!({"sub": {"v": 1}}), json!({"sub": {"$patch": "delete"}}), json!({"sub": {}}));
        check(json!({"sub": {"v": 1, "name": "n"}}), json!({"sub": {"$retainKeys": ["name"], "name": "m"}}), json!({"sub": {"name": "m"}}));
        assert_eq!(patched(json!({"sub": {}}), json!({"sub": {"$retainKeys": ["v"], "name": "m"}})).unwrap_err().code, 400);
    }

    #[test]
    fn order_follows_the_directive() {
        check(
            json!({"items": [{"name": "a"}, {"name": "live"}, {"name": "b"}]}),
            json!({"$setElementOrder/items": [{"name": "b"}, {"name": "c"}, {"name": "a"}], "items": [{"name": "c", "v": 1}]}),
            json!({"items": [{"name": "live"}, {"name": "b"}, {"name": "c", "v": 1}, {"name": "a"}]}),
        );
        check(json!({"tags": [1, 2, 3]}), json!({"$setElementOrder/tags": [3, 1]}), json!({"tags": [2, 3, 1]}));
        let wrong = json!({"$setElementOrder/items": [{"name": "a"}], "items": [{"name": "z"}]});
        assert!(patched(json!({"items": [{"name": "a"}]}), wrong).unwrap_err().message.starts_with("The order in patch list"));
    }

    #[test]
    fn faults() {
        let message = |patch| patched(json!({"items": [{"name": "a"}]}), patch).unwrap_err().message;
        assert_eq!(message(json!({"items": [{"v": 1}]})), "map: map[v:1] does not contain declared merge key: name");
        assert_eq!(message(json!({"$patch": "mend"})), "unknown patch type: mend in map: {}");
        assert_eq!(message(json!({"$setElementOrder": []})), "invalid patch format of setElementOrder list");
    }

    #[test]
    fn a_pods_own_types() {
        let kind = crate::GroupVersionKind::new("", "v1", "Pod");
        let schema = crate::schema::builtin().for_kind(&kind).expect("a built-in kind");
        let pod = json!({"spec": {
            "containers": [{"name": "a", "image": "1", "args": ["x"], "ports": [{"containerPort": 80, "name": "web"}], "env": [{"name": "E", "value": "1"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}], "tolerations": [{"key": "a"}]}});
        let patch = json!({"spec": {
            "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
            "containers": [{"name": "a", "image": "2", "args": ["y"], "ports": [{"containerPort": 80, "hostPort": 8}], "env": [{"name": "F", "value": "2"}]}, {"name": "b"}],
            "volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/p"}}], "tolerations": [{"key": "b"}]}});
        let expected = json!({"spec": {
            "containers": [
                {"name": "a", "image": "2", "args": ["y"], "ports": [{"containerPort": 80, "name": "web", "hostPort": 8}], "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "1"}]},
                {"name": "b"}],
            "volumes": [{"name": "v", "hostPath": {"path": "/p"}}], "tolerations": [{"key": "b"}]}});
        assert_eq!(apply(pod, patch, schema).unwrap(), expected);
    }
}
