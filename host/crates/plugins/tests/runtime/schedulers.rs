//! Scheduling: pods get nodes, once each, whatever happens to the component that decides.

use pintle_api::GroupVersionResource;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::guests;
use crate::harness::{Bench, inline};

pub const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
pub const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");

pub fn spec(config: &str) -> Value {
    let grants = json!([{"apiGroups": ["*"], "resources": ["*", "pods/binding", "pods/status"], "verbs": ["*"]}]);
    json!({"world": "scheduler", "source": inline(guests::scheduler()), "config": config, "grants": grants, "limits": {"deadlineMilliseconds": 300}})
}

pub fn node(bench: &Bench, name: &str, cpu: &str) {
    let allocatable = json!({"cpu": cpu, "memory": "64Gi", "pods": "1000"});
    bench.cluster.put(&NODES, json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"allocatable": allocatable}}));
}

pub fn pod(bench: &Bench, name: &str, cpu: &str, probe: &str) {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
    bench.cluster.put(
        &PODS,
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"schedulerName": "default-scheduler", "containers": [container]},
        "metadata": {"name": name, "namespace": "n", "annotations": {"probe": probe}}}),
    );
}

pub async fn node_of(bench: &Bench, name: &str) -> String {
    let look = || {
        let pod = bench.cluster.get_object(&PODS, "n", name)?;
        Some(pod.str_at(&["spec", "nodeName"]).to_owned()).filter(|n| !n.is_empty())
    };
    match bench.eventually(look).await {
        Some(node) => node,
        None => panic!("{name} got no node: {:#?}\n{:#?}", bench.plugin("s")["status"], bench.handle.logs("s")),
    }
}

async fn bench() -> Bench {
    let bench = Bench::start(Vec::new());
    bench.apply("s", spec(""));
    bench.condition("s", "Ready", "True", "Live").await;
    bench
}

pub fn bindings(bench: &Bench) -> usize {
    bench.cluster.writes().iter().filter(|w| w.starts_with("create pods/binding")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_does_not_fit_is_told_why_and_gets_the_node_that_comes() {
    let bench = bench().await;
    node(&bench, "a", "1");
    pod(&bench, "small", "500m", "");
    assert_eq!(node_of(&bench, "small").await, "a");
    pod(&bench, "large", "2", "");
    let told = bench
        .eventually(|| {
            let pod = bench.cluster.get_object(&PODS, "n", "large")?;
            let condition = pod.list_at(&["status", "conditions"]).first()?.clone();
            Some(format!("{} {} {}", condition.str_at(&["type"]), condition.str_at(&["reason"]), condition.str_at(&["message"])))
        })
        .await;
    let words = "PodScheduled Unschedulable 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: \
                 1 No preemption victims found for incoming pod.";
    assert_eq!(told.as_deref(), Some(words));
    node(&bench, "b", "4");
    assert_eq!(node_of(&bench, "large").await, "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_breaks_the_component_harms_no_other() {
    let bench = bench().await;
    node(&bench, "a", "8");
    for fault in ["panic", "loop", "nowhere"] {
        pod(&bench, fault, "100m", fault);
        pod(&bench, &format!("after-{fault}"), "100m", "");
    }
    for fault in ["panic", "loop", "nowhere"] {
        assert_eq!(node_of(&bench, &format!("after-{fault}")).await, "a");
    }
    assert_eq!(bindings(&bench), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_room_of_a_pod_that_could_not_be_bound_goes_to_who_waits_for_it() {
    let bench = bench().await;
    bench.cluster.refuse("create pods/binding refused");
    node(&bench, "a", "1");
    pod(&bench, "refused", "1", "");
    bench.eventually(|| bench.cluster.writes().iter().any(|w| w == "create pods/binding refused").then_some(())).await.expect("an attempt");
    pod(&bench, "waits", "1", "");
    assert_eq!(node_of(&bench, "waits").await, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_exchanged_between_two_decisions_and_comes_back() {
    let bench = bench().await;
    node(&bench, "a", "1000");
    node(&bench, "b", "1000");
    let many = |from: usize, to: usize| (from..to).map(|n| format!("p{n}"));
    many(0, 150).for_each(|name| pod(&bench, &name, "100m", ""));
    bench.apply("t", spec("last"));
    many(150, 300).for_each(|name| pod(&bench, &name, "100m", ""));
    bench.condition("t", "Ready", "True", "Live").await;
    pod(&bench, "with-the-new", "100m", "");
    assert_eq!(node_of(&bench, "with-the-new").await, "b");
    bench.cluster.remove(&pintle_plugins::plugin::PLUGINS, "", "t");
    // The older plugin serves again; when exactly is not seen from outside but by its decisions.
    let mut n = 0;
    loop {
        let name = format!("with-the-old-{n}");
        pod(&bench, &name, "100m", "");
        if node_of(&bench, &name).await == "a" {
            break;
        }
        n += 1;
        assert!(n < 1000, "the older plugin never came back");
    }
    for name in many(0, 300) {
        node_of(&bench, &name).await;
    }
    let binding = |name: &str| bench.cluster.writes().iter().filter(|w| **w == format!("create pods/binding {name}")).count();
    assert!(many(0, 300).all(|name| binding(&name) == 1), "each pod was bound once");
}
