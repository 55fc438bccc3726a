//! What an extension says of its resources, as the table of this server describes its own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pintle_api::object::ObjectExt;
use pintle_api::resource::SubresourceDef;
use pintle_api::{GroupVersionKind, ResourceDef, Scope};
use serde_json::Value;

type Str = Cow<'static, str>;

/// From an `APIResourceList`.
pub fn defs_of(group: &str, version: &str, list: &Value) -> Vec<ResourceDef> {
    let mut defs: BTreeMap<String, ResourceDef> = BTreeMap::new();
    let (subs, mains): (Vec<&Value>, Vec<&Value>) = list.list_at(&["resources"]).iter().partition(|r| r.str_at(&["name"]).contains('/'));
    for resource in mains {
        let name = resource.str_at(&["name"]);
        let def = ResourceDef {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            resource: name.to_owned().into(),
            singular: resource.str_at(&["singularName"]).to_owned().into(),
            kind: resource.str_at(&["kind"]).to_owned().into(),
            scope: if resource.bool_at(&["namespaced"]) { Scope::Namespaced } else { Scope::Cluster },
            short_names: words(resource, "shortNames"),
            categories: words(resource, "categories"),
            verbs: words(resource, "verbs"),
            subresources: Vec::new().into(),
        };
        defs.insert(name.to_owned(), def);
    }
    for sub in subs {
        let Some((name, part)) = sub.str_at(&["name"]).split_once('/') else { continue };
        let Some(def) = defs.get_mut(name) else { continue };
        let own = |key: &str, fallback: &str| Some(sub.str_at(&[key])).filter(|s| !s.is_empty()).unwrap_or(fallback).to_owned();
        let kind = GroupVersionKind::new(own("group", group), own("version", version), sub.str_at(&["kind"]).to_owned());
        let kind = (kind.kind != def.kind || kind.group != def.group).then_some(kind);
        def.subresources.to_mut().push(SubresourceDef { name: part.to_owned().into(), kind, verbs: words(sub, "verbs") });
    }
    defs.into_values().collect()
}

fn words(value: &Value, field: &str) -> Cow<'static, [Str]> {
    value.list_at(&[field]).iter().filter_map(|w| w.as_str().map(|w| Cow::Owned(w.to_owned()))).collect::<Vec<Str>>().into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn resources_and_their_parts() {
        let list = json!({"resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get", "list"], "shortNames": ["fl"]},
            {"name": "flunders/status", "namespaced": true, "kind": "Flunder", "verbs": ["get"]},
            {"name": "flunders/scale", "group": "autoscaling", "version": "v1", "namespaced": true, "kind": "Scale", "verbs": ["update"]},
        ]});
        let defs = defs_of("w.example.com", "v1alpha1", &list);
        assert_eq!(defs.len(), 1);
        assert_eq!((&*defs[0].api_version(), &*defs[0].short_names[0]), ("w.example.com/v1alpha1", "fl"));
        let subs: Vec<(String, Option<String>)> =
            defs[0].subresources.iter().map(|s| (s.name.to_string(), s.kind.as_ref().map(|k| k.kind.to_string()))).collect();
        assert_eq!(subs, [("status".to_owned(), None), ("scale".to_owned(), Some("Scale".to_owned()))]);
    }
}
