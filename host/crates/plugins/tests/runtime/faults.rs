//! Hostile components: whatever one does, it loses its call and its instance, the Plugin's condition says why, and others never notice.
//! Admission policies have the same in `admissions`, what is refused when it loads is in `loading`.

use std::time::{Duration, Instant};

use pintle_api::GroupVersionResource;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::guests;
use crate::harness::{Bench, CONFIG_MAPS, controller_spec, inline};

const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");

/// Little time for what never ends, and enough on a busy machine for what ends by itself.
fn limited(mut spec: Value, fault: &str) -> Value {
    let deadline = if fault == "loop" { 300 } else { 30_000 };
    spec["limits"] = json!({"deadlineMilliseconds": deadline, "memory": "160Mi"});
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controllers_fault_is_its_own() {
    for (fault, reason, words) in [
        ("panic", "Trapped", "asked to panic"),
        ("loop", "DeadlineExceeded", "did not return within 300 ms"),
        ("grow", "OutOfMemory", "asked for more than its 160 MiB"),
        ("overflow", "Trapped", "call stack exhausted"),
    ] {
        let bench = Bench::start(Vec::new());
        bench.apply("probe", limited(controller_spec(guests::controller()), fault));
        bench.apply("ingress", ingress_spec());
        bench.condition("probe", "Ready", "True", "Live").await;
        bench.condition("ingress", "Ready", "True", "Live").await;
        bench.ask("bad", fault);
        let told = bench.condition("probe", "Degraded", "True", reason).await;
        assert!(told.contains(words), "{fault}: {told}");
        bench.ask("good", "config");
        assert_eq!(bench.answer("good").await, "");
        assert_eq!(bench.plugin("ingress")["status"]["traps"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controllers_garbage_is_refused() {
    let bench = Bench::start(Vec::new());
    bench.apply("probe", controller_spec(guests::controller()));
    bench.condition("probe", "Ready", "True", "Live").await;
    bench.ask("a", "garbage");
    assert_eq!(bench.answer("a").await, r#"Err(Invalid("the body is no JSON: expected value at line 1 column 1"))"#);
    bench.ask("b", "huge");
    let told = bench.condition("probe", "Degraded", "True", "BadAnswer").await;
    assert!(told.contains("more than 32 MiB in one call"), "{told}");
    assert!(bench.cluster.get_object(&CONFIG_MAPS, "n", "garbage").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_writes_for_ever_is_held_back() {
    let bench = Bench::start(Vec::new());
    bench.apply("probe", controller_spec(guests::controller()));
    bench.condition("probe", "Ready", "True", "Live").await;
    bench.ask("a", "write");
    let begun = Instant::now();
    let told = bench.condition("probe", "Throttled", "True", "WritesHeldBack").await;
    assert_eq!(told, "it writes more than 500 times a second; what comes too early waits");
    let writes = || bench.cluster.writes().iter().filter(|w| w.starts_with("patch configmaps a-target")).count();
    let (before, at) = (writes(), Instant::now());
    assert!(before as f64 <= 1001.0 + 510.0 * begun.elapsed().as_secs_f64(), "{before} writes in {:?}", begun.elapsed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let rate = (writes() - before) as f64 / at.elapsed().as_secs_f64();
    assert!(rate < 560.0, "{rate} writes a second");
    // It can be stopped in the middle of that, and another plugin writes meanwhile.
    let mut paused = controller_spec(guests::controller());
    paused["paused"] = true.into();
    bench.apply("probe", paused);
    bench.condition("probe", "Ready", "False", "Paused").await;
    let after = writes();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(writes(), after, "it is stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedulers_nonsense_is_told_and_places_nothing() {
    for (fault, reason, words) in [
        ("grow", "OutOfMemory", "asked for more than its 160 MiB"),
        ("overflow", "Trapped", "call stack exhausted"),
        ("nowhere", "BadAnswer", "was never fed"),
        ("twice", "BadAnswer", "is ranked more than once"),
        ("many", "BadAnswer", "100000 ranked nodes"),
    ] {
        let bench = Bench::start(Vec::new());
        let grants = json!([{"apiGroups": ["*"], "resources": ["*", "pods/binding", "pods/status"], "verbs": ["*"]}]);
        bench.apply("s", limited(json!({"world": "scheduler", "source": inline(guests::scheduler()), "grants": grants}), fault));
        bench.condition("s", "Ready", "True", "Live").await;
        let allocatable = json!({"cpu": "8", "memory": "64Gi", "pods": "1000"});
        bench.cluster.put(&NODES, json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}, "status": {"allocatable": allocatable}}));
        let pod = |name: &str, probe: &str| {
            let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}});
            bench.cluster.put(
                &PODS,
                json!({"apiVersion": "v1", "kind": "Pod", "spec": {"schedulerName": "default-scheduler", "containers": [container]},
                "metadata": {"name": name, "namespace": "n", "annotations": {"probe": probe}}}),
            );
        };
        pod("bad", fault);
        let told = bench.condition("s", "Degraded", "True", reason).await;
        assert!(told.contains(words), "{fault}: {told}");
        pod("good", "");
        let placed = || bench.cluster.get_object(&PODS, "n", "good").filter(|p| p.str_at(&["spec", "nodeName"]) == "a");
        bench.eventually(placed).await.expect("the other pod is placed");
        assert_eq!(bench.cluster.get_object(&PODS, "n", "bad").map(|p| p["spec"]["nodeName"].clone()), Some(Value::Null));
    }
}

/// A hundred megabytes of words: within the component's memory, and more than the host takes from one call.
#[tokio::test(flavor = "multi_thread")]
async fn the_host_takes_only_so_much_of_an_answer() {
    let bench = Bench::start(Vec::new());
    let grants = json!([{"apiGroups": ["*"], "resources": ["*", "pods/binding", "pods/status"], "verbs": ["*"]}]);
    bench.apply("s", json!({"world": "scheduler", "source": inline(guests::scheduler()), "grants": grants, "limits": {"memory": "1Gi"}}));
    bench.condition("s", "Ready", "True", "Live").await;
    bench.cluster.put(
        &PODS,
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"schedulerName": "default-scheduler", "containers": []},
        "metadata": {"name": "bad", "namespace": "n", "annotations": {"probe": "long"}}}),
    );
    let told = bench.condition("s", "Degraded", "True", "BadAnswer").await;
    assert!(told.contains("more than 32 MiB in one call"), "{told}");
}

fn ingress_spec() -> Value {
    let grants = json!([{"apiGroups": ["*"], "resources": ["*", "ingresses/status"], "verbs": ["*"]}]);
    json!({"world": "ingress", "source": inline(guests::ingress()), "grants": grants})
}
