//! Apply and update as sequences of writes over a small type and over a real one.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{Write, apply, track_update};
use crate::schema::kinds::{Edge, ListKind, ListNode, MapKind, Node, NodeId, ObjectNode, ScalarKind, TypeRef, Types, TypesBuilder};
use crate::{GroupVersionKind, Status};

/// `spec`: `n` a number, `labels` a map, `list` by `name`+`proto` (default TCP), `set`, `atomic` list, `whole` atomic map.
fn types() -> (Types, NodeId) {
    let mut b = TypesBuilder::default();
    let string = b.add(Node::Scalar(ScalarKind::String));
    let number = b.add(Node::Scalar(ScalarKind::Number));
    let field = |name: &str, to| (Box::from(name), Edge::to(to));
    let labels = b.add(Node::Object(ObjectNode { additional: Some(Edge::to(string)), ..Default::default() }));
    let proto = Edge { default: Some(Box::new(json!("TCP"))), ..Edge::to(string) };
    let item = b.add(Node::Object(ObjectNode {
        fields: vec![field("name", string), ("proto".into(), proto), field("v", number), field("w", number)],
        ..Default::default()
    }));
    let keys = ListKind::Map { keys: ["name".into(), "proto".into()].into() };
    let list = b.add(Node::List(ListNode { items: Edge::to(item), kind: keys }));
    let set = b.add(Node::List(ListNode { items: Edge::to(string), kind: ListKind::Set }));
    let atomic = b.add(Node::List(ListNode { items: Edge::to(string), kind: ListKind::Atomic }));
    let whole = b.add(Node::Object(ObjectNode { additional: Some(Edge::to(string)), map_kind: MapKind::Atomic, ..Default::default() }));
    let spec_fields = vec![
        field("n", number),
        field("m", number),
        field("labels", labels),
        field("list", list),
        field("set", set),
        field("atomic", atomic),
        field("whole", whole),
    ];
    let spec = b.add(Node::Object(ObjectNode { fields: spec_fields, ..Default::default() }));
    let metadata = b.add(Node::Object(ObjectNode {
        fields: ["name", "namespace", "uid", "resourceVersion"]
            .map(|n| field(n, string))
            .into_iter()
            .chain([field("labels", labels), field("annotations", labels), field("finalizers", set)])
            .collect(),
        ..Default::default()
    }));
    let root = b.add(Node::Object(ObjectNode {
        fields: vec![field("apiVersion", string), field("kind", string), field("metadata", metadata), field("spec", spec), field("status", spec)],
        ..Default::default()
    }));
    (b.build(), root)
}

struct Cluster {
    types: Types,
    root: NodeId,
    kind: GroupVersionKind,
    object: Option<Value>,
    second: u32,
}

impl Cluster {
    fn new() -> Self {
        let (types, root) = types();
        Self { types, root, kind: GroupVersionKind::new("x.io", "v1", "Thing"), object: None, second: 0 }
    }
    fn write<T>(&mut self, manager: &str, subresource: &str, run: impl FnOnce(Option<&Value>, &Write<'_>) -> T) -> T {
        self.second += 1;
        let now = format!("2026-01-01T00:00:{:02}Z", self.second);
        let reset: &[&[&str]] = if subresource == "status" { &[&["spec"]] } else { &[&["status"]] };
        let write = Write { kind: &self.kind, schema: self.types.at(self.root), manager, subresource, now: &now, reset_fields: reset };
        run(self.object.as_ref(), &write)
    }
    fn apply(&mut self, manager: &str, spec: Value, force: bool) -> Result<(), Status> {
        self.apply_whole(manager, json!({"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec}), force)
    }
    fn apply_whole(&mut self, manager: &str, config: Value, force: bool) -> Result<(), Status> {
        let object = self.write(manager, "", |live, write| apply(live, config, force, write))?;
        self.object = Some(object);
        self.object.as_mut().expect("just set")["metadata"]["uid"] = json!("1");
        Ok(())
    }
    /// Sets the spec, or the status of the subresource, and keeps the rest.
    fn update(&mut self, manager: &str, subresource: &str, part: Value) {
        let mut new = self.object.clone().unwrap_or_else(|| json!({"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "a"}}));
        if self.object.is_some() {
            new["metadata"]["uid"] = json!("1");
        }
        new[if subresource.is_empty() { "spec" } else { subresource }] = part;
        self.write(manager, subresource, |old, write| track_update(old, &mut new, write));
        self.object = Some(new);
    }
    #[track_caller]
    fn check(&self, expected: Expect) {
        let object = self.object.as_ref().expect("written before");
        let mut lines = vec![format!("spec {}", object["spec"])];
        for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
            let text = |field: &str| entry[field].as_str().unwrap_or_default();
            lines.push(format!("{} {} {} {}: {}", text("manager"), text("operation"), text("subresource"), &text("time")[17..19], entry["fieldsV1"]));
        }
        expected.assert_eq(&lines.join("\n"));
    }
}

#[test]
fn a_dropped_field_goes_and_a_shared_one_stays() {
    let mut c = Cluster::new();
    c.apply("one", json!({"n": 1, "m": 2, "labels": {"a": "1", "b": "2"}}), false).unwrap();
    c.apply("two", json!({"m": 2}), false).unwrap();
    c.apply("one", json!({"labels": {"a": "1"}}), false).unwrap();
    c.check(expect![[r#"
        spec {"labels":{"a":"1"},"m":2}
        two Apply  02: {"f:spec":{"f:m":{}}}
        one Apply  03: {"f:spec":{"f:labels":{"f:a":{}}}}"#]]);
}

#[test]
fn conflicts_name_owner_and_field() {
    let mut c = Cluster::new();
    c.apply("one", json!({"n": 1, "list": [{"name": "x", "v": 1}]}), false).unwrap();
    let status = c.apply("two", json!({"n": 2}), false).unwrap_err();
    assert_eq!(status.code, 409);
    assert_eq!(status.message, r#"Apply failed with 1 conflict: conflict with "one": .spec.n"#);
    c.update("ctl", "", json!({"n": 3, "list": [{"name": "x", "v": 1}]}));
    let status = c.apply("two", json!({"n": 2, "list": [{"name": "x", "v": 5}]}), false).unwrap_err();
    expect![[r#"
        Apply failed with 2 conflicts: conflicts with "ctl" using x.io/v1:
        - .spec.n
        conflicts with "one":
        - .spec.list[name="x",proto="TCP"].v
        [(".spec.n", "conflict with \"ctl\" using x.io/v1"), (".spec.list[name=\"x\",proto=\"TCP\"].v", "conflict with \"one\"")]"#]]
    .assert_eq(&format!(
        "{}\n{:?}",
        status.message,
        status.details.unwrap().causes.iter().map(|c| (c.field.as_str(), c.message.as_str())).collect::<Vec<_>>()
    ));
    c.apply("two", json!({"n": 2, "list": [{"name": "x", "v": 5}]}), true).unwrap();
    c.check(expect![[r#"
        spec {"list":[{"name":"x","v":5}],"n":2}
        one Apply  01: {"f:spec":{"f:list":{"k:{\"name\":\"x\",\"proto\":\"TCP\"}":{".":{},"f:name":{}}}}}
        two Apply  05: {"f:spec":{"f:list":{"k:{\"name\":\"x\",\"proto\":\"TCP\"}":{".":{},"f:name":{},"f:v":{}}},"f:n":{}}}"#]]);
}

#[test]
fn the_same_value_is_shared_without_conflict_and_without_new_time() {
    let mut c = Cluster::new();
    c.apply("one", json!({"n": 1}), false).unwrap();
    c.apply("two", json!({"n": 1}), false).unwrap();
    let before = c.object.clone();
    c.apply("one", json!({"n": 1}), false).unwrap();
    assert_eq!(c.object, before);
    c.apply("one", json!({}), false).unwrap();
    c.check(expect![[r#"
        spec {"n":1}
        one Apply  01: {"f:spec":{}}
        two Apply  02: {"f:spec":{"f:n":{}}}"#]]);
}

#[test]
fn lists_merge_by_their_kind() {
    let mut c = Cluster::new();
    c.apply("one", json!({"list": [{"name": "a"}, {"name": "b"}], "set": ["x", "y"], "atomic": ["1", "2"], "whole": {"a": "1"}}), false).unwrap();
    c.apply("two", json!({"list": [{"name": "c", "proto": "UDP"}, {"name": "b", "v": 1}], "set": ["z", "y"]}), false).unwrap();
    assert_eq!(
        c.apply("two", json!({"atomic": ["1"]}), false).unwrap_err().message,
        r#"Apply failed with 1 conflict: conflict with "one": .spec.atomic"#
    );
    assert_eq!(
        c.apply("two", json!({"whole": {"b": "1"}}), false).unwrap_err().message,
        r#"Apply failed with 1 conflict: conflict with "one": .spec.whole"#
    );
    c.apply("one", json!({"list": [{"name": "b"}], "set": ["x"], "atomic": ["9"]}), false).unwrap();
    c.check(expect![[r#"
        spec {"atomic":["9"],"list":[{"name":"c","proto":"UDP"},{"name":"b","v":1}],"set":["x","z","y"]}
        two Apply  02: {"f:spec":{"f:list":{"k:{\"name\":\"b\",\"proto\":\"TCP\"}":{".":{},"f:name":{},"f:v":{}},"k:{\"name\":\"c\",\"proto\":\"UDP\"}":{".":{},"f:name":{},"f:proto":{}}},"f:set":{"v:\"y\"":{},"v:\"z\"":{}}}}
        one Apply  05: {"f:spec":{"f:atomic":{},"f:list":{"k:{\"name\":\"b\",\"proto\":\"TCP\"}":{".":{},"f:name":{}}},"f:set":{"v:\"x\"":{}}}}"#]]);
}

#[test]
fn updates_take_what_they_change() {
    let mut c = Cluster::new();
    c.update("create", "", json!({"n": 1, "labels": {"a": "1"}, "list": [{"name": "x", "proto": "TCP", "v": 1}]}));
    c.update("edit", "", json!({"n": 2, "labels": {"a": "1"}, "list": [{"name": "x", "proto": "TCP", "v": 1, "w": 7}]}));
    c.update("kubelet", "status", json!({"n": 9}));
    c.update("edit", "", json!({"n": 2, "labels": {"a": "1"}, "list": [{"name": "x", "proto": "TCP", "v": 1, "w": 7}]}));
    c.check(expect![[r#"
        spec {"labels":{"a":"1"},"list":[{"name":"x","proto":"TCP","v":1,"w":7}],"n":2}
        create Update  01: {"f:spec":{".":{},"f:labels":{".":{},"f:a":{}},"f:list":{".":{},"k:{\"name\":\"x\",\"proto\":\"TCP\"}":{".":{},"f:name":{},"f:proto":{},"f:v":{}}}}}
        edit Update  02: {"f:spec":{"f:list":{"k:{\"name\":\"x\",\"proto\":\"TCP\"}":{"f:w":{}}},"f:n":{}}}
        kubelet Update status 03: {"f:status":{".":{},"f:n":{}}}"#]]);
    c.update("edit", "", json!({"n": 2}));
    c.check(expect![[r#"
        spec {"n":2}
        create Update  01: {"f:spec":{}}
        edit Update  02: {"f:spec":{"f:n":{}}}
        kubelet Update status 03: {"f:status":{".":{},"f:n":{}}}"#]]);
}

#[test]
fn the_first_apply_of_an_untracked_object_finds_its_past() {
    let mut c = Cluster::new();
    c.object = Some(json!({"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "a", "uid": "1"}, "spec": {"n": 1, "m": 1}}));
    c.update("edit", "", json!({"n": 1, "m": 2}));
    c.check(expect![[r#"spec {"m":2,"n":1}"#]]);
    assert_eq!(
        c.apply("one", json!({"n": 5}), false).unwrap_err().message,
        r#"Apply failed with 1 conflict: conflict with "before-first-apply" using x.io/v1: .spec.n"#
    );
    c.apply("one", json!({"n": 5}), true).unwrap();
    c.check(expect![[r#"
        spec {"m":2,"n":5}
        one Apply  03: {"f:spec":{"f:n":{}}}
        before-first-apply Update  03: {"f:spec":{".":{},"f:m":{}}}"#]]);
}

#[test]
fn reset_fields_give_no_ownership() {
    let mut c = Cluster::new();
    let config =
        json!({"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "a", "labels": {"l": "1"}}, "spec": {"n": 1}, "status": {"n": 1}});
    c.apply_whole("one", config, false).unwrap();
    c.check(expect![[r#"
        spec {"n":1}
        one Apply  01: {"f:metadata":{"f:labels":{"f:l":{}}},"f:spec":{"f:n":{}}}"#]]);
    // Metadata that the applier leaves loses its labels, not its name.
    c.apply("one", json!({"n": 1}), false).unwrap();
    let metadata = &c.object.as_ref().unwrap()["metadata"];
    assert_eq!((&metadata["name"], metadata.get("labels")), (&json!("a"), None));
}

#[test]
fn kubectl_takes_over_from_client_side_apply() {
    let mut c = Cluster::new();
    let last = r#"{"apiVersion":"x.io/v1","kind":"Thing","metadata":{"name":"a"},"spec":{"n":1,"m":1}}"#;
    c.object = Some(
        json!({"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "a", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": last}}}),
    );
    c.write("kubectl-client-side-apply", "", |_, _| ());
    let mut created = c.object.take().unwrap();
    created["spec"] = json!({"n": 1, "m": 1});
    c.write("kubectl-client-side-apply", "", |_, write| track_update(None, &mut created, write));
    c.object = Some(created);
    c.update("other", "", json!({"n": 1, "m": 7}));
    assert_eq!(
        c.apply("kubectl", json!({"n": 2, "m": 2}), false).unwrap_err().message,
        r#"Apply failed with 1 conflict: conflict with "other" using x.io/v1: .spec.m"#
    );
    c.apply("kubectl", json!({"n": 2, "m": 7}), false).unwrap();
    let annotation = &c.object.as_ref().unwrap()["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(annotation, "{\"apiVersion\":\"x.io/v1\",\"kind\":\"Thing\",\"metadata\":{\"name\":\"a\"},\"spec\":{\"m\":7,\"n\":2}}\n");
}

#[test]
fn clients_may_forget_owners_but_not_lose_them() {
    let mut c = Cluster::new();
    c.update("create", "", json!({"n": 1}));
    c.object.as_mut().unwrap()["metadata"]["managedFields"] = json!("nonsense");
    let stored = json!([{"manager": "create", "operation": "Update", "apiVersion": "x.io/v1", "time": "2026-01-01T00:00:01Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:n": {}}}}]);
    let mut old = c.object.take().unwrap();
    old["metadata"]["uid"] = json!("1");
    let mut new = old.clone();
    old["metadata"]["managedFields"] = stored.clone();
    c.object = Some(old);
    c.write("edit", "", |old, write| track_update(old, &mut new, write));
    assert_eq!(new["metadata"]["managedFields"], stored);
    new["metadata"]["managedFields"] = json!([]);
    c.write("edit", "", |old, write| track_update(old, &mut new, write));
    assert_eq!(new["metadata"].get("managedFields"), None);
}

#[test]
fn configurations_are_checked() {
    let mut c = Cluster::new();
    let mut message = |spec| c.apply("one", spec, false).unwrap_err().message;
    let messages = [
        message(json!({"n": "1", "nope": 1})),
        message(json!({"list": [{"name": "a"}, {"name": "a"}]})),
        message(json!({"labels": {"a": 1}})),
        message(json!({"set": [{}]})),
    ];
    expect![[r#"
        failed to create typed patch object (/a; x.io/v1, Kind=Thing): errors:
          .spec.n: expected numeric (int or float), got string
          .spec.nope: field not declared in schema
        failed to create typed patch object (/a; x.io/v1, Kind=Thing): .spec.list: duplicate entries for key [name="a",proto="TCP"]
        failed to create typed patch object (/a; x.io/v1, Kind=Thing): .spec.labels.a: expected string, got &value.valueUnstructured{Value:1}
        failed to create typed patch object (/a; x.io/v1, Kind=Thing): .spec.set: element 0: associative list without keys has an element that's a map type"#]]
    .assert_eq(&messages.join("\n"));
    let whole = |config| Cluster::new().apply_whole("one", config, false).unwrap_err();
    assert_eq!(whole(json!({"apiVersion": "v1", "kind": "Pod"})).message, "invalid object type: /v1, Kind=Pod");
    assert_eq!(
        whole(json!({"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"managedFields": []}})).message,
        "metadata.managedFields must be nil"
    );
}

#[test]
fn unknown_types_merge_by_map_and_replace_lists() {
    let kind = GroupVersionKind::new("x.io", "v1", "Thing");
    let write = |manager| Write { kind: &kind, schema: TypeRef::unknown(), manager, subresource: "", now: "2026-01-01T00:00:00Z", reset_fields: &[] };
    let config = |spec| json!({"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec});
    let one = apply(None, config(json!({"a": {"b": 1}, "l": [1]})), false, &write("one")).unwrap();
    let two = apply(Some(&one), config(json!({"a": {"c": 1}})), false, &write("two")).unwrap();
    assert_eq!(two["spec"], json!({"a": {"b": 1, "c": 1}, "l": [1]}));
    assert!(apply(Some(&two), config(json!({"l": [2]})), false, &write("two")).unwrap_err().message.ends_with("\"one\": .spec.l"));
    let three = apply(Some(&two), config(json!({"l": [1]})), false, &write("one")).unwrap();
    assert_eq!(three["spec"], json!({"a": {"c": 1}, "l": [1]}));
}

/// A Deployment that kubectl made, a controller reports on, and somebody else then applies to.
#[test]
fn a_deployment_and_its_status() {
    let kind = GroupVersionKind::new("apps", "v1", "Deployment");
    let schema = crate::schema::builtin().for_kind(&kind).expect("a built-in kind");
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "hello", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}], "args": ["a"]}]}}}});
    let write = |manager, subresource, now| Write { kind: &kind, schema, manager, subresource, now, reset_fields: &[] };
    track_update(None, &mut object, &write("kubectl-create", "", "2026-01-01T00:00:01Z"));
    object["metadata"]["uid"] = json!("1");
    let mut reported = object.clone();
    reported["status"] = json!({"replicas": 1, "conditions": [{"type": "Available", "status": "False"}]});
    track_update(Some(&object), &mut reported, &write("controller", "status", "2026-01-01T00:00:02Z"));
    let mut again = reported.clone();
    again["status"]["conditions"][0]["status"] = json!("True");
    track_update(Some(&reported), &mut again, &write("controller", "status", "2026-01-01T00:00:03Z"));
    expect![[r#"
        [
          {
            "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
              "f:metadata": {
                "f:labels": {
                  ".": {},
                  "f:app": {}
                }
              },
              "f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:strategy": {
                  "f:rollingUpdate": {
                    ".": {},
                    "f:maxSurge": {},
                    "f:maxUnavailable": {}
                  },
                  "f:type": {}
                },
                "f:template": {
                  "f:metadata": {
                    "f:labels": {
                      ".": {},
                      "f:app": {}
                    }
                  },
                  "f:spec": {
                    "f:containers": {
                      "k:{\"name\":\"hello\"}": {
                        ".": {},
                        "f:args": {},
                        "f:image": {},
                        "f:name": {},
                        "f:ports": {
                          ".": {},
                          "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                            ".": {},
                            "f:containerPort": {},
                            "f:protocol": {}
                          }
                        },
                        "f:resources": {}
                      }
                    }
                  }
                }
              }
            },
            "manager": "kubectl-create",
            "operation": "Update",
            "time": "2026-01-01T00:00:01Z"
          },
          {
            "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
              "f:status": {
                "f:conditions": {
                  ".": {},
                  "k:{\"type\":\"Available\"}": {
                    ".": {},
                    "f:lastTransitionTime": {},
                    "f:lastUpdateTime": {},
                    "f:status": {},
                    "f:type": {}
                  }
                },
                "f:replicas": {}
              }
            },
            "manager": "controller",
            "operation": "Update",
            "subresource": "status",
            "time": "2026-01-01T00:00:03Z"
          }
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&again["metadata"]["managedFields"]).unwrap());

    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 3,
        "template": {"spec": {"containers": [{"name": "hello", "image": "i2", "ports": [{"containerPort": 80}]}]}}}});
    let conflict = apply(Some(&again), config.clone(), false, &write("me", "", "2026-01-01T00:00:04Z")).unwrap_err();
    expect![[r#"
        Apply failed with 2 conflicts: conflicts with "kubectl-create" using apps/v1:
        - .spec.replicas
        - .spec.template.spec.containers[name="hello"].image"#]]
    .assert_eq(&conflict.message);
    let applied = apply(Some(&again), config, true, &write("me", "", "2026-01-01T00:00:04Z")).unwrap();
    expect![[r#"
        {"containers":[{"args":["a"],"image":"i2","name":"hello","ports":[{"containerPort":80,"protocol":"TCP"}]}]}
        {"apiVersion":"apps/v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"hello\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}},"manager":"me","operation":"Apply","time":"2026-01-01T00:00:04Z"}"#]].assert_eq(&format!("{}\n{}", applied["spec"]["template"]["spec"], applied["metadata"]["managedFields"][0]));
}
