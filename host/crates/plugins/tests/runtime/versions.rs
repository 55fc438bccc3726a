//! A component that was built against the contract as it was first released works beside those of the present one.

use pintle_api::object::ObjectExt;
use pintle_plugins::replay::{Request, replay};
use pintle_plugins::{Asked, Explain, Wanted};
use serde_json::{Value, json};

use crate::guests;
use crate::harness::{Bench, inline};
use crate::schedulers::{NODES, PODS, node};

const OLDER: &str = "older-scheduler";

fn spec(component: &[u8], scheduler: &str) -> Value {
    let grants = json!([{"apiGroups": ["*"], "resources": ["*", "*/*"], "verbs": ["*"]}]);
    json!({"world": "scheduler", "schedulerName": scheduler, "source": inline(component), "grants": grants})
}

fn pod(bench: &Bench, name: &str, scheduler: &str, cpu: &str, more: Value) {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
    let mut spec = json!({"schedulerName": scheduler, "containers": [container]});
    spec.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    bench.cluster.put(&PODS, json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n"}, "spec": spec}));
}

async fn node_of(bench: &Bench, name: &str) -> String {
    let node = || Some(bench.cluster.get_object(&PODS, "n", name)?.str_at(&["spec", "nodeName"]).to_owned()).filter(|n| !n.is_empty());
    bench.eventually(node).await.unwrap_or_else(|| panic!("{name} got no node: {:#?}", bench.handle.logs("old")))
}

async fn decision(bench: &Bench, pod: &str) -> Value {
    let wanted = Wanted { resource: "pods".to_owned(), namespace: "n".to_owned(), name: pod.to_owned(), limit: 1, ..Wanted::default() };
    let mut found = bench.handle.decisions().find(Asked { wanted, explain: Explain::EachNode }).await.expect("a log");
    found.pop().expect("a decision")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_the_released_contract_decides_and_explains_beside_one_of_the_present() {
    let bench = Bench::start(Vec::new());
    bench.apply("new", spec(guests::scheduler(), ""));
    bench.apply("old", spec(guests::scheduler_0_2(), OLDER));
    for name in ["new", "old"] {
        bench.condition(name, "Ready", "True", "Live").await;
    }
    let contract = |name: &str| bench.plugin(name)["status"]["contract"].clone();
    assert_eq!((contract("new"), contract("old")), (json!("pintle:scheduler@0.3.0"), json!("pintle:scheduler@0.2.0")));

    node(&bench, "a", "2");
    node(&bench, "b", "4");
    // The new one takes the first node with room, the old one the node with the most free CPU: each hears of the other's placements.
    pod(&bench, "first", "default-scheduler", "500m", json!({}));
    assert_eq!(node_of(&bench, "first").await, "a");
    pod(&bench, "second", OLDER, "3", json!({}));
    assert_eq!(node_of(&bench, "second").await, "b");
    pod(&bench, "third", OLDER, "1", json!({}));
    assert_eq!(node_of(&bench, "third").await, "a");

    let third = decision(&bench, "third").await;
    assert_eq!((&third["plugin"], &third["schedulerName"], &third["outcome"]), (&json!("old"), &json!(OLDER), &json!("Scheduled")));
    let scheduling = &third["scheduling"];
    assert_eq!(scheduling["ranked"], json!([{"node": "a", "score": 500}, {"node": "b", "score": 0}]), "{third:#}");
    let scores = json!([{"criterion": "FreeCpu", "score": 500}]);
    assert_eq!(scheduling["nodes"][0], json!({"name": "a", "totalScore": 500, "scores": scores}), "{third:#}");
    assert_eq!(decision(&bench, "first").await["plugin"], "new");

    // What a pod asks for beside room is in another shape for it.
    bench.cluster.put(
        &NODES,
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "c", "labels": {"disk": "ssd"}},
            "status": {"allocatable": {"cpu": "250m", "memory": "64Gi", "pods": "1000"}}}),
    );
    pod(&bench, "particular", OLDER, "200m", json!({"nodeSelector": {"disk": "ssd"}}));
    assert_eq!(node_of(&bench, "particular").await, "c");

    // Its word on evictions is heard as well.
    pod(&bench, "urgent", OLDER, "2500m", json!({"priority": 1000}));
    let evicted = || bench.cluster.get_object(&PODS, "n", "second").is_none().then_some(());
    bench.eventually(evicted).await.expect("the pod that was in the way is gone");
    assert_eq!(node_of(&bench, "urgent").await, "b");

    // Asking writes out what is on its way.
    assert_eq!(decision(&bench, "urgent").await["plugin"], "old");
    let log = bench.folder.path().to_owned();
    let request = Request {
        log,
        component: guests::scheduler_0_2().to_vec(),
        plugin: Some("old".to_owned()),
        config: None,
        cache: bench.folder.path().join("replays"),
    };
    let report = replay(request).await.expect("a report");
    assert!(report.decisions >= 4 && report.identical == report.decisions, "{report:#?}");
}
