//! The decision log of a running manager, and replays of it with the components that decided and with others.

use std::path::{Path, PathBuf};

use pintle_api::GroupVersionResource;
use pintle_api::object::ObjectExt;
use pintle_plugins::replay::{Report, Request, replay};
use pintle_plugins::{Asked, Explain, Wanted};
use serde_json::{Value, json};

use crate::guests;
use crate::harness::{Bench, controller_spec, inline};

const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");
const SETS: GroupVersionResource = GroupVersionResource::constant("apps", "v1", "replicasets");
const INGRESSES: GroupVersionResource = GroupVersionResource::constant("networking.k8s.io", "v1", "ingresses");

fn spec(world: &str, component: &[u8]) -> Value {
    let grants = json!([{"apiGroups": ["*"], "resources": ["*", "*/*"], "verbs": ["*"]}]);
    json!({"world": world, "source": inline(component), "grants": grants})
}

fn node(bench: &Bench, name: &str, cpu: &str) {
    let allocatable = json!({"cpu": cpu, "memory": "64Gi", "pods": "110"});
    bench.cluster.put(
        &NODES,
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": allocatable}}),
    );
}

fn pod(bench: &Bench, name: &str, cpu: &str, priority: i64) {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
    bench.cluster.put(
        &PODS,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "labels": {"app": "a"}},
        "spec": {"schedulerName": "default-scheduler", "priority": priority, "containers": [container]}}),
    );
}

async fn placed(bench: &Bench, name: &str) -> String {
    let node = || Some(bench.cluster.get_object(&PODS, "n", name)?.str_at(&["spec", "nodeName"]).to_owned()).filter(|n| !n.is_empty());
    bench.eventually(node).await.unwrap_or_else(|| panic!("{name} got no node: {:#?}", bench.handle.logs("s")))
}

async fn about(bench: &Bench, resource: &str, name: &str, explain: Explain) -> Vec<Value> {
    let wanted = Wanted { resource: resource.to_owned(), namespace: "n".to_owned(), name: name.to_owned(), limit: 50, ..Wanted::default() };
    bench.handle.decisions().find(Asked { wanted, explain }).await.expect("a log")
}

async fn export(bench: &Bench, plugin: &str) -> PathBuf {
    let path = bench.folder.path().join(format!("{plugin}.decisions"));
    let mut chunks = bench.handle.decisions().export(plugin);
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        bytes.extend(chunk);
    }
    std::fs::write(&path, bytes).expect("written");
    path
}

async fn try_on(bench: &Bench, log: &Path, component: &[u8], config: Option<&str>) -> Report {
    let cache = bench.folder.path().join("replays");
    let request = Request { log: log.to_owned(), component: component.to_vec(), plugin: None, config: config.map(str::to_owned), cache };
    replay(request).await.expect("a report")
}

fn counts(report: &Report) -> String {
    let Report { decisions, identical, same, changed, skipped, faults, .. } = report;
    format!("{decisions} decisions: {identical} identical, {same} same, {changed} changed, {skipped} skipped, {faults} faults")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_scheduler_decides_again_what_it_decided() {
    let bench = Bench::start(Vec::new());
    let component = guests::plugin("pintle-scheduler-default");
    bench.apply("s", spec("scheduler", &component));
    bench.condition("s", "Ready", "True", "Live").await;
    for (name, cpu) in [("a", "8"), ("b", "6"), ("c", "4")] {
        node(&bench, name, cpu);
    }
    for n in 0..40 {
        pod(&bench, &format!("p{n}"), "250m", 0);
    }
    for n in 0..40 {
        placed(&bench, &format!("p{n}")).await;
    }
    pod(&bench, "huge", "64", 0);
    let pending = || Some(bench.cluster.get_object(&PODS, "n", "huge")?.list_at(&["status", "conditions"]).first()?.str_at(&["message"]).to_owned());
    let told = bench.eventually(pending).await.expect("a condition");
    // One that must evict: 250m of 18 CPUs are left on each node at most after these.
    for n in 0..3 {
        pod(&bench, &format!("fill{n}"), "1900m", 0);
    }
    pod(&bench, "urgent", "3500m", 1000);
    let urgent = placed(&bench, "urgent").await;

    let found = about(&bench, "pods", "p7", Explain::EachNode).await;
    let scheduling = &found[0]["scheduling"];
    assert_eq!(scheduling["node"], placed(&bench, "p7").await.as_str());
    assert_eq!((&scheduling["totalNodes"], &scheduling["feasibleNodes"]), (&json!(3), &json!(3)));
    assert_eq!(scheduling["nodes"].as_array().map(Vec::len), Some(3), "{scheduling:#}");
    let best = scheduling["ranked"][0]["score"].clone();
    let of_chosen = scheduling["nodes"].as_array().and_then(|all| all.iter().find(|n| n["name"] == scheduling["ranked"][0]["node"])).cloned();
    assert!(of_chosen.is_some_and(|n| n["scores"].as_array().is_some_and(|s| !s.is_empty())), "scores of the best, {best}");
    let found = about(&bench, "pods", "huge", Explain::Summed).await;
    assert_eq!((&found[0]["outcome"], &found[0]["message"]), (&json!("Unschedulable"), &json!(told)));
    assert_eq!(found[0]["scheduling"]["rejections"][0]["message"], "Insufficient cpu");
    assert_eq!(about(&bench, "pods", "urgent", Explain::No).await[0]["scheduling"]["node"], urgent.as_str());

    let log = export(&bench, "s").await;
    let first = try_on(&bench, &log, &component, None).await;
    assert_eq!(first.identical, first.decisions, "{}: {:#?}", counts(&first), first.changes);
    assert!(first.decisions > 40 && first.faults == 0, "{}", counts(&first));
    assert_eq!(try_on(&bench, &log, &component, None).await, first, "twice the same");
    // The data folder itself is a log as well.
    assert_eq!(try_on(&bench, bench.folder.path(), &component, None).await.answers, first.answers);

    let packed = try_on(&bench, &log, &component, Some(r#"{"scoringStrategy": "MostAllocated"}"#)).await;
    assert!(packed.changed > 0 && packed.kinds.keys().all(|kind| kind == "other node"), "{}: {:?}", counts(&packed), packed.kinds);
    assert_eq!(packed.changes.len() as u64, packed.changed);
    assert_eq!(packed.decisions, first.decisions);
    assert_ne!(packed.answers, first.answers);
    assert_eq!(try_on(&bench, &log, &component, Some(r#"{"scoringStrategy": "MostAllocated"}"#)).await, packed);

    // A candidate that traps fails that decision, and the next one has a fresh instance that knows everything.
    let other = try_on(&bench, &log, guests::scheduler(), None).await;
    assert_eq!((other.decisions, other.skipped), (first.decisions, 0), "{}", counts(&other));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replicaset_controller_writes_again_what_it_wrote() {
    let bench = Bench::start(Vec::new());
    let component = guests::plugin("pintle-controller-replicaset");
    bench.apply("controller-replicaset", spec("controller", &component));
    bench.condition("controller-replicaset", "Ready", "True", "Live").await;
    let set = |replicas: u32| {
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let status = bench.cluster.get_object(&SETS, "n", "web").map_or(json!({}), |s| s["status"].clone());
        bench.cluster.put(
            &SETS,
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "n"}, "status": status,
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}}),
        );
    };
    for (replicas, wanted) in [(4, 4), (2, 2), (3, 3)] {
        set(replicas);
        let told = || (bench.cluster.get_object(&SETS, "n", "web")?.i64_at(&["status", "replicas"])? == wanted).then_some(());
        bench.eventually(told).await.unwrap_or_else(|| panic!("never {replicas}: {:#?}", bench.handle.logs("controller-replicaset")));
    }
    let found = about(&bench, "replicasets.apps", "web", Explain::No).await;
    let creations: usize =
        found.iter().map(|d| d["reconcile"]["writes"].as_array().map_or(0, |w| w.iter().filter(|w| w["verb"] == "create").count())).sum();
    assert_eq!(creations, 5, "{found:#?}");
    let pod = bench.cluster.all(&PODS).remove(0);
    let makers = about(&bench, "pods", pod.name(), Explain::No).await;
    assert!(makers.iter().any(|d| d["plugin"] == "controller-replicaset" && d["regarding"]["name"] == "web"), "{makers:#?}");

    let log = export(&bench, "controller-replicaset").await;
    let first = try_on(&bench, &log, &component, None).await;
    assert_eq!(first.identical, first.decisions, "{}: {:#?}", counts(&first), first.changes);
    assert!(first.decisions >= 3, "{}", counts(&first));
    assert_eq!(try_on(&bench, &log, &component, None).await, first, "twice the same");

    // Another controller asks what the recording does not tell, and the report says so.
    let other = try_on(&bench, &log, guests::controller(), None).await;
    assert!(other.changed > 0 && other.skipped == 0, "{}: {:#?}", counts(&other), other.changes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_controller_compiles_again_what_it_compiled() {
    let bench = Bench::start(Vec::new());
    bench.apply("i", spec("ingress", guests::ingress()));
    for name in ["web", "api"] {
        bench.cluster.put(
            &INGRESSES,
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name, "namespace": "n"}, "spec": {}}),
        );
        let mut routes = bench.handle.routes();
        routes.wait_for(|t| t.served.contains(&format!("n/{name}"))).await.expect("a table");
    }
    let found = about(&bench, "ingresses.networking.k8s.io", "web", Explain::No).await;
    assert_eq!(found[0]["outcome"], "Compiled", "{found:#?}");
    let log = export(&bench, "i").await;
    let first = try_on(&bench, &log, guests::ingress(), None).await;
    assert_eq!(first.identical, first.decisions, "{}: {:#?}", counts(&first), first.changes);
    assert!(first.decisions >= 2, "{}", counts(&first));
    assert_eq!(try_on(&bench, &log, guests::ingress(), None).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_replayed_is_told() {
    let bench = Bench::start(Vec::new());
    bench.apply("probe", controller_spec(guests::controller()));
    bench.condition("probe", "Ready", "True", "Live").await;
    bench.ask("a", "count");
    bench.answer("a").await;
    let log = export(&bench, "probe").await;
    let refusal = async |log: &Path, component: &[u8], plugin: Option<&str>| {
        let cache = bench.folder.path().join("replays");
        let request = Request { log: log.to_owned(), component: component.to_vec(), plugin: plugin.map(str::to_owned), config: None, cache };
        replay(request).await.expect_err("refused").to_string()
    };
    assert_eq!(refusal(&log, guests::scheduler(), None).await, "the log holds no decisions of a scheduler");
    assert_eq!(refusal(&log, guests::controller(), Some("x")).await, "the log holds no decisions of \"x\", only of: probe");
    assert!(refusal(&log, b"hello", None).await.starts_with("the candidate: not a component"));
    assert!(refusal(Path::new("/nowhere"), guests::controller(), None).await.contains("/nowhere"));
}
