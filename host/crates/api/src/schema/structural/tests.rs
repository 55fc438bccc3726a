//! What structural schemas refuse, prune and default, told on one sample definition.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{Structural, oversized_patterns};
use crate::Cause;
use crate::schema::kinds::{ListKind, MapKind};

const PATH: &str = "spec.validation.openAPIV3Schema";

fn sample() -> Structural {
    let schema = json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["cron"],
                "properties": {
                    "cron": {"type": "string", "pattern": "^[0-9* ]+$", "maxLength": 20},
                    "replicas": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 5, "default": 2},
                    "mode": {"type": "string", "enum": ["fast", "slow"]},
                    "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                    "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": {"type": "object"}}},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "maybe": {"type": "string", "nullable": true},
                    "hosts": {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "set", "items": {"type": "string", "format": "ipv4"}},
                    "ports": {
                        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "protocol"],
                        "items": {"type": "object", "required": ["name"], "properties": {
                            "name": {"type": "string"}, "protocol": {"type": "string", "default": "TCP"}, "number": {"type": "integer"},
                        }},
                    },
                    "either": {
                        "type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                    },
                },
            },
            "status": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"phase": {"type": "string"}}},
        },
    });
    Structural::from_json(&schema, PATH).unwrap()
}

fn shown(causes: &[Cause]) -> String {
    causes.iter().map(|cause| format!("{}: {}\n", cause.field, cause.message)).collect()
}

fn check(spec: Value, expected: Expect) {
    expected.assert_eq(&shown(&sample().validate(&json!({"spec": spec}))));
}

#[test]
fn faults_read_as_upstreams() {
    check(json!({"cron": "* *", "replicas": 3.0, "port": "http", "maybe": null, "either": {"a": "x"}, "hosts": ["1.2.3.4"]}), expect![""]);
    check(
        json!({"cron": "every day, at noon and at night", "replicas": 0, "mode": "odd", "port": 1.5, "labels": {"a": 1}, "hosts": "x"}),
        expect![[r#"
            spec.cron: Too long: may not be more than 20 bytes
            spec.hosts: Invalid value: "string": spec.hosts in body must be of type array: "string"
            spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer"
            spec.mode: Unsupported value: "odd": supported values: "fast", "slow"
            spec.port: Invalid value: "number": spec.port in body must be of type integer,string: "number"
            <nil>: Invalid value: "": "spec.port" must validate at least one schema (anyOf)
            spec.port: Invalid value: "number": spec.port in body must be of type integer: "number"
            spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1
        "#]],
    );
    check(
        json!({"replicas": "many", "hosts": ["1.2.3.4", "1.2.3.4", "nowhere"], "ports": [{"name": "a"}, {"name": "b"}, {"name": "a"}], "either": {"a": "1", "b": "2"}}),
        expect![[r#"
            <nil>: Invalid value: "": "spec.either" must validate one and only one schema (oneOf). Found 2 valid alternatives
            spec.hosts: Too many: 3: must have at most 2 items
            spec.hosts[1]: Duplicate value: "1.2.3.4"
            spec.hosts[2]: Invalid value: "nowhere": spec.hosts[2] in body must be of type ipv4: "nowhere"
            spec.ports[2]: Duplicate value: {"name":"a"}
            spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"
            spec.cron: Required value
        "#]],
    );
    check(
        json!({"cron": "noon"}),
        expect![[r#"
        spec.cron: Invalid value: "noon": spec.cron in body should match '^[0-9* ]+$'
    "#]],
    );
}

#[test]
fn an_update_is_judged_by_what_it_changes() {
    let old = json!({"spec": {"cron": "noon", "replicas": 9, "ports": [{"name": 1}, {"name": "b", "number": "x"}]}});
    let mut new = old.clone();
    new["spec"]["ports"].as_array_mut().unwrap().remove(0);
    new["spec"]["replicas"] = 8.into();
    expect![[r#"
        spec.replicas: Invalid value: 8: spec.replicas in body should be less than or equal to 5
    "#]]
    .assert_eq(&shown(&sample().validate_update(&new, &old)));
}

#[test]
fn pruning_and_defaulting_shape_an_object() {
    let mut object = json!({
        "apiVersion": "a/v1", "kind": "Cron", "metadata": {"name": "x", "wrong": 1}, "extra": 1,
        "spec": {"cron": "*", "replicas": null, "mode": null, "maybe": null, "labels": {"free": "x"},
                 "open": {"any": {"thing": 1}, "known": {"not": 1}}, "ports": [{"name": "a", "bad": 1}]},
    });
    let findings = sample().prune(&mut object);
    assert_eq!(findings.unknown, ["extra", "metadata.wrong", "spec.open.known.not", "spec.ports[0].bad"]);
    sample().default(&mut object);
    expect![[r#"{"apiVersion":"a/v1","kind":"Cron","metadata":{"name":"x"},"spec":{"cron":"*","labels":{"free":"x"},"maybe":null,"open":{"any":{"thing":1},"known":{}},"ports":[{"name":"a","protocol":"TCP"}],"replicas":2}}"#]]
        .assert_eq(&object.to_string());
}

#[test]
fn patches_find_types_and_keys() {
    let sample = sample();
    let root = sample.type_ref();
    let ports = root.field("spec").unwrap().field("ports").unwrap();
    assert_eq!(ports.list_kind(), &ListKind::Map { keys: ["name".into(), "protocol".into()].into() });
    assert_eq!(ports.items().unwrap().field("protocol").unwrap().default_value(), Some(&"TCP".into()));
    assert_eq!(root.field("status").unwrap().map_kind(), MapKind::Atomic);
    assert_eq!(root.field("metadata").unwrap().field("finalizers").unwrap().list_kind(), &ListKind::Set);
    assert!(root.field("spec").unwrap().field("open").unwrap().child("anything").unwrap().is_unknown());
}

#[test]
fn what_is_not_structural_is_refused() {
    let schema = json!({
        "type": "object",
        "properties": {
            "a": {},
            "b": {"type": "array"},
            "c": {"type": "string", "pattern": "(", "anyOf": [{"type": "string", "description": "x"}]},
            "d": {"type": "text"},
            "e": {"type": "integer", "default": "one"},
            "f": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "l"],
                  "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
            "metadata": {"type": "object", "properties": {"labels": {"type": "object"}}},
        },
        "anyOf": [{"required": ["a"], "properties": {"missing": {"minLength": 1}}}],
    });
    let causes = Structural::from_json(&schema, "schema").unwrap_err();
    expect![[r#"
        schema.properties[a].type: Required value: must not be empty for specified object fields
        schema.properties[b].items: Required value: must be specified
        schema.properties[c].anyOf[0].description: Forbidden: must be empty to be structural
        schema.properties[c].anyOf[0].type: Forbidden: must be empty to be structural
        schema.properties[c].pattern: Invalid value: "(": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`
        schema.properties[d].type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"
        schema.properties[e].default: Invalid value: "string":  in body must be of type integer: "string"
        schema.properties[f].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property
        schema.properties[f].x-kubernetes-list-map-keys: Invalid value: ["k","l"]: entries must all be names of item properties
        schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified
    "#]].assert_eq(&shown(&causes));
}

#[test]
fn patterns_repeat_letters_of_any_script() {
    let schema = |pattern: &str| json!({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}});
    let names = Structural::from_json(&schema(r"^\p{L}{1,253}$"), "schema").unwrap();
    assert_eq!(names.validate(&json!({"a": "имя"})).len(), 0);
    assert_eq!(names.validate(&json!({"a": "a name"})).len(), 1);
    assert!(oversized_patterns(&schema(r"^\p{L}{1,253}$"), "schema").is_empty());
    let large = schema(r"^\p{L}{1,1000}$");
    assert!(Structural::from_json(&large, "schema").is_ok(), "what is there already is served");
    expect![[r#"
        schema.properties[a].pattern: Invalid value: "^\\p{L}{1,1000}$": must be a smaller regular expression: compiled, it takes more than 16 MiB
    "#]]
    .assert_eq(&shown(&oversized_patterns(&large, "schema")));
}
