//! The `managedFields` of a new object, written as text at once.
//!
//! A creation owns every field that it brings, and nobody else owns any. So nothing is compared, put together or taken away: one walk over the
//! object writes what [`super::track_update`] would have made of it, without a tree that is as large as the object's own and lives only to be
//! written. Refuses an object that brings a list of its own, or is nested too deep to be sure of the result's depth.

use serde_json::{Map, Value};

use super::walk::{self, Keys, Level, Shape};
use super::{MANAGED_FIELDS, Write};
use crate::object::{MAX_DEPTH, ObjectExt};
use crate::schema::kinds::TypeRef;
use crate::schema::presence::{self, there};

/// What stands around the fields: the object, its metadata, the list, the entry and the set itself.
const LEVELS_AROUND: usize = 5;
/// Of most new objects.
const COMMON_BYTES: usize = 2 << 10;
const MEMBER: &str = "\".\":{},";

/// The list that belongs at `metadata.managedFields`; empty where the object has no field that anybody owns. `None`: ask [`super::track_update`].
pub fn track_create(new: &Value, write: &Write<'_>) -> Option<String> {
    let plain = new.get("metadata").is_some_and(Value::is_object) && new.at(MANAGED_FIELDS).is_none();
    if !plain || write.reset_fields.iter().any(|path| path.len() != 1) || !matches!(walk::shape(new, write.schema), Shape::Map(_)) {
        return None;
    }
    let mut text = Text { out: String::with_capacity(COMMON_BYTES), deepest: 0, reset: write.reset_fields };
    text.out.push_str("[{");
    text.pair("apiVersion", &write.kind.api_version());
    text.out.push(',');
    text.pair("fieldsType", "FieldsV1");
    text.out.push_str(",\"fieldsV1\":{");
    let start = text.out.len();
    text.changed(&Value::Object(Map::new()), new, write.schema, Level::Root, LEVELS_AROUND);
    if text.out.len() == start {
        return Some(String::new());
    }
    text.out.push_str("},");
    text.pair("manager", if write.manager.is_empty() { "unknown" } else { write.manager });
    text.out.push(',');
    text.pair("operation", "Update");
    for (name, value) in [("subresource", write.subresource), ("time", write.now)] {
        if !value.is_empty() {
            text.out.push(',');
            text.pair(name, value);
        }
    }
    text.out.push_str("}]");
    (text.deepest <= MAX_DEPTH).then_some(text.out)
}

struct Text<'a> {
    out: String,
    deepest: usize,
    /// Fields of the object itself that are not counted.
    reset: &'a [&'a [&'a str]],
}

impl Text<'_> {
    /// What differs from the bare value that was there before, as `walk::compare` has it; true where the node itself does.
    fn changed(&mut self, bare: &Value, new: &Value, schema: TypeRef<'_>, level: Level, depth: usize) -> bool {
        let fields = match (walk::shape(bare, schema), walk::shape(new, schema)) {
            (Shape::Map(_), Shape::Map(fields)) => fields,
            (Shape::Leaf, Shape::Leaf) => return !walk::same_scalar(bare, new),
            _ if presence::is_bare(bare) && presence::is_bare(new) => return bare != new,
            _ => {
                self.everything(new, schema, level, depth);
                return !(bare.is_null() || new.is_null());
            }
        };
        for (name, new) in fields.iter().filter(|(name, _)| !level.skips(name)) {
            if level == Level::Root && self.reset.iter().any(|path| path.first() == Some(&name.as_str())) {
                continue;
            }
            let (child, inner) = (walk::child_type(schema, name), level.below(name));
            match (there(None, child), there(Some(new), child)) {
                (Some(bare), Some(new)) => self.step('f', name, depth, false, |text, depth| text.changed(bare, new, child, inner, depth)),
                (None, Some(new)) => self.step('f', name, depth, inner != Level::Metadata, |text, depth| {
                    text.everything(new, child, inner, depth);
                    inner != Level::Metadata
                }),
                (_, None) => {}
            }
        }
        false
    }

    /// Every field below a node, as `walk::everything_below` has it.
    fn everything(&mut self, value: &Value, schema: TypeRef<'_>, level: Level, depth: usize) {
        match walk::shape(value, schema) {
            Shape::Leaf => {}
            Shape::Map(fields) => self.fields(fields, schema, level, depth),
            Shape::List(items, keys) => self.items(items, keys, depth),
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>, schema: TypeRef<'_>, level: Level, depth: usize) {
        let mut unwritten = presence::unwritten(fields, schema).peekable();
        for (name, value) in fields.iter().filter(|(name, _)| !level.skips(name)) {
            while let Some((earlier, child)) = unwritten.next_if(|(earlier, _)| *earlier < name.as_str()) {
                self.whole('f', earlier, presence::zero(child), child, Level::Inner, depth);
            }
            let (child, inner) = (walk::child_type(schema, name), level.below(name));
            if let Some(value) = there(Some(value), child) {
                self.whole('f', name, value, child, inner, depth);
            }
        }
        for (later, child) in unwritten {
            self.whole('f', later, presence::zero(child), child, Level::Inner, depth);
        }
    }

    /// Elements in the order of their keys; those of one key have one owner together, without what is below.
    fn items(&mut self, items: &[Value], keys: Keys<'_>, depth: usize) {
        let mut keyed: Vec<(String, &Value)> = items.iter().filter_map(|item| Some((keys.of(item).ok()?, item))).collect();
        keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
        for same in keyed.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((kind, key)) = same[0].0.split_once(':') else { continue };
            let kind = kind.chars().next().unwrap_or('k');
            match same {
                [(_, item)] => self.whole(kind, key, item, keys.item_type(), Level::Inner, depth),
                _ => self.step(kind, key, depth, true, |_, _| true),
            }
        }
    }

    fn whole(&mut self, kind: char, name: &str, value: &Value, of: TypeRef<'_>, level: Level, depth: usize) {
        let member = level != Level::Metadata;
        self.step(kind, name, depth, member, |text, depth| {
            text.everything(value, of, level, depth);
            member
        });
    }

    /// One node with what `below` writes, or nothing where that is nothing and the node is no member. `likely`: whether it will be one.
    fn step(&mut self, kind: char, name: &str, depth: usize, likely: bool, below: impl FnOnce(&mut Self, usize) -> bool) {
        let before = self.out.len();
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
        self.key(kind, name);
        self.out.push_str(":{");
        let inside = self.out.len();
        if likely {
            // It goes first, and where nothing follows it goes again.
            self.out.push_str(&MEMBER[..MEMBER.len() - 1]);
        }
        let filled = self.out.len();
        let member = below(self, depth + 1);
        let empty = self.out.len() == filled;
        if empty {
            self.out.truncate(if member { inside } else { before });
            if !member {
                return;
            }
        } else if member && !likely {
            self.out.insert_str(inside, MEMBER);
        }
        self.out.push('}');
        self.deepest = self.deepest.max(depth + 1 + usize::from(member && !empty));
    }

    fn key(&mut self, kind: char, name: &str) {
        self.out.push('"');
        self.out.push(kind);
        self.out.push(':');
        self.escaped(name);
        self.out.push('"');
    }

    fn pair(&mut self, name: &str, value: &str) {
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":\"");
        self.escaped(value);
        self.out.push('"');
    }

    /// Text inside a JSON string.
    fn escaped(&mut self, text: &str) {
        if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            return self.out.push_str(text);
        }
        let quoted = Value::from(text).to_string();
        self.out.push_str(&quoted[1..quoted.len() - 1]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::track_update;
    use super::*;
    use crate::GroupVersionKind;
    use crate::schema::builtin;

    /// Both ways say the same, to the byte.
    fn check(kind: &GroupVersionKind, schema: TypeRef<'_>, reset_fields: &[&[&str]], object: &Value) {
        let write = Write { kind, schema, manager: "m \"x\"", subresource: "", now: "2026-01-01T00:00:00Z", reset_fields };
        let mut tracked = object.clone();
        track_update(None, &mut tracked, &write);
        let expected = tracked.at(MANAGED_FIELDS).map(Value::to_string).unwrap_or_default();
        assert_eq!(track_create(object, &write).as_deref(), Some(&*expected), "{object}");
    }

    fn check_builtin(group: &'static str, version: &'static str, name: &'static str, object: &Value) {
        let kind = GroupVersionKind::new(group, version, name);
        let schema = builtin().for_kind(&kind).expect("a built-in kind");
        for reset_fields in [&[][..], &[&["status"][..]], &[&["spec"], &["status"]]] {
            check(&kind, schema, reset_fields, object);
        }
        check(&kind, TypeRef::unknown(), &[], object);
    }

    #[test]
    fn the_text_is_what_an_update_of_nothing_would_leave() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"b\"\\": "1", "a": "2"},
            "ownerReferences": [{"uid": "z", "name": "o"}, {"uid": "y", "name": "o"}], "finalizers": ["b", "a", "b"], "annotations": {}},
            "spec": {"schedulerName": "", "hostNetwork": false, "nodeSelector": {}, "volumes": null, "terminationGracePeriodSeconds": 0,
                "imagePullSecrets": [{}, {"name": "s"}], "tolerations": [{"key": "k"}],
                "containers": [{"name": "b", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}, {"hostPort": 1}],
                    "env": [{"name": "X", "value": ""}, {"name": "X", "value": "twice"}, {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "p"}}}],
                    "resources": {"limits": {"cpu": "1"}, "requests": {}}, "readinessProbe": {"httpGet": {"port": 1}}}, {"name": "a"}, 7, null]},
            "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": null}]}});
        check_builtin("", "v1", "Pod", &pod);
        check_builtin("", "v1", "ConfigMap", &pod);
        check_builtin(
            "apps",
            "v1",
            "Deployment",
            &json!({"metadata": {}, "spec": {"template": {"metadata": {"labels": {}}, "spec": pod["spec"]}}, "status": {}}),
        );
        check_builtin(
            "",
            "v1",
            "Service",
            &json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}, {"port": 1}], "selector": {"a": "b"}}, "status": {"loadBalancer": {}}}),
        );
        check_builtin("", "v1", "Secret", &json!({"metadata": {"name": "s", "labels": null}, "data": {}, "type": "Opaque", "immutable": false}));
        check_builtin("", "v1", "Namespace", &json!({"metadata": {"name": "s"}}));
        check_builtin("batch", "v1", "Job", &json!({"metadata": {"name": 3}, "spec": [], "status": "x"}));
        check_builtin("rbac.authorization.k8s.io", "v1", "Role", &json!({"metadata": {"name": "r"}, "rules": [{"verbs": []}]}));
    }

    /// Random trees of names that a Pod knows at many places, with values of any type in them.
    #[test]
    fn random_objects() {
        const NAMES: &str = "metadata spec status labels containers name ports containerPort env conditions type finalizers resources x\"y template";
        let names: Vec<&str> = NAMES.split(' ').collect();
        fn value(names: &[&str], next: &mut impl FnMut(usize) -> usize, depth: usize) -> Value {
            match next(if depth == 0 { 5 } else { 9 }) {
                0 => Value::Null,
                1 => json!(""),
                2 => json!(next(3)),
                3 => json!(next(2) == 0),
                4 => json!(names[next(names.len())]),
                5 | 6 => (0..next(4)).map(|_| value(names, next, depth - 1)).collect(),
                _ => Value::Object((0..next(6)).map(|_| (names[next(names.len())].to_owned(), value(names, next, depth - 1))).collect()),
            }
        }
        for seed in 0..2000_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % below
            };
            let mut object = json!({"metadata": {"name": "a"}});
            for name in &names {
                if next(3) == 0 {
                    object[*name] = value(&names, &mut next, 5);
                }
            }
            if object["metadata"].is_object() {
                check_builtin("", "v1", "Pod", &object);
            }
        }
    }

    #[test]
    fn the_list_is_left_to_the_object_where_it_brings_one_or_is_deep() {
        let kind = GroupVersionKind::new("", "v1", "ConfigMap");
        let write = Write { kind: &kind, schema: TypeRef::unknown(), manager: "", subresource: "", now: "", reset_fields: &[] };
        assert_eq!(track_create(&json!({"metadata": {"managedFields": []}, "x": 1}), &write), None);
        let nested = |levels| (0..levels).fold(json!({}), |inner, _| json!({"x": inner}));
        let deepest = (0..MAX_DEPTH).filter(|levels| {
            let object = json!({"metadata": {}, "x": nested(*levels)});
            let mut tracked = object.clone();
            track_update(None, &mut tracked, &write);
            let fits = !crate::object::is_deeper_than(&tracked, MAX_DEPTH);
            assert_eq!(track_create(&object, &write).is_some(), fits, "{levels}");
            fits
        });
        assert!(deepest.count() > 100);
    }
}
