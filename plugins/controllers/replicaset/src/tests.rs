//! The controller natively, against a cluster in memory.

use expect_test::{Expect, expect};
use pintle_controller_common::resources::{PODS, REPLICA_SETS};
use pintle_sdk::controller::ApiError;
use pintle_sdk::testing::FakeCluster;
use serde_json::{Value, json};

use super::*;

fn cluster(replicas: i64) -> FakeCluster {
    let cluster = FakeCluster::new();
    cluster.add(
        REPLICA_SETS,
        json!({
            "metadata": {"name": "web", "namespace": "d", "generation": 1},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web"}}, "spec": {}}},
        }),
    );
    cluster
}

fn pod(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "d", "labels": labels}, "status": {"phase": "Running"}})
}

fn check(cluster: &FakeCluster, expected: Expect) {
    let outcome = cluster.reconcile(&mut ReplicaSetController, "d", "web");
    let mut text = cluster.take_actions();
    if let Err(failure) = outcome {
        text.push_str(&format!("\n{failure:?}"));
    }
    expected.assert_eq(&text);
}

#[test]
fn creates_what_is_missing_and_then_rests() {
    let cluster = cluster(2);
    check(
        &cluster,
        expect![[r#"
            create pods d/web-2
            event web Normal SuccessfulCreate: Created pod: web-2
            create pods d/web-3
            event web Normal SuccessfulCreate: Created pod: web-3
            status replicasets d/web"#]],
    );
    check(&cluster, expect![""]);
}

#[test]
fn deletes_the_pending_before_the_ready() {
    let cluster = cluster(1);
    cluster.reconcile(&mut ReplicaSetController, "d", "web").expect("works");
    let mut ready = pod("ready", json!({"app": "web"}));
    ready["spec"] = json!({"nodeName": "n"});
    ready["status"]["conditions"] = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2023-01-01T00:00:00Z"}]);
    cluster.add(PODS, ready);
    cluster.take_actions();
    check(
        &cluster,
        expect![[r#"
            patch pods d/ready {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web","uid":"uid-web"}],"resourceVersion":"4","uid":"uid-ready"}}
            delete pods d/web-2
            event web Normal SuccessfulDelete: Deleted pod: web-2
            status replicasets d/web"#]],
    );
}

#[test]
fn releases_a_pod_whose_label_changed() {
    let cluster = cluster(1);
    cluster.reconcile(&mut ReplicaSetController, "d", "web").expect("works");
    cluster.take_actions();
    cluster.change(PODS, "d", "web-2", |p| p["metadata"]["labels"]["app"] = json!("other"));
    check(
        &cluster,
        expect![[r#"
            patch pods d/web-2 {"metadata":{"ownerReferences":[],"resourceVersion":"4","uid":"uid-web-2"}}
            create pods d/web-6
            event web Normal SuccessfulCreate: Created pod: web-6"#]],
    );
}

#[test]
fn a_refusal_shows_as_a_condition() {
    let cluster = cluster(1);
    cluster.refuse("create pods", ApiError::Forbidden("exceeded quota".to_owned()));
    check(
        &cluster,
        expect![[r#"
            event web Warning FailedCreate: Error creating: exceeded quota
            status replicasets d/web
            Retry("exceeded quota")"#]],
    );
    let set = cluster.object(REPLICA_SETS, "d", "web").expect("is there");
    expect![[r#"[{"lastTransitionTime":"2023-11-14T22:13:20Z","message":"exceeded quota","reason":"FailedCreate","status":"True","type":"ReplicaFailure"}]"#]]
        .assert_eq(&set["status"]["conditions"].to_string());
}
