//! What upstream refuses, or lets through, in ways of its own.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{create_faults, update_faults};
use crate::registry::Part;

fn check(resource: &str, object: Value, expected: Expect) {
    expected.assert_eq(&create_faults(resource, object));
}

fn check_change(resource: &str, object: Value, change: impl FnOnce(&mut Value), expected: Expect) {
    expected.assert_eq(&update_faults(resource, object, Part::Main, change));
}

#[test]
fn some_kinds_are_looked_at_twice_on_updates() {
    let volume = json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}});
    check_change("persistentvolumes", volume, |v| v["spec"]["persistentVolumeReclaimPolicy"] = "x".into(), expect![[r#"
        spec.persistentVolumeReclaimPolicy: Unsupported value: "x": supported values: "Delete", "Recycle", "Retain"
        spec.persistentVolumeReclaimPolicy: Unsupported value: "x": supported values: "Delete", "Recycle", "Retain""#]]);
    check_change("nodes", json!({}), |n| n["spec"]["taints"] = json!([{"key": "k", "effect": "x"}]), expect![[r#"
        metadata.taints[0].effect: Unsupported value: "x": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
        metadata.taints[0].effect: Unsupported value: "x": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#]]);
}

#[test]
fn metrics_may_be_of_objects_of_the_core_group() {
    let scaler = |version: &str, kind: &str| {
        let metric = json!({"type": "Object", "object": {"describedObject": {"apiVersion": version, "kind": kind, "name": "n"},
            "metric": {"name": "m"}, "target": {"type": "Value", "value": 1}}});
        json!({"spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": version, "kind": kind, "name": "n"}, "metrics": [metric]}})
    };
    check("autoscaling/horizontalpodautoscalers", scaler("v1", "Service"), expect![[r#"spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group"#]]);
    check("autoscaling/horizontalpodautoscalers", scaler("", "ReplicationController"), expect![[""]]);
}
