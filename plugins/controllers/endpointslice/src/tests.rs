//! The controller natively, against a cluster in memory.

use expect_test::{Expect, expect};
use pintle_controller_common::resources::{ENDPOINT_SLICES, PODS, SERVICES};
use pintle_sdk::testing::FakeCluster;
use serde_json::{Value, json};

use super::*;

fn cluster() -> FakeCluster {
    let cluster = FakeCluster::new();
    cluster.add(
        SERVICES,
        json!({"metadata": {"name": "web", "namespace": "d", "labels": {"team": "a"}},
               "spec": {"clusterIP": "10.96.0.5", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "www"}]}}),
    );
    cluster
}

fn pod(name: &str, ip: &str, ready: bool) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "d", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "www", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    })
}

fn check(cluster: &FakeCluster, expected: Expect) {
    cluster.reconcile(&mut EndpointSliceController, "d", "web").expect("works");
    let mut text = cluster.take_actions();
    for slice in cluster.all(ENDPOINT_SLICES) {
        let endpoints = slice["endpoints"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|e| format!("{}{}", e["addresses"][0], if e["conditions"]["ready"] == true { "" } else { "(not ready)" }));
        text.push_str(&format!("\n{} {} {}", slice.name(), slice["ports"], endpoints.collect::<Vec<_>>().join(" ")));
    }
    expected.assert_eq(text.trim_start());
}

#[test]
fn pods_come_and_go() {
    let cluster = cluster();
    check(
        &cluster,
        expect![[r#"
        create endpointslices d/web-2
        web-2 [] "#]],
    );
    cluster.add(PODS, pod("a", "10.244.0.2", true));
    cluster.add(PODS, pod("b", "10.244.0.3", false));
    check(
        &cluster,
        expect![[r#"
        update endpointslices d/web-2
        web-2 [{"name":"http","port":8080,"protocol":"TCP"}] "10.244.0.2" "10.244.0.3"(not ready)"#]],
    );
    check(&cluster, expect![[r#"web-2 [{"name":"http","port":8080,"protocol":"TCP"}] "10.244.0.2" "10.244.0.3"(not ready)"#]]);
    cluster.remove(PODS, "d", "a");
    check(
        &cluster,
        expect![[r#"
        update endpointslices d/web-2
        web-2 [{"name":"http","port":8080,"protocol":"TCP"}] "10.244.0.3"(not ready)"#]],
    );
}

#[test]
fn a_service_is_asked_for_when_its_pods_serve_otherwise() {
    let cluster = cluster();
    let check = |before: Option<&Value>, after: Option<&Value>, expected: &[&str]| {
        let keys = cluster.route(&mut EndpointSliceController, 1, before, after);
        assert_eq!(keys.iter().map(|key| &*key.name).collect::<Vec<_>>(), expected, "{before:?} {after:?}");
    };
    let (unready, ready, moved) = (pod("a", "10.0.0.1", false), pod("a", "10.0.0.1", true), pod("a", "10.0.0.2", true));
    let mut initialized = ready.clone();
    initialized["status"]["conditions"].as_array_mut().expect("a list").push(json!({"type": "Initialized", "status": "True"}));
    let mut others = ready.clone();
    others["metadata"]["labels"] = json!({"app": "other"});
    let mut leaving = ready.clone();
    leaving["metadata"]["deletionTimestamp"] = json!("2023-01-01T00:00:00Z");
    check(None, Some(&unready), &["web"]);
    check(Some(&unready), Some(&ready), &["web"]);
    check(Some(&ready), Some(&moved), &["web"]);
    check(Some(&ready), Some(&initialized), &[]);
    check(Some(&ready), Some(&others), &["web"]);
    check(Some(&ready), Some(&leaving), &["web"]);
    check(Some(&leaving), None, &["web"]);
    check(None, Some(&others), &[]);
}
