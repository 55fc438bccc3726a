//! The controller natively, against a cluster in memory.

use expect_test::{Expect, expect};
use pintle_controller_common::resources::{LEASES, NODES, PODS};
use pintle_sdk::testing::FakeCluster;
use serde_json::json;

use super::*;

fn cluster(nodes: &[&str]) -> FakeCluster {
    let cluster = FakeCluster::new();
    for node in nodes {
        let now = cluster.now_rfc3339();
        cluster.add(
            NODES,
            json!({"metadata": {"name": node}, "spec": {}, "status": {"conditions": [
            {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}]}}),
        );
        cluster.add(LEASES, json!({"metadata": {"name": node, "namespace": "kube-node-lease"}, "spec": {"renewTime": now}}));
    }
    cluster
}

fn pod(cluster: &FakeCluster, name: &str, tolerations: serde_json::Value) {
    cluster.add(
        PODS,
        json!({"metadata": {"name": name, "namespace": "d"}, "spec": {"nodeName": "a", "tolerations": tolerations},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
    );
}

fn renew(cluster: &FakeCluster, node: &str) {
    let now = cluster.now_rfc3339();
    cluster.change(LEASES, "kube-node-lease", node, |l| l["spec"]["renewTime"] = json!(now));
}

fn check(cluster: &FakeCluster, controller: &mut NodeLifecycleController, expected: Expect) {
    let outcome = cluster.reconcile(controller, "", "a");
    let mut text = vec![cluster.take_actions()];
    if let Some(node) = cluster.object(NODES, "", "a") {
        let taints: Vec<String> =
            pintle_controller_common::nodes::taints(&node).iter().map(|t| format!("{}:{}", t.text(&["key"]), t.text(&["effect"]))).collect();
        let conditions: Vec<String> =
            node.items(&["status", "conditions"]).iter().map(|c| format!("{}={}", c.text(&["type"]), c.text(&["status"]))).collect();
        text.push(format!("{} {}", conditions.join(" "), taints.join(" ")));
    }
    text.push(format!("{outcome:?}"));
    expected.assert_eq(text.join("\n").trim_start());
}

#[test]
fn a_node_that_falls_silent_is_doubted_and_emptied() {
    let cluster = cluster(&["a", "b"]);
    pod(
        &cluster,
        "for-a-while",
        json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]),
    );
    pod(&cluster, "daemon", json!([{"operator": "Exists"}]));
    pod(&cluster, "intolerant", json!([]));
    let mut controller = NodeLifecycleController::default();
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        event a Normal RegisteredNode: Node a event: Registered Node a in Controller
        Ready=True 
        Ok(Some(41s))"#]],
    );
    cluster.pass_seconds(30);
    renew(&cluster, "a");
    cluster.pass_seconds(11);
    // The lease counts from its own time.
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        Ready=True 
        Ok(Some(30s))"#]],
    );
    cluster.pass_seconds(31);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        status nodes /a
        event a Normal NodeNotReady: Node a status is now: NodeNotReady
        patch nodes /a {"metadata":{"resourceVersion":"9"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/unreachable","timeAdded":"2023-11-14T22:14:32Z"},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","timeAdded":"2023-11-14T22:14:32Z"}]}}
        status pods d/daemon
        event daemon Warning NodeNotReady: Node is not ready
        status pods d/for-a-while
        event for-a-while Warning NodeNotReady: Node is not ready
        status pods d/intolerant
        event intolerant Warning NodeNotReady: Node is not ready
        event intolerant Normal TaintManagerEviction: Marking for deletion Pod d/intolerant
        status pods d/intolerant
        delete pods d/intolerant
        Ready=Unknown MemoryPressure=Unknown DiskPressure=Unknown PIDPressure=Unknown node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute
        Ok(Some(40s))"#]],
    );
    cluster.pass_seconds(300);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        event for-a-while Normal TaintManagerEviction: Marking for deletion Pod d/for-a-while
        status pods d/for-a-while
        delete pods d/for-a-while
        Ready=Unknown MemoryPressure=Unknown DiskPressure=Unknown PIDPressure=Unknown node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute
        Ok(Some(40s))"#]],
    );
}

#[test]
fn a_node_that_comes_back_keeps_its_pods() {
    let cluster = cluster(&["a", "b"]);
    pod(&cluster, "p", json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]));
    let mut controller = NodeLifecycleController::default();
    cluster.reconcile(&mut controller, "", "a").expect("works");
    cluster.pass_seconds(41);
    cluster.reconcile(&mut controller, "", "a").expect("works");
    cluster.take_actions();
    cluster.change(NODES, "", "a", |n| {
        n["status"]["conditions"] = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": "2024-01-01T00:00:00Z"}]);
        n["spec"]["unschedulable"] = json!(true);
    });
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        patch nodes /a {"metadata":{"resourceVersion":"9"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/unschedulable","timeAdded":"2023-11-14T22:14:01Z"}]}}
        event p Normal TaintManagerEviction: Cancelling deletion of Pod d/p
        Ready=True node.kubernetes.io/unschedulable:NoSchedule
        Ok(Some(41s))"#]],
    );
}

#[test]
fn the_taint_of_a_new_node_goes_when_it_is_ready() {
    let cluster = cluster(&["a", "b"]);
    cluster.change(NODES, "", "a", |n| {
        n["spec"]["taints"] = json!([{"key": "mine", "effect": "NoSchedule"}, {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
        n["status"]["conditions"][0]["status"] = json!("False");
    });
    let mut controller = NodeLifecycleController::default();
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        event a Normal RegisteredNode: Node a event: Registered Node a in Controller
        patch nodes /a {"metadata":{"resourceVersion":"5"},"spec":{"taints":[{"effect":"NoSchedule","key":"mine"},{"effect":"NoSchedule","key":"node.kubernetes.io/not-ready"},{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","timeAdded":"2023-11-14T22:13:20Z"}]}}
        Ready=False mine:NoSchedule node.kubernetes.io/not-ready:NoSchedule node.kubernetes.io/not-ready:NoExecute
        Ok(Some(41s))"#]],
    );
    cluster.change(NODES, "", "a", |n| n["status"]["conditions"][0]["status"] = json!("True"));
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        patch nodes /a {"metadata":{"resourceVersion":"7"},"spec":{"taints":[{"effect":"NoSchedule","key":"mine"}]}}
        Ready=True mine:NoSchedule
        Ok(Some(41s))"#]],
    );
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        Ready=True mine:NoSchedule
        Ok(Some(41s))"#]],
    );
}

#[test]
fn nothing_is_emptied_when_no_node_is_ready() {
    let cluster = cluster(&["a"]);
    pod(&cluster, "p", json!([]));
    let mut controller = NodeLifecycleController::default();
    cluster.reconcile(&mut controller, "", "a").expect("works");
    cluster.pass_seconds(41);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        event a Normal RegisteredNode: Node a event: Registered Node a in Controller
        status nodes /a
        event a Normal NodeNotReady: Node a status is now: NodeNotReady
        patch nodes /a {"metadata":{"resourceVersion":"4"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/unreachable","timeAdded":"2023-11-14T22:14:01Z"}]}}
        status pods d/p
        event p Warning NodeNotReady: Node is not ready
        Ready=Unknown MemoryPressure=Unknown DiskPressure=Unknown PIDPressure=Unknown node.kubernetes.io/unreachable:NoSchedule
        Ok(Some(5s))"#]],
    );
}

#[test]
fn pods_of_a_node_that_is_gone_are_deleted_after_a_while() {
    let cluster = cluster(&["b"]);
    pod(&cluster, "p", json!([]));
    cluster.set_config(r#"{"orphanedPodsAfterSeconds": 7}"#);
    let mut controller = NodeLifecycleController::default();
    check(&cluster, &mut controller, expect!["Ok(Some(7s))"]);
    cluster.pass_seconds(7);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        status pods d/p
        delete pods d/p
        Ok(None)"#]],
    );
    cluster.set_config(r#"{"orphanedPods": 7}"#);
    check(&cluster, &mut controller, expect![[r#"Err(Terminal("config: unknown field \"orphanedPods\""))"#]]);
}

#[test]
fn a_pod_concerns_a_node_that_drives_away_when_it_comes_or_tolerates_otherwise() {
    let cluster = cluster(&["a", "b"]);
    cluster.change(NODES, "", "a", |n| n["spec"]["taints"] = json!([{"key": "out", "effect": "NoExecute"}]));
    let pod = |node: &str, tolerations: serde_json::Value, phase: &str| json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"nodeName": node, "tolerations": tolerations}, "status": {"phase": phase}});
    let check = |before: Option<serde_json::Value>, after: Option<serde_json::Value>, expected: &[&str]| {
        let keys = cluster.route(&mut NodeLifecycleController::default(), 1, before.as_ref(), after.as_ref());
        assert_eq!(keys.iter().map(|key| &*key.name).collect::<Vec<_>>(), expected, "{before:?} {after:?}");
    };
    check(None, Some(pod("", json!([]), "Pending")), &[]);
    check(Some(pod("", json!([]), "Pending")), Some(pod("a", json!([]), "Pending")), &["a"]);
    check(Some(pod("", json!([]), "Pending")), Some(pod("b", json!([]), "Pending")), &[]);
    check(Some(pod("", json!([]), "Pending")), Some(pod("gone", json!([]), "Pending")), &["gone"]);
    check(Some(pod("a", json!([]), "Pending")), Some(pod("a", json!([]), "Running")), &[]);
    check(Some(pod("a", json!([]), "Running")), Some(pod("a", json!([{"key": "out"}]), "Running")), &["a"]);
    check(Some(pod("a", json!([]), "Running")), None, &[]);
}
