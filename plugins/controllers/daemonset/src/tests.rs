//! The controller natively, against a cluster in memory.

use expect_test::{Expect, expect};
use pintle_controller_common::resources::{DAEMON_SETS, NODES, PODS};
use pintle_sdk::testing::FakeCluster;
use serde_json::{Value, json};

use super::*;

fn cluster(nodes: &[&str], strategy: Value) -> FakeCluster {
    let cluster = FakeCluster::new();
    for node in nodes {
        cluster.add(NODES, json!({"metadata": {"name": node, "labels": {"kubernetes.io/hostname": node}}}));
    }
    cluster.add(
        DAEMON_SETS,
        json!({
            "metadata": {"name": "d", "namespace": "s", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "d"}}, "updateStrategy": strategy,
                     "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}},
        }),
    );
    cluster
}

fn rolling(unavailable: i64, surge: i64) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

/// Every pod is placed and ready.
fn satisfy(cluster: &FakeCluster) {
    for pod in cluster.all(PODS) {
        cluster.change(PODS, "s", pod.name(), |p| {
            p["spec"]["nodeName"] = json!(placement::target(p));
            p["status"] =
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2023-01-01T00:00:00Z"}]});
        });
    }
}

/// `node=image`, with `!` where the pod is not ready.
fn shown(cluster: &FakeCluster) -> String {
    let mut pods: Vec<String> = cluster
        .all(PODS)
        .iter()
        .map(|p| {
            format!(
                "{}={}{}",
                placement::target(p),
                p["spec"]["containers"][0]["image"].as_str().unwrap_or_default(),
                if pintle_controller_common::pods::is_ready(p) { "" } else { "!" }
            )
        })
        .collect();
    pods.sort();
    pods.join(" ")
}

fn check(cluster: &FakeCluster, controller: &mut DaemonSetController, expected: Expect) {
    let outcome = cluster.reconcile(controller, "s", "d");
    let mut text = vec![cluster.take_actions()];
    if !matches!(outcome, Ok(None)) {
        text.push(format!("{outcome:?}"));
    }
    let mut status = cluster.object(DAEMON_SETS, "s", "d").expect("is there")["status"].clone();
    status.as_object_mut().expect("an object").remove("observedGeneration");
    text.push(format!("{} {status}", shown(cluster)));
    expected.assert_eq(text.join("\n").trim_start());
}

#[test]
fn one_pod_on_each_node_that_fits() {
    let cluster = cluster(&["a", "b", "c", "d"], rolling(1, 0));
    cluster.change(NODES, "", "b", |n| n["spec"]["taints"] = json!([{"key": "k", "effect": "NoSchedule"}]));
    cluster.change(NODES, "", "c", |n| n["spec"]["taints"] = json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]));
    cluster.change(NODES, "", "d", |n| n["metadata"]["labels"] = json!({"pool": "other"}));
    cluster.change(DAEMON_SETS, "s", "d", |d| d["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "NotIn", "values": ["other"]}]}]}}}));
    let mut controller = DaemonSetController::default();
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        create controllerrevisions s/d-66d7fdc79d
        create pods s/d-11
        event d Normal SuccessfulCreate: Created pod: d-11
        create pods s/d-12
        event d Normal SuccessfulCreate: Created pod: d-12
        status daemonsets s/d
        a=v1! c=v1! {"currentNumberScheduled":2,"desiredNumberScheduled":2,"numberMisscheduled":0,"numberReady":0,"numberUnavailable":2,"updatedNumberScheduled":2}"#]],
    );
    satisfy(&cluster);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        status daemonsets s/d
        a=v1 c=v1 {"currentNumberScheduled":2,"desiredNumberScheduled":2,"numberAvailable":2,"numberMisscheduled":0,"numberReady":2,"updatedNumberScheduled":2}"#]],
    );
    // A taint without NoExecute lets the pod stay; a label that no longer fits does not.
    cluster.change(NODES, "", "a", |n| n["spec"]["taints"] = json!([{"key": "k", "effect": "NoSchedule"}]));
    cluster.change(NODES, "", "c", |n| n["metadata"]["labels"] = json!({"pool": "other"}));
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        delete pods s/d-12
        event d Normal SuccessfulDelete: Deleted pod: d-12
        status daemonsets s/d
        a=v1 {"currentNumberScheduled":0,"desiredNumberScheduled":0,"numberMisscheduled":1,"numberReady":0}"#]],
    );
}

#[test]
fn the_pod_names_its_node_and_bears_a_nodes_trouble() {
    let cluster = cluster(&["a"], rolling(1, 0));
    cluster.reconcile(&mut DaemonSetController::default(), "s", "d").expect("works");
    let mut pod = cluster.all(PODS).remove(0);
    pod["spec"].as_object_mut().expect("an object").remove("containers");
    expect![[r#"{"app":"d","controller-revision-hash":"5bfcb6954"} "d-" {"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["a"]}]}]}}},"tolerations":[{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists"},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists"},{"effect":"NoSchedule","key":"node.kubernetes.io/disk-pressure","operator":"Exists"},{"effect":"NoSchedule","key":"node.kubernetes.io/memory-pressure","operator":"Exists"},{"effect":"NoSchedule","key":"node.kubernetes.io/pid-pressure","operator":"Exists"},{"effect":"NoSchedule","key":"node.kubernetes.io/unschedulable","operator":"Exists"}]}"#]].assert_eq(&format!("{} {} {}", pod["metadata"]["labels"], pod["metadata"]["generateName"], pod["spec"]));
}

#[test]
fn a_new_template_replaces_within_max_unavailable() {
    let cluster = cluster(&["a", "b", "c"], rolling(1, 0));
    let mut controller = DaemonSetController::default();
    cluster.reconcile(&mut controller, "s", "d").expect("works");
    satisfy(&cluster);
    cluster.change(DAEMON_SETS, "s", "d", |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    let mut seen = Vec::new();
    for _ in 0..8 {
        cluster.reconcile(&mut controller, "s", "d").expect("works");
        seen.push(shown(&cluster));
        satisfy(&cluster);
    }
    expect![[r#"
        b=v1 c=v1
        a=v2! b=v1 c=v1
        a=v2 c=v1
        a=v2 b=v2! c=v1
        a=v2 b=v2
        a=v2 b=v2 c=v2!
        a=v2 b=v2 c=v2
        a=v2 b=v2 c=v2"#]]
    .assert_eq(&seen.join("\n"));
    let numbers: Vec<String> = cluster.all(resources::CONTROLLER_REVISIONS).iter().map(|r| r["revision"].to_string()).collect();
    assert_eq!(numbers, ["1", "2"]);
}

#[test]
fn a_new_template_surges() {
    let cluster = cluster(&["a", "b"], rolling(0, 1));
    let mut controller = DaemonSetController::default();
    cluster.reconcile(&mut controller, "s", "d").expect("works");
    satisfy(&cluster);
    cluster.change(DAEMON_SETS, "s", "d", |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2"));
    let mut seen = Vec::new();
    for _ in 0..6 {
        cluster.reconcile(&mut controller, "s", "d").expect("works");
        seen.push(shown(&cluster));
        satisfy(&cluster);
    }
    expect![[r#"
        a=v1 a=v2! b=v1
        a=v2 b=v1
        a=v2 b=v1 b=v2!
        a=v2 b=v2
        a=v2 b=v2
        a=v2 b=v2"#]]
    .assert_eq(&seen.join("\n"));
}

#[test]
fn a_failed_pod_is_replaced_ever_more_slowly() {
    let cluster = cluster(&["a"], rolling(1, 0));
    let mut controller = DaemonSetController::default();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let outcome = cluster.reconcile(&mut controller, "s", "d").expect("works");
        let acts = cluster.take_actions();
        seen.push(format!("{} {outcome:?}", acts.lines().find(|l| l.starts_with("event")).unwrap_or("nothing")));
        for pod in cluster.all(PODS) {
            cluster.change(PODS, "s", pod.name(), |p| p["status"]["phase"] = json!("Failed"));
        }
    }
    expect![[r#"
        event d Normal SuccessfulCreate: Created pod: d-4 None
        event d Warning FailedDaemonPod: Found failed daemon pod s/d-4 on node a, will try to kill it None
        event d Normal SuccessfulCreate: Created pod: d-8 None
        nothing Some(1s)
        nothing Some(1s)"#]]
    .assert_eq(&seen.join("\n"));
}

#[test]
fn sets_are_asked_for_when_a_node_begins_or_ceases_to_fit() {
    let cluster = cluster(&[], rolling(1, 0));
    let node = json!({"metadata": {"name": "n", "labels": {"a": "b"}}, "spec": {}, "status": {"phase": "x"}});
    let (mut beating, mut tainted) = (node.clone(), node.clone());
    beating["status"]["phase"] = json!("y");
    tainted["spec"]["taints"] = json!([{"key": "k", "effect": "NoExecute"}]);
    let check = |before: Option<&Value>, after: Option<&Value>, expected: &[&str]| {
        let keys = cluster.route(&mut DaemonSetController::default(), 2, before, after);
        assert_eq!(keys.iter().map(|key| &*key.name).collect::<Vec<_>>(), expected, "{before:?} {after:?}");
    };
    check(None, Some(&node), &["d"]);
    check(Some(&node), Some(&beating), &[]);
    check(Some(&node), Some(&tainted), &["d"]);
    check(Some(&node), None, &["d"]);
}
