//! Sets of fields in the form in which `managedFields` stores them, worked on in place.
//!
//! A set is a tree of JSON objects. Keys name a step: `f:` a field, `k:` a list element by its keys, `v:` by its value.
//! `{}` is a member; a node with children is a member as well only if it holds `.`. Sets of one object share most of
//! their fields, so nothing is decoded: the operations walk two trees by key and touch what differs.

use serde_json::{Map, Value};

pub type FieldSet = Map<String, Value>;

const SELF: &str = ".";

/// A node for the given children; `None` when it is neither a member nor has children.
pub fn node(mut children: FieldSet, member: bool) -> Option<Value> {
    if children.is_empty() && !member {
        return None;
    }
    if member && !children.is_empty() {
        children.insert(SELF.to_owned(), Value::Object(Map::new()));
    }
    Some(Value::Object(children))
}

pub fn insert(set: &mut FieldSet, key: String, children: FieldSet, member: bool) {
    if let Some(node) = node(children, member) {
        set.insert(key, node);
    }
}

pub fn field_key(name: &str) -> String {
    let mut key = String::with_capacity(name.len() + 2);
    key.push_str("f:");
    key.push_str(name);
    key
}

pub fn is_member(node: &Value) -> bool {
    node.as_object().is_none_or(|fields| fields.is_empty() || fields.contains_key(SELF))
}

pub fn children(node: &Value) -> Option<&FieldSet> {
    node.as_object().filter(|fields| fields.keys().any(|key| key != SELF))
}

/// Everything that is in either.
pub fn union(set: &mut FieldSet, other: FieldSet) {
    for (key, theirs) in other {
        if key == SELF {
            continue;
        }
        let Some(Value::Object(ours)) = set.get_mut(&key) else {
            set.insert(key, theirs);
            continue;
        };
        let member = is_member_map(ours) || is_member(&theirs);
        if let Value::Object(theirs) = theirs {
            union(ours, theirs);
        }
        set_member(ours, member);
    }
}

/// Takes the other's members away. A parent that is taken leaves its children.
pub fn subtract(set: &mut FieldSet, other: &FieldSet) {
    for (key, theirs) in other {
        let Some(Value::Object(ours)) = set.get_mut(key) else { continue };
        if key == SELF {
            continue;
        }
        let member = is_member_map(ours) && !is_member(theirs);
        if let Some(theirs) = theirs.as_object() {
            subtract(ours, theirs);
        }
        ours.remove(SELF);
        if ours.is_empty() && !member {
            set.remove(key);
        } else {
            set_member(ours, member);
        }
    }
}

/// The members of both.
pub fn intersection(set: &FieldSet, other: &FieldSet) -> FieldSet {
    let mut both = FieldSet::new();
    for (key, theirs) in other.iter().filter(|(key, _)| *key != SELF) {
        let Some(ours) = set.get(key) else { continue };
        let below = match (ours.as_object(), theirs.as_object()) {
            (Some(ours), Some(theirs)) => intersection(ours, theirs),
            _ => FieldSet::new(),
        };
        insert(&mut both, key.clone(), below, is_member(ours) && is_member(theirs));
    }
    both
}

/// Removes the field at a path of names with all that is below it.
pub fn remove_below(set: &mut FieldSet, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else { return };
    let key = field_key(first);
    if rest.is_empty() {
        set.remove(&key);
    } else if let Some(Value::Object(inner)) = set.get_mut(&key).filter(|node| children(node).is_some()) {
        remove_below(inner, rest);
        if inner.is_empty() {
            set.remove(&key);
        }
    }
}

pub fn contains(set: &FieldSet, other: &FieldSet) -> bool {
    other.iter().filter(|(key, _)| *key != SELF).all(|(key, theirs)| {
        set.get(key).is_some_and(|ours| {
            let member = is_member(ours) || !is_member(theirs);
            let empty = FieldSet::new();
            member && children(theirs).is_none_or(|theirs| contains(ours.as_object().unwrap_or(&empty), theirs))
        })
    })
}

/// The members' paths as messages show them (`.spec.ports[name="a"].port`), parents before their children.
pub fn paths(set: &FieldSet) -> Vec<String> {
    let mut found = Vec::new();
    push_paths(set, "", &mut found);
    found
}

/// Whether every key is one of the known forms and every node an object.
pub fn is_well_formed(set: &FieldSet) -> bool {
    let known = |key: &str| key == SELF || (key.len() >= 2 && key.as_bytes()[1] == b':');
    set.iter().all(|(key, node)| known(key) && node.as_object().is_some_and(is_well_formed))
}

fn push_paths(set: &FieldSet, prefix: &str, found: &mut Vec<String>) {
    let steps = || set.iter().filter(|(key, _)| *key != SELF);
    found.extend(steps().filter(|(_, node)| is_member(node)).map(|(key, _)| format!("{prefix}{}", step(key))));
    for (key, node) in steps() {
        if let Some(below) = children(node) {
            push_paths(below, &format!("{prefix}{}", step(key)), found);
        }
    }
}

/// One step of a path as messages show it.
pub fn step(key: &str) -> String {
    let (kind, text) = key.split_at_checked(2).unwrap_or((key, ""));
    match kind {
        "f:" => format!(".{text}"),
        "v:" => format!("[={text}]"),
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
            let shown: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", shown.join(","))
        }
        _ => format!("[{text}]"),
    }
}

fn is_member_map(fields: &FieldSet) -> bool {
    fields.is_empty() || fields.contains_key(SELF)
}

fn set_member(fields: &mut FieldSet, member: bool) {
    fields.remove(SELF);
    if member && !fields.is_empty() {
        fields.insert(SELF.to_owned(), Value::Object(Map::new()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(value: Value) -> FieldSet {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn set_algebra() {
        let a = || set(json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}));
        let b = || set(json!({"f:a": {".": {}, "f:b": {}}, "f:d": {"f:e": {}}}));
        let mut difference = a();
        subtract(&mut difference, &b());
        assert_eq!(difference, set(json!({"f:a": {"f:c": {}}, "f:d": {}})));
        let mut united = a();
        union(&mut united, b());
        assert_eq!(united, set(json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {".": {}, "f:e": {}}})));
        assert_eq!(intersection(&a(), &b()), set(json!({"f:a": {".": {}, "f:b": {}}})));
        assert!(contains(&united, &a()) && contains(&united, &b()) && !contains(&a(), &b()));
        remove_below(&mut united, &["a", "b"]);
        remove_below(&mut united, &["d"]);
        assert_eq!(united, set(json!({"f:a": {".": {}, "f:c": {}}})));
    }

    #[test]
    fn paths_are_shown() {
        let set = set(json!({"f:s": {"f:p": {"k:{\"name\":\"a\",\"port\":80}": {".": {}, "f:x": {}}}, "f:t": {"v:\"q\"": {}}}}));
        assert_eq!(paths(&set), [".s.p[name=\"a\",port=80]", ".s.p[name=\"a\",port=80].x", ".s.t[=\"q\"]"]);
    }
}
