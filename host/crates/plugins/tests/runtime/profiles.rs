//! Several components with a say in one scheduler name's pods: a primary, and extenders with weights.

use pintle_api::object::ObjectExt;
use pintle_plugins::plugin::PLUGINS;
use pintle_plugins::replay::{Request, replay};
use pintle_plugins::{Asked, Explain, Wanted};
use serde_json::{Value, json};

use crate::guests;
use crate::harness::{Bench, inline};
use crate::schedulers::{PODS, node};

pub fn primary() -> Value {
    let grants = json!([{"apiGroups": ["*"], "resources": ["*", "*/*"], "verbs": ["*"]}]);
    json!({"world": "scheduler", "source": inline(&guests::plugin("pintle-scheduler-default")), "grants": grants})
}

/// It may read and no more.
pub fn extender(component: &[u8], config: &str, weight: u32, ignorable: bool) -> Value {
    let grants = json!([{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list", "watch"]}]);
    json!({"world": "scheduler", "source": inline(component), "config": config, "grants": grants,
        "profile": {"role": "Extender", "weight": weight, "ignorable": ignorable}})
}

fn pod(bench: &Bench, name: &str, cpu: &str, priority: i64) {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
    bench.cluster.put(
        &PODS,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n"},
        "spec": {"schedulerName": "default-scheduler", "priority": priority, "containers": [container]}}),
    );
}

async fn node_of(bench: &Bench, name: &str) -> String {
    let node = || Some(bench.cluster.get_object(&PODS, "n", name)?.str_at(&["spec", "nodeName"]).to_owned()).filter(|n| !n.is_empty());
    bench.eventually(node).await.unwrap_or_else(|| panic!("{name} got no node: {:#?}", bench.handle.logs("s")))
}

async fn told(bench: &Bench, name: &str) -> String {
    let message = || Some(bench.cluster.get_object(&PODS, "n", name)?.list_at(&["status", "conditions"]).first()?.str_at(&["message"]).to_owned());
    // The driver may hear of the pod before it hears of the nodes.
    let condition = || message().filter(|m| m != "no nodes available to schedule pods");
    bench.eventually(condition).await.expect("a condition")
}

/// What is on record of a pod, the newest first.
async fn decisions(bench: &Bench, pod: &str) -> Vec<Value> {
    recorded(bench, pod, Explain::EachNode).await
}

pub async fn recorded(bench: &Bench, pod: &str, explain: Explain) -> Vec<Value> {
    let wanted = Wanted { resource: "pods".to_owned(), namespace: "n".to_owned(), name: pod.to_owned(), limit: 50, ..Wanted::default() };
    bench.handle.decisions().find(Asked { wanted, explain }).await.expect("a log")
}

pub async fn live(bench: &Bench, plugins: &[(&str, Value)]) {
    for (name, spec) in plugins {
        bench.apply(name, spec.clone());
        bench.condition(name, "Ready", "True", "Live").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_decide_between_components_of_two_versions() {
    let bench = Bench::start(Vec::new());
    let cheap = extender(guests::scheduler(), "prefers c", 5, false);
    // Built against 0.2.
    let free = extender(guests::scheduler_0_2(), "", 1, false);
    live(&bench, &[("cheap", cheap), ("free", free), ("s", primary())]).await;
    for (name, cpu) in [("a", "8"), ("b", "1"), ("c", "4")] {
        node(&bench, name, cpu);
    }
    pod(&bench, "p", "2", 0);
    assert_eq!(node_of(&bench, "p").await, "c", "the primary and the free CPU are for a, five times the price for c");

    let found = decisions(&bench, "p").await;
    let by: Vec<(&str, &str)> = found.iter().map(|d| (d.str_at(&["plugin"]), d.str_at(&["outcome"]))).collect();
    assert_eq!(by, [("s", "Scheduled"), ("free", "Ranked"), ("cheap", "Ranked")]);
    let scheduling = &found[0]["scheduling"];
    assert_eq!((&scheduling["node"], &scheduling["feasibleNodes"], &scheduling["scoredNode"]), (&json!("c"), &json!(2), &json!("c")));
    let profile = &scheduling["profile"];
    let order: Vec<&str> = profile.list_at(&["totals"]).iter().map(|t| t.str_at(&["node"])).collect();
    assert_eq!(order, ["c", "a"], "{profile:#}");
    let scores = &profile["totals"][0]["scores"];
    assert_eq!((&scores[1], &scores[2]), (&json!({"plugin": "cheap", "score": 100.0}), &json!({"plugin": "free", "score": 33.333})), "{profile:#}");
    // Each component's own words are there as well.
    assert_eq!(found[1]["ranking"]["ranked"], json!([{"node": "a", "score": 6000}, {"node": "c", "score": 2000}]), "{:#}", found[1]);
    let nodes = found[1]["ranking"].list_at(&["nodes"]);
    assert_eq!(nodes[1], json!({"name": "b", "rejected": [{"filter": "FreeCpu", "message": "Insufficient cpu"}]}));
    assert!(scheduling.list_at(&["nodes"]).iter().any(|n| n["name"] == "a" && !n.list_at(&["scores"]).is_empty()), "{scheduling:#}");

    for (plugin, component) in
        [("s", guests::plugin("pintle-scheduler-default")), ("cheap", guests::scheduler().to_vec()), ("free", guests::scheduler_0_2().to_vec())]
    {
        let request = Request {
            log: bench.folder.path().to_owned(),
            component,
            plugin: Some(plugin.to_owned()),
            config: None,
            cache: bench.folder.path().join("replays"),
        };
        let report = replay(request).await.expect("a report");
        assert!(report.decisions >= 1 && report.identical == report.decisions, "{plugin}: {report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_an_extender_refuses_takes_no_pod_and_no_victims() {
    let bench = Bench::start(Vec::new());
    live(&bench, &[("s", primary()), ("dear", extender(guests::scheduler(), "refuses b", 1, false))]).await;
    node(&bench, "a", "2");
    node(&bench, "b", "4");
    pod(&bench, "large", "3", 0);
    assert_eq!(
        told(&bench, "large").await,
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were dear. no new claims to deallocate, preemption: 0/2 nodes are available: \
         2 Preemption is not helpful for scheduling."
    );
    pod(&bench, "low", "1500m", 0);
    assert_eq!(node_of(&bench, "low").await, "a");
    // It would fit on b without any eviction.
    pod(&bench, "urgent", "1500m", 1000);
    assert_eq!(node_of(&bench, "urgent").await, "a");
    assert!(bench.cluster.get_object(&PODS, "n", "low").is_none(), "it was evicted");
    // Without its extender the primary decides alone, and whoever waited is looked at again.
    bench.cluster.remove(&PLUGINS, "", "dear");
    assert_eq!(node_of(&bench, "large").await, "b");
    assert!(decisions(&bench, "large").await[0]["scheduling"]["profile"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_that_cannot_answer_holds_pods_back_unless_it_is_ignorable() {
    let bench = Bench::start(Vec::new());
    live(&bench, &[("s", primary()), ("broken", extender(guests::scheduler(), "panics", 1, false))]).await;
    node(&bench, "a", "2");
    pod(&bench, "p", "1", 0);
    let why = told(&bench, "p").await;
    assert!(why.starts_with("broken: trapped: ") && why.contains("configured to panic"), "{why}");
    assert_eq!(bench.cluster.get_object(&PODS, "n", "p").expect("a pod").str_at(&["spec", "nodeName"]), "");
    bench.condition("broken", "Degraded", "True", "Trapped").await;

    bench.apply("broken", extender(guests::scheduler(), "panics", 1, true));
    assert_eq!(node_of(&bench, "p").await, "a");
    let newest = &decisions(&bench, "p").await[0];
    let ignored = newest.list_at(&["scheduling", "profile", "extenders"])[0].str_at(&["ignored"]);
    assert!(ignored.contains("configured to panic") || ignored == "rests after a fault", "{newest:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_plugin_serves_several_names_and_leaves_those_that_it_no_longer_has() {
    let bench = Bench::start(Vec::new());
    node(&bench, "a", "8");
    let place = |name: &str, scheduler: &str| {
        let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}});
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n"},
            "spec": {"schedulerName": scheduler, "containers": [container]}});
        bench.cluster.put(&PODS, object);
    };
    let mut spec = primary();
    (spec["schedulerName"], spec["schedulerNames"]) = ("one".into(), json!(["two", "one", "three"]));
    live(&bench, &[("s", spec.clone())]).await;
    for scheduler in ["one", "two", "three"] {
        place(scheduler, scheduler);
        assert_eq!(node_of(&bench, scheduler).await, "a");
        let decided = &decisions(&bench, scheduler).await[0];
        assert_eq!((&decided["plugin"], &decided["schedulerName"]), (&json!("s"), &json!(scheduler)));
    }
    let request = Request {
        log: bench.folder.path().to_owned(),
        component: guests::plugin("pintle-scheduler-default"),
        plugin: Some("s".to_owned()),
        config: None,
        cache: bench.folder.path().join("replays"),
    };
    let report = replay(request).await.expect("a report");
    assert!(report.decisions >= 3 && report.identical == report.decisions, "each name's decisions replay over what was fed there: {report:#?}");
    // The names that it keeps go on without it being anew there; `two` is another one's, or nobody's.
    spec["schedulerNames"] = json!(["three"]);
    bench.apply("s", spec);
    let seen = || bench.plugin("s")["status"]["observedGeneration"] == bench.plugin("s")["metadata"]["generation"];
    bench.eventually(|| seen().then_some(())).await.expect("it is seen");
    let mut other = primary();
    other["schedulerName"] = "two".into();
    live(&bench, &[("a", other)]).await;
    for (pod, scheduler, plugin) in [("p1", "one", "s"), ("p2", "two", "a"), ("p3", "three", "s")] {
        place(pod, scheduler);
        assert_eq!(node_of(&bench, pod).await, "a");
        assert_eq!(decisions(&bench, pod).await[0]["plugin"], plugin);
    }
    bench.condition("s", "Ready", "True", "Live").await;
    bench.cluster.remove(&PLUGINS, "", "s");
    place("p4", "two");
    assert_eq!(node_of(&bench, "p4").await, "a");
}
