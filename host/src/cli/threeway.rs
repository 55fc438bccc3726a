//! The patch of client-side apply: what must change so that the live object takes what the manifest says, and loses what the
//! manifest before said and this one does not. Strategic where the kind's lists have keys, else a merge patch.

use pintle_api::schema::TypeRef;
use serde_json::{Map, Value, json};

/// `original` is the manifest applied before (`Null`: none). The answer is `{}` when nothing is to do.
pub fn patch(original: &Value, modified: &Value, current: &Value, schema: TypeRef<'_>) -> Value {
    Value::Object(objects(original, modified, current, schema))
}

fn objects(original: &Value, modified: &Value, current: &Value, schema: TypeRef<'_>) -> Map<String, Value> {
    let empty = Map::new();
    let (Some(wanted), live) = (modified.as_object(), current.as_object().unwrap_or(&empty)) else { return Map::new() };
    let mut patch = Map::new();
    for (key, value) in wanted {
        let before = original.get(key).unwrap_or(&Value::Null);
        let field = schema.child(key).unwrap_or_else(TypeRef::unknown);
        match (live.get(key), value) {
            (None, Value::Null) => {}
            (None, value) => {
                patch.insert(key.clone(), value.clone());
            }
            (Some(now), value) if now == value => {}
            (Some(now @ Value::Object(_)), Value::Object(fields)) => {
                let mut inner = objects(before, value, now, field);
                if !inner.is_empty() {
                    if field.patch_strategy().retain_keys {
                        inner.insert("$retainKeys".to_owned(), fields.keys().cloned().collect());
                    }
                    patch.insert(key.clone(), Value::Object(inner));
                }
            }
            (Some(Value::Array(now)), Value::Array(wanted)) if field.patch_strategy().merge => {
                let before = before.as_array().map_or(&[][..], Vec::as_slice);
                match field.merge_key() {
                    Some(merge_key) => keyed(key, merge_key, before, wanted, now, field, &mut patch),
                    None => primitives(key, before, wanted, now, &mut patch),
                }
            }
            (Some(_), value) => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in original.as_object().into_iter().flat_map(Map::keys) {
        if !wanted.contains_key(key) && live.contains_key(key) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    patch
}

fn keyed(name: &str, key: &str, before: &[Value], wanted: &[Value], now: &[Value], field: TypeRef<'_>, patch: &mut Map<String, Value>) {
    let items = field.items().unwrap_or_else(TypeRef::unknown);
    let find = |list: &[Value], of: &Value| list.iter().position(|i| i.get(key) == of.get(key));
    let mut changes = Vec::new();
    for item in wanted {
        let original = find(before, item).map_or(&Value::Null, |at| &before[at]);
        let Some(live) = find(now, item).map(|at| &now[at]) else {
            changes.push(item.clone());
            continue;
        };
        let mut change = objects(original, item, live, items);
        if change.is_empty() {
            continue;
        }
        let retains = field.patch_strategy().retain_keys;
        if retains {
            change.insert("$retainKeys".to_owned(), item.as_object().into_iter().flat_map(Map::keys).cloned().collect());
        }
        change.insert(key.to_owned(), item[key].clone());
        changes.push(Value::Object(change));
    }
    for gone in before.iter().filter(|old| find(wanted, old).is_none() && find(now, old).is_some()) {
        changes.push(json!({"$patch": "delete", key: gone[key]}));
    }
    let wanted_order: Vec<&Value> = wanted.iter().map(|i| &i[key]).collect();
    let live_order: Vec<&Value> = now.iter().map(|i| &i[key]).filter(|k| wanted_order.contains(k)).collect();
    if changes.is_empty() && wanted_order == live_order {
        return;
    }
    let order: Vec<Value> = wanted.iter().map(|i| json!({key: i[key]})).collect();
    patch.insert(format!("$setElementOrder/{name}"), order.into());
    if !changes.is_empty() {
        patch.insert(name.to_owned(), changes.into());
    }
}

fn primitives(name: &str, before: &[Value], wanted: &[Value], now: &[Value], patch: &mut Map<String, Value>) {
    let added: Vec<Value> = wanted.iter().filter(|v| !now.contains(v)).cloned().collect();
    let gone: Vec<Value> = before.iter().filter(|v| !wanted.contains(v) && now.contains(v)).cloned().collect();
    if added.is_empty() && gone.is_empty() {
        return;
    }
    patch.insert(format!("$setElementOrder/{name}"), wanted.to_vec().into());
    if !added.is_empty() {
        patch.insert(name.to_owned(), added.into());
    }
    if !gone.is_empty() {
        patch.insert(format!("$deleteFromPrimitiveList/{name}"), gone.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pintle_api::GroupVersionKind;

    fn deployment(original: Value, modified: Value, current: Value) -> Value {
        let schema = pintle_api::schema::builtin().for_kind(&GroupVersionKind::new("apps", "v1", "Deployment")).unwrap();
        patch(&original, &modified, &current, schema)
    }

    #[test]
    fn what_the_manifest_never_said_stays() {
        let spec = |replicas: i64, containers: Value| json!({"spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}}});
        let before = spec(1, json!([{"name": "a", "image": "x:1"}, {"name": "b", "image": "y"}]));
        let after = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "x:2"}]}}}});
        let live =
            spec(1, json!([{"name": "a", "image": "x:1", "imagePullPolicy": "Always"}, {"name": "b", "image": "y"}, {"name": "c", "image": "z"}]));
        assert_eq!(
            deployment(before.clone(), after, live.clone()),
            json!({"spec": {"replicas": null, "template": {"spec": {
                "$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"name": "a", "image": "x:2"}, {"$patch": "delete", "name": "b"}],
            }}}})
        );
        assert_eq!(deployment(before.clone(), before, live), json!({}));
    }

    #[test]
    fn exclusive_fields_name_what_stays() {
        let live = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
        let wanted = json!({"spec": {"strategy": {"type": "Recreate"}}});
        assert_eq!(deployment(Value::Null, wanted, live), json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}));
    }

    #[test]
    fn unknown_kinds_replace_lists() {
        let of = |v: Value| json!({"spec": {"list": v}});
        let made = patch(&of(json!([1])), &of(json!([{"name": "b"}])), &of(json!([{"name": "a"}])), TypeRef::unknown());
        assert_eq!(made, of(json!([{"name": "b"}])));
    }
}
