//! The controller natively, against a cluster in memory.

use expect_test::{Expect, expect};
use pintle_controller_common::resources::{DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS};
use pintle_sdk::testing::FakeCluster;
use serde_json::{Value, json};

use super::*;

fn cluster(spec: Value) -> FakeCluster {
    let cluster = FakeCluster::new();
    let mut whole = json!({"selector": {"matchLabels": {"app": "a"}}});
    whole.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
    cluster.add(POD_DISRUPTION_BUDGETS, json!({"metadata": {"name": "b", "namespace": "d", "generation": 1}, "spec": whole}));
    cluster
}

fn owner(kind: &str, name: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": format!("uid-{name}"), "controller": true}])
}

fn pod(cluster: &FakeCluster, name: &str, owners: Value, ready: bool) {
    let status = if ready { "True" } else { "False" };
    cluster.add(
        PODS,
        json!({"metadata": {"name": name, "namespace": "d", "labels": {"app": "a"}, "ownerReferences": owners},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}}),
    );
}

fn check(cluster: &FakeCluster, expected: Expect) {
    let outcome = cluster.reconcile(&mut DisruptionController, "d", "b");
    let budget = cluster.object(POD_DISRUPTION_BUDGETS, "d", "b").expect("is there");
    expected.assert_eq(&format!("{}\n{outcome:?} {}", cluster.take_actions(), budget["status"]));
}

#[test]
fn two_sets_of_one_deployment_count_once() {
    let cluster = cluster(json!({"maxUnavailable": "34%"}));
    cluster.add(DEPLOYMENTS, json!({"metadata": {"name": "web", "namespace": "d"}, "spec": {"replicas": 3}}));
    for (set, ready) in [("old", true), ("new", true)] {
        cluster.add(
            REPLICA_SETS,
            json!({"metadata": {"name": set, "namespace": "d", "ownerReferences": owner("Deployment", "web")}, "spec": {"replicas": 2}}),
        );
        pod(&cluster, &format!("{set}-1"), owner("ReplicaSet", set), ready);
    }
    check(
        &cluster,
        expect![[r#"
        status poddisruptionbudgets d/b
        Ok(None) {"conditions":[{"lastTransitionTime":"2023-11-14T22:13:20Z","message":"","observedGeneration":1,"reason":"SufficientPods","status":"True","type":"DisruptionAllowed"}],"currentHealthy":2,"desiredHealthy":1,"disruptionsAllowed":1,"expectedPods":3,"observedGeneration":1}"#]],
    );
    pod(&cluster, "new-2", owner("ReplicaSet", "new"), true);
    check(
        &cluster,
        expect![[r#"
        status poddisruptionbudgets d/b
        Ok(None) {"conditions":[{"lastTransitionTime":"2023-11-14T22:13:20Z","message":"","observedGeneration":1,"reason":"SufficientPods","status":"True","type":"DisruptionAllowed"}],"currentHealthy":3,"desiredHealthy":1,"disruptionsAllowed":2,"expectedPods":3,"observedGeneration":1}"#]],
    );
}

#[test]
fn an_eviction_under_way_counts_as_gone_for_two_minutes() {
    let cluster = cluster(json!({"minAvailable": 1}));
    pod(&cluster, "p", json!([]), true);
    pod(&cluster, "q", json!([]), true);
    let now = cluster.now_rfc3339();
    cluster.change(POD_DISRUPTION_BUDGETS, "d", "b", |b| b["status"] = json!({"disruptedPods": {"p": now, "gone": now}}));
    check(
        &cluster,
        expect![[r#"
        status poddisruptionbudgets d/b
        Ok(Some(121s)) {"conditions":[{"lastTransitionTime":"2023-11-14T22:13:20Z","message":"","observedGeneration":1,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"currentHealthy":1,"desiredHealthy":1,"disruptedPods":{"p":"2023-11-14T22:13:20Z"},"disruptionsAllowed":0,"expectedPods":2,"observedGeneration":1}"#]],
    );
    cluster.pass_seconds(121);
    check(
        &cluster,
        expect![[r#"
        event p Warning NotDeleted: Pod was expected by PDB d/b to be deleted but it wasn't
        status poddisruptionbudgets d/b
        Ok(None) {"conditions":[{"lastTransitionTime":"2023-11-14T22:15:21Z","message":"","observedGeneration":1,"reason":"SufficientPods","status":"True","type":"DisruptionAllowed"}],"currentHealthy":2,"desiredHealthy":1,"disruptionsAllowed":1,"expectedPods":2,"observedGeneration":1}"#]],
    );
}

#[test]
fn what_cannot_be_counted_may_not_go() {
    let cluster = cluster(json!({"maxUnavailable": 1}));
    check(
        &cluster,
        expect![[r#"
        event b Normal NoPods: No matching pods found
        status poddisruptionbudgets d/b
        Ok(None) {"conditions":[{"lastTransitionTime":"2023-11-14T22:13:20Z","message":"","observedGeneration":1,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"currentHealthy":0,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0,"observedGeneration":1}"#]],
    );
    pod(&cluster, "p", json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": true}]), true);
    check(
        &cluster,
        expect![[r#"
        event b Warning CalculateExpectedPodCountFailed: Failed to calculate the number of expected pods: jobs.batch does not implement the scale subresource
        status poddisruptionbudgets d/b
        Err(Retry("jobs.batch does not implement the scale subresource")) {"conditions":[{"lastTransitionTime":"2023-11-14T22:13:20Z","message":"jobs.batch does not implement the scale subresource","observedGeneration":1,"reason":"SyncFailed","status":"False","type":"DisruptionAllowed"}],"currentHealthy":0,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0,"observedGeneration":1}"#]],
    );
}

#[test]
fn a_budget_is_asked_for_when_its_pods_change() {
    let cluster = cluster(json!({"minAvailable": 1}));
    for (name, ready) in [("p", false), ("q", true)] {
        pod(&cluster, name, owner("ReplicaSet", "r"), ready);
    }
    let (unready, mut ready) = (cluster.object(PODS, "d", "p").expect("is there"), cluster.object(PODS, "d", "q").expect("is there"));
    ready["metadata"]["name"] = json!("p");
    let mut adopted = ready.clone();
    adopted["metadata"]["ownerReferences"] = owner("ReplicaSet", "other");
    let mut started = ready.clone();
    started["status"]["startTime"] = json!("2023-01-01T00:00:00Z");
    let check = |before: Option<&Value>, after: Option<&Value>, expected: &[&str]| {
        let keys = cluster.route(&mut DisruptionController, 1, before, after);
        assert_eq!(keys.iter().map(|key| &*key.name).collect::<Vec<_>>(), expected, "{before:?} {after:?}");
    };
    check(None, Some(&unready), &["b"]);
    check(Some(&unready), Some(&ready), &["b"]);
    check(Some(&ready), Some(&adopted), &["b"]);
    check(Some(&ready), Some(&started), &[]);
    check(Some(&ready), None, &["b"]);
}
