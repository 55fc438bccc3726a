//! The controller natively, against a cluster in memory.

use expect_test::{Expect, expect};
use pintle_controller_common::resources::{PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS};
use pintle_sdk::testing::FakeCluster;
use serde_json::{Value, json};

use super::*;

fn cluster(replicas: i64, spec: Value) -> FakeCluster {
    let cluster = FakeCluster::new();
    let mut whole = json!({"replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "s"}}, "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "template": {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}});
    whole.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
    cluster.add(STATEFUL_SETS, json!({"metadata": {"name": "s", "namespace": "d", "generation": 1}, "spec": whole}));
    cluster
}

fn make_ready(cluster: &FakeCluster, name: &str, ready: bool) {
    let word = if ready { "True" } else { "False" };
    cluster.change(PODS, "d", name, |p| {
        p["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": word, "lastTransitionTime": "2023-01-01T00:00:00Z"}]});
    });
}

fn make_all_ready(cluster: &FakeCluster) {
    for pod in cluster.all(PODS) {
        make_ready(cluster, pod.name(), true);
    }
}

fn shown(cluster: &FakeCluster) -> String {
    let pod = |p: &Value| format!("{}={}", p.name(), p["spec"]["containers"][0]["image"].as_str().unwrap_or_default());
    cluster.all(PODS).iter().map(pod).collect::<Vec<_>>().join(" ")
}

fn step(cluster: &FakeCluster) -> String {
    let outcome = cluster.reconcile(&mut StatefulSetController, "d", "s");
    let acts = cluster.take_actions();
    let mut text: Vec<String> = acts.lines().filter(|l| !l.starts_with("event") && !l.starts_with("status")).map(str::to_owned).collect();
    if !matches!(outcome, Ok(None)) {
        text.push(format!("{outcome:?}"));
    }
    let mut status = cluster.object(STATEFUL_SETS, "d", "s").expect("is there")["status"].clone();
    for field in ["observedGeneration", "collisionCount"] {
        status.as_object_mut().expect("an object").remove(field);
    }
    text.push(format!("[{}] {status}", shown(cluster)));
    text.join("\n")
}

fn check(cluster: &FakeCluster, expected: Expect) {
    expected.assert_eq(&step(cluster));
}

#[test]
fn pods_come_one_after_the_other_and_go_backwards() {
    let cluster = cluster(3, json!({}));
    check(
        &cluster,
        expect![[r#"
        create controllerrevisions d/s-7ff4c4bb55
        create pods d/s-0
        [s-0=v1] {"availableReplicas":0,"currentReplicas":1,"currentRevision":"s-7ff4c4bb55","replicas":1,"updateRevision":"s-7ff4c4bb55","updatedReplicas":1}"#]],
    );
    check(
        &cluster,
        expect![[
            r#"[s-0=v1] {"availableReplicas":0,"currentReplicas":1,"currentRevision":"s-7ff4c4bb55","replicas":1,"updateRevision":"s-7ff4c4bb55","updatedReplicas":1}"#
        ]],
    );
    make_all_ready(&cluster);
    check(
        &cluster,
        expect![[r#"
        create pods d/s-1
        [s-0=v1 s-1=v1] {"availableReplicas":1,"currentReplicas":2,"currentRevision":"s-7ff4c4bb55","readyReplicas":1,"replicas":2,"updateRevision":"s-7ff4c4bb55","updatedReplicas":2}"#]],
    );
    make_all_ready(&cluster);
    step(&cluster);
    make_all_ready(&cluster);
    // A sick pod halts the way down.
    make_ready(&cluster, "s-0", false);
    cluster.change(STATEFUL_SETS, "d", "s", |s| s["spec"]["replicas"] = json!(1));
    check(
        &cluster,
        expect![[
            r#"[s-0=v1 s-1=v1 s-2=v1] {"availableReplicas":2,"currentReplicas":3,"currentRevision":"s-7ff4c4bb55","readyReplicas":2,"replicas":3,"updateRevision":"s-7ff4c4bb55","updatedReplicas":3}"#
        ]],
    );
    make_ready(&cluster, "s-0", true);
    check(
        &cluster,
        expect![[r#"
        delete pods d/s-2
        [s-0=v1 s-1=v1] {"availableReplicas":2,"currentReplicas":2,"currentRevision":"s-7ff4c4bb55","readyReplicas":2,"replicas":2,"updateRevision":"s-7ff4c4bb55","updatedReplicas":2}"#]],
    );
    check(
        &cluster,
        expect![[r#"
        delete pods d/s-1
        [s-0=v1] {"availableReplicas":1,"currentReplicas":1,"currentRevision":"s-7ff4c4bb55","readyReplicas":1,"replicas":1,"updateRevision":"s-7ff4c4bb55","updatedReplicas":1}"#]],
    );
}

#[test]
fn a_pod_has_a_name_a_host_and_a_claim() {
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
    let cluster = cluster(
        1,
        json!({"ordinals": {"start": 4}, "volumeClaimTemplates": [claim],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"}}),
    );
    check(
        &cluster,
        expect![[r#"
        create controllerrevisions d/s-7ff4c4bb55
        create persistentvolumeclaims d/data-s-4
        create pods d/s-4
        update persistentvolumeclaims d/data-s-4
        [s-4=v1] {"availableReplicas":0,"currentReplicas":1,"currentRevision":"s-7ff4c4bb55","replicas":1,"updateRevision":"s-7ff4c4bb55","updatedReplicas":1}"#]],
    );
    let pod = cluster.all(PODS).remove(0);
    expect![[r#"{"app":"s","apps.kubernetes.io/pod-index":"4","controller-revision-hash":"s-7ff4c4bb55","statefulset.kubernetes.io/pod-name":"s-4"} {"containers":[{"image":"v1","name":"c"}],"hostname":"s-4","subdomain":"db","volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"data-s-4"}}]}"#]].assert_eq(&format!("{} {}", pod["metadata"]["labels"], pod["spec"]));
    let owners = || {
        cluster
            .all(PERSISTENT_VOLUME_CLAIMS)
            .iter()
            .map(|c| format!("{} {}", c["metadata"]["labels"], c["metadata"]["ownerReferences"][0]["name"]))
            .collect::<Vec<_>>()
            .join("\n")
    };
    expect![[r#"{"app":"s"} "s""#]].assert_eq(&owners());
    make_all_ready(&cluster);
    cluster.change(STATEFUL_SETS, "d", "s", |s| s["spec"]["replicas"] = json!(0));
    check(
        &cluster,
        expect![[r#"
        update persistentvolumeclaims d/data-s-4
        delete pods d/s-4
        [] {"availableReplicas":0,"currentRevision":"s-7ff4c4bb55","replicas":0,"updateRevision":"s-7ff4c4bb55"}"#]],
    );
    expect![[r#"{"app":"s"} "s-4""#]].assert_eq(&owners());
}

#[test]
fn a_new_template_rolls_down_to_the_partition() {
    let cluster = cluster(3, json!({"podManagementPolicy": "Parallel"}));
    check(
        &cluster,
        expect![[r#"
        create controllerrevisions d/s-7ff4c4bb55
        create pods d/s-0
        create pods d/s-1
        create pods d/s-2
        [s-0=v1 s-1=v1 s-2=v1] {"availableReplicas":0,"currentReplicas":3,"currentRevision":"s-7ff4c4bb55","replicas":3,"updateRevision":"s-7ff4c4bb55","updatedReplicas":3}"#]],
    );
    make_all_ready(&cluster);
    step(&cluster);
    cluster.change(STATEFUL_SETS, "d", "s", |s| {
        s["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        s["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(1);
    });
    let mut seen = Vec::new();
    for _ in 0..5 {
        step(&cluster);
        seen.push(shown(&cluster));
        make_all_ready(&cluster);
    }
    expect![[r#"
        s-0=v1 s-1=v1
        s-0=v1 s-1=v1 s-2=v2
        s-0=v1 s-2=v2
        s-0=v1 s-1=v2 s-2=v2
        s-0=v1 s-1=v2 s-2=v2"#]]
    .assert_eq(&seen.join("\n"));
    check(
        &cluster,
        expect![[
            r#"[s-0=v1 s-1=v2 s-2=v2] {"availableReplicas":3,"currentReplicas":1,"currentRevision":"s-7ff4c4bb55","readyReplicas":3,"replicas":3,"updateRevision":"s-5f88d6898","updatedReplicas":2}"#
        ]],
    );
    // A pod below the partition comes back as it was.
    cluster.remove(PODS, "d", "s-0");
    step(&cluster);
    make_all_ready(&cluster);
    cluster.change(STATEFUL_SETS, "d", "s", |s| s["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(0));
    check(
        &cluster,
        expect![[r#"
        delete pods d/s-0
        [s-1=v2 s-2=v2] {"availableReplicas":2,"currentRevision":"s-7ff4c4bb55","readyReplicas":2,"replicas":2,"updateRevision":"s-5f88d6898","updatedReplicas":2}"#]],
    );
    step(&cluster);
    make_all_ready(&cluster);
    check(
        &cluster,
        expect![[
            r#"[s-0=v2 s-1=v2 s-2=v2] {"availableReplicas":3,"currentReplicas":3,"currentRevision":"s-5f88d6898","readyReplicas":3,"replicas":3,"updateRevision":"s-5f88d6898","updatedReplicas":3}"#
        ]],
    );
}

#[test]
fn a_failed_pod_is_made_again_and_strangers_are_left_alone() {
    let cluster = cluster(1, json!({}));
    cluster.add(PODS, json!({"metadata": {"name": "other-0", "namespace": "d", "labels": {"app": "s"}}}));
    step(&cluster);
    cluster.change(PODS, "d", "s-0", |p| p["status"]["phase"] = json!("Failed"));
    check(
        &cluster,
        expect![[r#"
        delete pods d/s-0
        [other-0=] {"availableReplicas":0,"currentRevision":"s-7ff4c4bb55","replicas":0,"updateRevision":"s-7ff4c4bb55"}"#]],
    );
    check(
        &cluster,
        expect![[r#"
        create pods d/s-0
        [other-0= s-0=v1] {"availableReplicas":0,"currentReplicas":1,"currentRevision":"s-7ff4c4bb55","replicas":1,"updateRevision":"s-7ff4c4bb55","updatedReplicas":1}"#]],
    );
}
