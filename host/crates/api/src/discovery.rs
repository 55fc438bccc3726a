//! Discovery documents: which groups, versions and resources a server has.
//!
//! Pure functions from [`ResourceDef`]s to the legacy documents (`/api`, `/apis`, `/apis/GROUP`, `/apis/GROUP/VERSION`) and the
//! aggregated one. The http layer chooses by `Accept` and caches the bytes until the resources change.
//! It does not know remote API services: whoever serves those adds their groups to the documents.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::resource::SubresourceDef;
use crate::{GroupVersion, ResourceDef};

/// Groups in the order in which upstream's API server prefers them; all others follow by name.
const GROUP_ORDER: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// The form of the aggregated document that an `Accept` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregated {
    V2,
    V2Beta1,
}

impl Aggregated {
    pub fn version(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }
    /// Of the answer.
    pub fn content_type(self) -> String {
        format!("application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList", self.version())
    }
}

/// `GET /api`.
pub fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `GET /apis`.
pub fn api_group_list(resources: &[&ResourceDef]) -> Value {
    let groups: Vec<Value> = group_versions(resources).iter().filter(|(group, _)| !group.is_empty()).map(|(g, v)| group_body(g, v)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `GET /apis/GROUP`. `None`: no such group.
pub fn api_group(resources: &[&ResourceDef], group: &str) -> Option<Value> {
    let all = group_versions(resources);
    let (name, versions) = all.iter().find(|(name, _)| *name == group && !name.is_empty())?;
    let mut body = group_body(name, versions);
    let fields = body.as_object_mut()?;
    fields.insert("kind".into(), "APIGroup".into());
    fields.insert("apiVersion".into(), "v1".into());
    Some(body)
}

/// `GET /api/v1`, `GET /apis/GROUP/VERSION`. `None`: no such version.
pub fn api_resource_list(resources: &[&ResourceDef], of: &GroupVersion) -> Option<Value> {
    let listed = in_version(resources, &of.group, &of.version);
    if listed.is_empty() {
        return None;
    }
    let mut items = Vec::new();
    for resource in &listed {
        items.push(legacy_resource(resource, resources));
        items.extend(sorted_subresources(resource).into_iter().map(|sub| legacy_subresource(resource, sub)));
    }
    let group_version = listed[0].api_version();
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": items}))
}

/// `GET /api` (core) or `GET /apis` (all others) for a client that takes the aggregated form.
pub fn aggregated(resources: &[&ResourceDef], core: bool, form: Aggregated) -> Value {
    let groups = group_versions(resources);
    let items: Vec<Value> = groups.iter().filter(|(group, _)| group.is_empty() == core).map(|(g, v)| aggregated_group(resources, g, v)).collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{}", form.version()),
        "metadata": {},
        "items": items,
    })
}

/// All groups in the order of preference, each with its versions, the preferred one first.
pub fn group_versions<'a>(resources: &[&'a ResourceDef]) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for resource in resources {
        let versions = groups.entry(resource.group.as_ref()).or_default();
        if !versions.contains(&resource.version.as_ref()) {
            versions.push(resource.version.as_ref());
        }
    }
    let mut ordered: Vec<_> = groups.into_iter().collect();
    // A stable sort: groups of equal rank stay in the order of their names.
    ordered.sort_by_key(|(group, _)| GROUP_ORDER.iter().position(|known| known == group).unwrap_or(GROUP_ORDER.len()));
    for (_, versions) in &mut ordered {
        versions.sort_by(|a, b| compare_versions(b, a));
    }
    ordered
}

/// Kubernetes' order of versions, ascending: `foo1 < v1alpha1 < v1beta1 < v1beta2 < v1 < v2`.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (parse_version(a), parse_version(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        // Other names come in alphabetical order when the best is first.
        (None, None) => b.cmp(a),
    }
}

/// Stability (2: stable, 1: beta, 0: alpha), major, minor.
fn parse_version(text: &str) -> Option<(u8, u64, u64)> {
    let number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
    let rest = text.strip_prefix('v')?;
    for (stability, word) in [(0, "alpha"), (1, "beta")] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stability, number(major)?, number(minor)?));
        }
    }
    Some((2, number(rest)?, 0))
}

fn group_body(group: &str, versions: &[&str]) -> Value {
    let entry = |version: &&str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let listed: Vec<Value> = versions.iter().map(entry).collect();
    json!({"name": group, "versions": listed, "preferredVersion": listed[0]})
}

fn in_version<'a>(resources: &[&'a ResourceDef], group: &str, version: &str) -> Vec<&'a ResourceDef> {
    let mut found: Vec<_> = resources.iter().copied().filter(|r| r.group == group && r.version == version).collect();
    found.sort_by(|a, b| a.resource.cmp(&b.resource));
    found
}

fn sorted_subresources(resource: &ResourceDef) -> Vec<&SubresourceDef> {
    let mut found: Vec<_> = resource.subresources.iter().collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn legacy_resource(resource: &ResourceDef, all: &[&ResourceDef]) -> Value {
    let mut body = json!({
        "name": resource.resource, "singularName": resource.singular, "namespaced": resource.is_namespaced(),
        "kind": resource.kind, "verbs": resource.verbs,
    });
    add_names(&mut body, resource);
    if resource.verbs.iter().any(|verb| verb == "get") {
        body["storageVersionHash"] = storage_version_hash(resource, all).into();
    }
    body
}

fn legacy_subresource(resource: &ResourceDef, sub: &SubresourceDef) -> Value {
    let mut body = json!({
        "name": format!("{}/{}", resource.resource, sub.name), "singularName": "", "namespaced": resource.is_namespaced(),
        "kind": sub.kind.as_ref().map_or(&resource.kind, |kind| &kind.kind), "verbs": sub.verbs,
    });
    if let Some(kind) = sub.kind.as_ref().filter(|kind| kind.group != resource.group || kind.version != resource.version) {
        if !kind.group.is_empty() {
            body["group"] = kind.group.as_ref().into();
        }
        body["version"] = kind.version.as_ref().into();
    }
    body
}

fn aggregated_group(resources: &[&ResourceDef], group: &str, versions: &[&str]) -> Value {
    let listed: Vec<Value> = versions
        .iter()
        .map(|version| {
            let found: Vec<Value> = in_version(resources, group, version).into_iter().map(aggregated_resource).collect();
            json!({"version": version, "resources": found, "freshness": "Current"})
        })
        .collect();
    let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
    json!({"metadata": metadata, "versions": listed})
}

fn aggregated_resource(resource: &ResourceDef) -> Value {
    let own_kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let subresources: Vec<Value> = sorted_subresources(resource)
        .into_iter()
        .map(|sub| {
            let kind = sub.kind.as_ref().map_or_else(|| own_kind.clone(), |k| json!({"group": k.group, "version": k.version, "kind": k.kind}));
            json!({"subresource": sub.name, "responseKind": kind, "verbs": sub.verbs})
        })
        .collect();
    let mut body = json!({
        "resource": resource.resource, "responseKind": own_kind, "scope": if resource.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": resource.verbs,
    });
    add_names(&mut body, resource);
    if !subresources.is_empty() {
        body["subresources"] = subresources.into();
    }
    body
}

fn add_names(body: &mut Value, resource: &ResourceDef) {
    let fields: Option<&mut Map<String, Value>> = body.as_object_mut();
    let Some(fields) = fields else { return };
    if !resource.short_names.is_empty() {
        fields.insert("shortNames".into(), json!(resource.short_names));
    }
    if !resource.categories.is_empty() {
        fields.insert("categories".into(), json!(resource.categories));
    }
}

/// A fingerprint of the kind's stored form; it lets a client see that objects want to be written again.
fn storage_version_hash(resource: &ResourceDef, all: &[&ResourceDef]) -> String {
    let (group, version) = if resource.group == "events.k8s.io" {
        // Both kinds of event are stored as the core one.
        ("", "v1")
    } else {
        let of_kind = all.iter().filter(|r| r.group == resource.group && r.resource == resource.resource).map(|r| r.version.as_ref());
        (resource.group.as_ref(), of_kind.max_by(|a, b| compare_versions(a, b)).unwrap_or(resource.version.as_ref()))
    };
    let hash = Sha256::digest(format!("{group}/{version}/{}", resource.kind));
    base64::engine::general_purpose::STANDARD.encode(&hash[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupVersionKind, Scope};
    use expect_test::{Expect, expect};

    fn resource(group: &'static str, version: &'static str, resource: &'static str, kind: &'static str) -> ResourceDef {
        ResourceDef {
            group: group.into(),
            version: version.into(),
            resource: resource.into(),
            singular: kind.to_lowercase().into(),
            kind: kind.into(),
            scope: Scope::Namespaced,
            short_names: Vec::new().into(),
            categories: vec!["all".into()].into(),
            verbs: vec!["get".into(), "list".into()].into(),
            subresources: Vec::new().into(),
        }
    }

    fn sample() -> Vec<ResourceDef> {
        let mut pods = resource("", "v1", "pods", "Pod");
        let eviction = SubresourceDef {
            name: "eviction".into(),
            kind: Some(GroupVersionKind::new("policy", "v1", "Eviction")),
            verbs: vec!["create".into()].into(),
        };
        let status = SubresourceDef { name: "status".into(), kind: None, verbs: vec!["get".into()].into() };
        pods.subresources = vec![status, eviction].into();
        vec![
            resource("zoo.example", "v1beta1", "lions", "Lion"),
            resource("zoo.example", "v1", "lions", "Lion"),
            resource("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
            resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
            resource("apps", "v1", "deployments", "Deployment"),
            pods,
        ]
    }

    fn check(value: &Value, expected: Expect) {
        expected.assert_eq(&value.to_string());
    }

    #[test]
    fn groups_stand_in_upstreams_order_with_the_best_version_first() {
        let all = sample();
        let all: Vec<&ResourceDef> = all.iter().collect();
        let found = format!("{:?}", group_versions(&all));
        expect![[r#"[("", ["v1"]), ("apps", ["v1"]), ("autoscaling", ["v2", "v1"]), ("zoo.example", ["v1", "v1beta1"])]"#]].assert_eq(&found);
        let mut versions = ["v1", "foo10", "v11alpha2", "v10", "v12alpha1", "v3beta1", "foo1", "v2", "v10beta3", "v1beta0"];
        versions.sort_by(|a, b| compare_versions(b, a));
        assert_eq!(versions, ["v10", "v2", "v1", "v10beta3", "v3beta1", "v1beta0", "v12alpha1", "v11alpha2", "foo1", "foo10"]);
    }

    #[test]
    fn a_version_lists_resources_and_subresources() {
        let all = sample();
        let all: Vec<&ResourceDef> = all.iter().collect();
        let core = api_resource_list(&all, &GroupVersion::new("", "v1")).unwrap();
        check(
            &core,
            expect![[
                r#"{"apiVersion":"v1","groupVersion":"v1","kind":"APIResourceList","resources":[{"categories":["all"],"kind":"Pod","name":"pods","namespaced":true,"singularName":"pod","storageVersionHash":"xPOwRZ+Yhw8=","verbs":["get","list"]},{"group":"policy","kind":"Eviction","name":"pods/eviction","namespaced":true,"singularName":"","verbs":["create"],"version":"v1"},{"kind":"Pod","name":"pods/status","namespaced":true,"singularName":"","verbs":["get"]}]}"#
            ]],
        );
        assert!(api_resource_list(&all, &GroupVersion::new("apps", "v2")).is_none());
        // Upstream's hash of the kind that is stored in version 2.
        let scaling = api_resource_list(&all, &GroupVersion::new("autoscaling", "v1")).unwrap();
        assert_eq!(scaling["resources"][0]["storageVersionHash"], "qwQve8ut294=");
    }

    #[test]
    fn the_aggregated_form_tells_kinds_and_scopes() {
        let all = sample();
        let all: Vec<&ResourceDef> = all.iter().filter(|r| r.group.is_empty()).collect();
        check(
            &aggregated(&all, true, Aggregated::V2),
            expect![[
                r#"{"apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":{},"versions":[{"freshness":"Current","resources":[{"categories":["all"],"resource":"pods","responseKind":{"group":"","kind":"Pod","version":"v1"},"scope":"Namespaced","singularResource":"pod","subresources":[{"responseKind":{"group":"policy","kind":"Eviction","version":"v1"},"subresource":"eviction","verbs":["create"]},{"responseKind":{"group":"","kind":"Pod","version":"v1"},"subresource":"status","verbs":["get"]}],"verbs":["get","list"]}],"version":"v1"}]}],"kind":"APIGroupDiscoveryList","metadata":{}}"#
            ]],
        );
    }
}
