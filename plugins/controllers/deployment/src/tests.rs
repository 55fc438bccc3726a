//! The controller natively, against a cluster in memory.

use expect_test::{Expect, expect};
use pintle_controller_common::resources::{DEPLOYMENTS, REPLICA_SETS};
use pintle_sdk::testing::FakeCluster;
use serde_json::json;

use super::*;

fn cluster(replicas: i64) -> FakeCluster {
    let cluster = FakeCluster::new();
    cluster.add(
        DEPLOYMENTS,
        json!({
            "metadata": {"name": "web", "namespace": "d", "generation": 1},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600,
                     "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
                     "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}},
        }),
    );
    cluster
}

/// Every set has its pods at once.
fn satisfy(cluster: &FakeCluster) {
    for set in cluster.all(REPLICA_SETS) {
        let replicas = set["spec"]["replicas"].clone();
        cluster.change(REPLICA_SETS, "d", set.name(), |s| {
            s["status"] = json!({"replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas});
        });
    }
}

fn check(cluster: &FakeCluster, expected: Expect) {
    let outcome = cluster.reconcile(&mut DeploymentController, "d", "web");
    let mut text: Vec<String> = cluster.take_actions().lines().map(str::to_owned).collect();
    if let Err(failure) = outcome {
        text.push(format!("{failure:?}"));
    }
    let sizes = cluster
        .all(REPLICA_SETS)
        .iter()
        .map(|s| format!("{}={}", s.annotation("deployment.kubernetes.io/revision"), s["spec"]["replicas"]))
        .collect::<Vec<_>>();
    text.push(format!("revisions: {}", sizes.join(" ")));
    expected.assert_eq(&text.join("\n"));
}

#[test]
fn a_new_deployment_makes_a_set_and_completes() {
    let cluster = cluster(3);
    check(
        &cluster,
        expect![[r#"
            create replicasets d/web-548df6b887
            event web Normal ScalingReplicaSet: Scaled up replica set web-548df6b887 from 0 to 3
            update deployments d/web
            status deployments d/web
            revisions: 1=3"#]],
    );
    satisfy(&cluster);
    check(
        &cluster,
        expect![[r#"
        status deployments d/web
        revisions: 1=3"#]],
    );
}

#[test]
fn a_changed_template_rolls_within_the_limits() {
    let cluster = cluster(3);
    for _ in 0..2 {
        cluster.reconcile(&mut DeploymentController, "d", "web").expect("works");
        satisfy(&cluster);
    }
    cluster.change(DEPLOYMENTS, "d", "web", |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    cluster.take_actions();
    let mut sizes = Vec::new();
    for _ in 0..8 {
        cluster.reconcile(&mut DeploymentController, "d", "web").expect("works");
        let mut now: Vec<String> = cluster
            .all(REPLICA_SETS)
            .iter()
            .map(|s| format!("{}:{}", s.annotation("deployment.kubernetes.io/revision"), s["spec"]["replicas"]))
            .collect();
        now.sort();
        sizes.push(now.join(" "));
        satisfy(&cluster);
    }
    expect![[r#"
        1:2 2:1
        1:2 2:2
        1:0 2:2
        1:0 2:3
        1:0 2:3
        1:0 2:3
        1:0 2:3
        1:0 2:3"#]]
    .assert_eq(&sizes.join("\n"));
}

#[test]
fn a_resize_while_rolling_is_shared() {
    let cluster = cluster(10);
    cluster.reconcile(&mut DeploymentController, "d", "web").expect("works");
    satisfy(&cluster);
    cluster.change(DEPLOYMENTS, "d", "web", |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    for _ in 0..3 {
        cluster.reconcile(&mut DeploymentController, "d", "web").expect("works");
    }
    cluster.change(DEPLOYMENTS, "d", "web", |d| d["spec"]["replicas"] = json!(30));
    cluster.take_actions();
    check(
        &cluster,
        expect![[r#"
        update replicasets d/web-548df6b887
        event web Normal ScalingReplicaSet: Scaled up replica set web-548df6b887 from 9 to 25
        update replicasets d/web-756f99f4f8
        event web Normal ScalingReplicaSet: Scaled up replica set web-756f99f4f8 from 2 to 6
        status deployments d/web
        revisions: 1=25 2=6"#]],
    );
}
