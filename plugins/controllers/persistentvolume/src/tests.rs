//! The controller natively, against a cluster in memory.

use expect_test::{Expect, expect};
use pintle_controller_common::resources::NODES;
use pintle_sdk::testing::FakeCluster;

use super::*;

const CLAIMS: Resource = PERSISTENT_VOLUME_CLAIMS;
const VOLUMES: Resource = PERSISTENT_VOLUMES;

/// Reconciles claims and volumes until nothing is left to do, and tells what was done and how they stand.
fn check(cluster: &FakeCluster, expected: Expect) {
    let mut text = String::new();
    for _ in 0..5 {
        for object in [cluster.all(CLAIMS), cluster.all(VOLUMES)].concat() {
            cluster.reconcile(&mut VolumeController, object.namespace(), object.name()).expect("works");
        }
        let done = cluster.take_actions();
        if done.is_empty() {
            break;
        }
        for line in done.lines().filter(|line| line.starts_with("event")) {
            if !text.contains(line) {
                text.push_str(&format!("{line}\n"));
            }
        }
        if !done.lines().any(|line| !line.starts_with("event")) {
            break;
        }
    }
    for claim in cluster.all(CLAIMS) {
        let (status, finalizers) = (&claim["status"], &claim["metadata"]["finalizers"]);
        text.push_str(&format!("{} {} {status} {finalizers}\n", claim.name(), claim["spec"]["volumeName"]));
    }
    for volume in cluster.all(VOLUMES) {
        let owner = volume["spec"]["claimRef"]["name"].as_str().unwrap_or("nobody");
        text.push_str(&format!("{} of {owner}: {} {}\n", volume.name(), volume["status"], volume["metadata"]["finalizers"]));
    }
    expected.assert_eq(&text);
}

fn volume(cluster: &FakeCluster, name: &str, size: &str, more: Value) {
    let mut volume = json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain"}, "status": {"phase": "Pending"}});
    merge(&mut volume, more);
    cluster.add(VOLUMES, volume);
}

fn claim(cluster: &FakeCluster, name: &str, size: &str, more: Value) {
    let mut claim = json!({"metadata": {"name": name, "namespace": "d"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}}}, "status": {"phase": "Pending"}});
    merge(&mut claim, more);
    cluster.add(CLAIMS, claim);
}

fn merge(into: &mut Value, more: Value) {
    match more {
        Value::Object(members) => members.into_iter().for_each(|(name, value)| merge(&mut into[name], value)),
        other => *into = other,
    }
}

#[test]
fn a_claim_takes_the_smallest_volume_that_fits() {
    let cluster = FakeCluster::new();
    volume(&cluster, "big", "10Gi", json!({}));
    volume(&cluster, "small", "1Gi", json!({}));
    volume(&cluster, "tiny", "100Mi", json!({}));
    volume(&cluster, "other", "1Gi", json!({"spec": {"storageClassName": "fast"}}));
    volume(&cluster, "block", "1Gi", json!({"spec": {"volumeMode": "Block"}}));
    cluster.all(VOLUMES).iter().for_each(|v| drop(cluster.reconcile(&mut VolumeController, "", v.name())));
    claim(&cluster, "data", "1073741824", json!({}));
    check(
        &cluster,
        expect![[r#"
        data "small" {"accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"},"phase":"Bound"} ["kubernetes.io/pvc-protection"]
        big of nobody: {"phase":"Available"} ["kubernetes.io/pv-protection"]
        block of nobody: {"phase":"Available"} ["kubernetes.io/pv-protection"]
        other of nobody: {"phase":"Available"} ["kubernetes.io/pv-protection"]
        small of data: {"phase":"Bound"} ["kubernetes.io/pv-protection"]
        tiny of nobody: {"phase":"Available"} ["kubernetes.io/pv-protection"]
    "#]],
    );
}

#[test]
fn a_claim_says_what_it_waits_for() {
    let cluster = FakeCluster::new();
    cluster.add(
        STORAGE_CLASSES,
        json!({"metadata": {"name": "late"}, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}),
    );
    cluster.add(STORAGE_CLASSES, json!({"metadata": {"name": "made"}, "provisioner": "example.com/maker", "volumeBindingMode": "Immediate"}));
    claim(&cluster, "plain", "1Gi", json!({}));
    claim(&cluster, "nowhere", "1Gi", json!({"spec": {"storageClassName": "none"}}));
    claim(&cluster, "later", "1Gi", json!({"spec": {"storageClassName": "late"}}));
    claim(&cluster, "provided", "1Gi", json!({"spec": {"storageClassName": "made"}}));
    check(
        &cluster,
        expect![[r#"
        event later Normal WaitForFirstConsumer: waiting for first consumer to be created before binding
        event nowhere Warning ProvisioningFailed: storageclass.storage.k8s.io "none" not found
        event plain Normal FailedBinding: no persistent volumes available for this claim and no storage class is set
        event provided Normal ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'example.com/maker' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.
        later null {"phase":"Pending"} ["kubernetes.io/pvc-protection"]
        nowhere null {"phase":"Pending"} ["kubernetes.io/pvc-protection"]
        plain null {"phase":"Pending"} ["kubernetes.io/pvc-protection"]
        provided null {"phase":"Pending"} ["kubernetes.io/pvc-protection"]
    "#]],
    );
    assert_eq!(cluster.object(CLAIMS, "d", "provided").unwrap().annotation("volume.kubernetes.io/storage-provisioner"), "example.com/maker");
}

#[test]
fn a_claim_whose_consumer_has_a_node_takes_what_that_node_reaches() {
    let cluster = FakeCluster::new();
    cluster.add(
        STORAGE_CLASSES,
        json!({"metadata": {"name": "local"}, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}),
    );
    cluster.add(NODES, json!({"metadata": {"name": "n2", "labels": {"kubernetes.io/hostname": "n2"}}}));
    for node in ["n1", "n2"] {
        let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
        volume(&cluster, node, "1Gi", json!({"spec": {"storageClassName": "local", "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}));
        cluster.reconcile(&mut VolumeController, "", node).unwrap();
    }
    claim(
        &cluster,
        "data",
        "1Gi",
        json!({"spec": {"storageClassName": "local"}, "metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n2"}}}),
    );
    check(
        &cluster,
        expect![[r#"
        data "n2" {"accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"},"phase":"Bound"} ["kubernetes.io/pvc-protection"]
        n1 of nobody: {"phase":"Available"} ["kubernetes.io/pv-protection"]
        n2 of data: {"phase":"Bound"} ["kubernetes.io/pv-protection"]
    "#]],
    );
}

#[test]
fn what_is_meant_for_one_another_is_bound_and_nothing_else() {
    let cluster = FakeCluster::new();
    volume(&cluster, "meant", "5Gi", json!({"spec": {"claimRef": {"namespace": "d", "name": "chosen"}}}));
    volume(&cluster, "named", "5Gi", json!({"spec": {"storageClassName": "x"}}));
    volume(&cluster, "another", "5Gi", json!({}));
    claim(&cluster, "chosen", "1Gi", json!({}));
    claim(&cluster, "by-name", "1Gi", json!({"spec": {"volumeName": "named", "storageClassName": "x"}}));
    claim(&cluster, "greedy", "6Gi", json!({"spec": {"volumeName": "another"}}));
    claim(&cluster, "late", "1Gi", json!({"spec": {"volumeName": "meant"}}));
    check(
        &cluster,
        expect![[r#"
        event greedy Warning VolumeMismatch: Cannot bind to requested volume "another": requested PV is too small
        event late Warning FailedBinding: volume "meant" already bound to a different claim.
        by-name "named" {"accessModes":["ReadWriteOnce"],"capacity":{"storage":"5Gi"},"phase":"Bound"} ["kubernetes.io/pvc-protection"]
        chosen "meant" {"accessModes":["ReadWriteOnce"],"capacity":{"storage":"5Gi"},"phase":"Bound"} ["kubernetes.io/pvc-protection"]
        greedy "another" {"phase":"Pending"} ["kubernetes.io/pvc-protection"]
        late "meant" {"phase":"Pending"} ["kubernetes.io/pvc-protection"]
        another of nobody: {"phase":"Available"} ["kubernetes.io/pv-protection"]
        meant of chosen: {"phase":"Bound"} ["kubernetes.io/pv-protection"]
        named of by-name: {"phase":"Bound"} ["kubernetes.io/pv-protection"]
    "#]],
    );
}

#[test]
fn what_is_used_stays_and_what_is_left_is_released() {
    let cluster = FakeCluster::new();
    volume(&cluster, "kept", "1Gi", json!({}));
    cluster.reconcile(&mut VolumeController, "", "kept").unwrap();
    claim(&cluster, "data", "1Gi", json!({}));
    cluster.add(PODS, json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"nodeName": "n", "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}}));
    check(
        &cluster,
        expect![[r#"
        data "kept" {"accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"},"phase":"Bound"} ["kubernetes.io/pvc-protection"]
        kept of data: {"phase":"Bound"} ["kubernetes.io/pv-protection"]
    "#]],
    );
    for (resource, namespace, name) in [(CLAIMS, "d", "data"), (VOLUMES, "", "kept")] {
        cluster.change(resource, namespace, name, |object| object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    }
    check(
        &cluster,
        expect![[r#"
        data "kept" {"accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"},"phase":"Bound"} ["kubernetes.io/pvc-protection"]
        kept of data: {"phase":"Bound"} ["kubernetes.io/pv-protection"]
    "#]],
    );
    cluster.remove(PODS, "d", "p");
    cluster.reconcile(&mut VolumeController, "d", "data").unwrap();
    assert_eq!(cluster.object(CLAIMS, "d", "data").unwrap()["metadata"]["finalizers"], json!([]));
    cluster.remove(CLAIMS, "d", "data");
    cluster.reconcile(&mut VolumeController, "d", "data").unwrap();
    check(
        &cluster,
        expect![[r#"
        kept of data: {"phase":"Released"} []
    "#]],
    );
}

#[test]
fn a_volume_that_nobody_can_delete_fails() {
    let cluster = FakeCluster::new();
    volume(
        &cluster,
        "gone",
        "1Gi",
        json!({"spec": {"persistentVolumeReclaimPolicy": "Delete", "claimRef": {"namespace": "d", "name": "x", "uid": "u"}}}),
    );
    volume(
        &cluster,
        "others",
        "1Gi",
        json!({"metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": "example.com/maker"}},
        "spec": {"persistentVolumeReclaimPolicy": "Delete", "claimRef": {"namespace": "d", "name": "y", "uid": "u"}}}),
    );
    check(
        &cluster,
        expect![[r#"
        event gone Warning VolumeFailedDelete: error getting deleter volume plugin for volume "gone": no deletable volume plugin matched
        gone of x: {"message":"error getting deleter volume plugin for volume \"gone\": no deletable volume plugin matched","phase":"Failed"} ["kubernetes.io/pv-protection"]
        others of y: {"phase":"Released"} ["kubernetes.io/pv-protection"]
    "#]],
    );
}

#[test]
fn a_claim_is_asked_for_when_a_pod_lets_go_of_it() {
    let cluster = FakeCluster::new();
    let pod = serde_json::json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"volumes": [
        {"name": "data", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "scratch", "ephemeral": {}}, {"name": "none", "emptyDir": {}}]}});
    let mut leaving = pod.clone();
    leaving["metadata"]["deletionTimestamp"] = serde_json::json!("2023-01-01T00:00:00Z");
    leaving["metadata"]["deletionGracePeriodSeconds"] = serde_json::json!(30);
    let mut shut_down = leaving.clone();
    shut_down["metadata"]["deletionGracePeriodSeconds"] = serde_json::json!(0);
    let check = |before: &Value, after: Option<&Value>, expected: &[&str]| {
        let keys = cluster.route(&mut VolumeController, 3, Some(before), after);
        assert_eq!(keys.iter().map(|key| &*key.name).collect::<Vec<_>>(), expected, "{before} {after:?}");
    };
    check(&pod, Some(&leaving), &[]);
    check(&leaving, Some(&shut_down), &["c", "p-scratch"]);
    check(&leaving, None, &["c", "p-scratch"]);
}
