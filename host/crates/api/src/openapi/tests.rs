//! The OpenAPI documents, v2 and v3, of a small set of resources.

use expect_test::expect;
use serde_json::{Value, json};

use super::{Published, v2_json, v2_protobuf, v3_index, v3_json};
use crate::resource::SubresourceDef;
use crate::{GroupVersionKind, ResourceDef, Scope};

fn resource(group: &'static str, version: &'static str, resource: &'static str, kind: &'static str) -> ResourceDef {
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    ResourceDef {
        group: group.into(),
        version: version.into(),
        resource: resource.into(),
        singular: kind.to_lowercase().into(),
        kind: kind.into(),
        scope: Scope::Namespaced,
        short_names: Vec::new().into(),
        categories: Vec::new().into(),
        verbs: verbs.map(Into::into).to_vec().into(),
        subresources: vec![
            SubresourceDef { name: "status".into(), kind: None, verbs: vec!["get".into(), "patch".into()].into() },
            SubresourceDef {
                name: "scale".into(),
                kind: Some(GroupVersionKind::new("autoscaling", "v1", "Scale")),
                verbs: vec!["get".into(), "update".into()].into(),
            },
        ]
        .into(),
    }
}

fn custom_schema() -> Value {
    json!({"type": "object", "description": "A foo.", "properties": {"spec": {"type": "object", "required": ["maybe"], "properties": {
        "port": {"x-kubernetes-int-or-string": true},
        "maybe": {"type": "object", "nullable": true, "properties": {"x": {"type": "string"}}},
        "when": {"type": "string", "format": "unheard-of", "default": ""},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}}})
}

#[test]
fn version_3_has_a_document_for_each_group_version() {
    let (deployments, foos) = (resource("apps", "v1", "deployments", "Deployment"), resource("stable.example.com", "v1", "foos", "Foo"));
    let schema = custom_schema();
    let all = [Published { def: &deployments, schema: None }, Published { def: &foos, schema: Some(&schema) }];
    let index = v3_index(&all, "v1.36.3");
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="), "{url}");
    assert!(v3_json(&all, "apis/apps/v2", "v1.36.3").is_none());

    let apps: Value = serde_json::from_slice(&v3_json(&all, "apis/apps/v1", "v1.36.3").unwrap()).unwrap();
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(patch["x-kubernetes-group-version-kind"], json!({"group": "apps", "version": "v1", "kind": "Deployment"}));
    assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
    let scale = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(scale["responses"]["200"]["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/io.k8s.api.autoscaling.v1.Scale");
    let schemas = &apps["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(deployment["x-kubernetes-group-version-kind"], json!([{"group": "apps", "version": "v1", "kind": "Deployment"}]));
    assert!(deployment["description"].as_str().unwrap().contains("Deployment"));
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    // Each reference resolves within the document.
    for reference in references(&apps) {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.get(name).is_some(), "{name}");
    }

    let custom: Value = serde_json::from_slice(&v3_json(&all, "apis/stable.example.com/v1", "v1.36.3").unwrap()).unwrap();
    let foo = &custom["components"]["schemas"]["com.example.stable.v1.Foo"];
    assert_eq!(foo["properties"]["metadata"]["allOf"][0]["$ref"], "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    expect![[r#"{"properties":{"any":{"type":"object","x-kubernetes-preserve-unknown-fields":true},"maybe":{"nullable":true,"properties":{"x":{"type":"string"}},"type":"object"},"port":{"anyOf":[{"type":"integer"},{"type":"string"}],"x-kubernetes-int-or-string":true},"when":{"default":"","type":"string"}},"required":["maybe"],"type":"object"}"#]]
        .assert_eq(&foo["properties"]["spec"].to_string());
}

#[test]
fn version_2_is_one_document_that_kubectl_can_read() {
    let (deployments, foos) = (resource("apps", "v1", "deployments", "Deployment"), resource("stable.example.com", "v1", "foos", "Foo"));
    let schema = custom_schema();
    let all = [Published { def: &deployments, schema: None }, Published { def: &foos, schema: Some(&schema) }];
    let document: Value = serde_json::from_slice(&v2_json(&all, "v1.36.3")).unwrap();
    assert_eq!(document["swagger"], "2.0");
    let definitions = &document["definitions"];
    for reference in references(&document) {
        let (section, name) = reference.strip_prefix("#/").and_then(|path| path.split_once('/')).unwrap();
        assert!(document[section].get(name).is_some(), "{reference}");
    }
    expect![[r#"{"properties":{"any":{"x-kubernetes-preserve-unknown-fields":true},"maybe":{},"port":{"x-kubernetes-int-or-string":true},"when":{"default":"","type":"string"}},"type":"object"}"#]]
        .assert_eq(&definitions["com.example.stable.v1.Foo"]["properties"]["spec"].to_string());
    let options = &definitions["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"]["x-kubernetes-group-version-kind"];
    assert_eq!(options[1], json!({"group": "stable.example.com", "version": "v1", "kind": "DeleteOptions"}));

    let bytes = v2_protobuf(&all, "v1.36.3");
    assert!(bytes.starts_with(b"\x0a\x032.0"));
    assert!(bytes.len() > 100_000);
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
