//! A candidate beside the live revision, with the real components: compared, given a share, promoted, rolled back. Those of admission
//! policies and of extenders are in [`crate::trials`].

use std::cell::Cell;

use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::guests;
use crate::harness::{Bench, CONFIG_MAPS, EVENTS, controller_spec, inline};
use crate::schedulers::{PODS, bindings, node, node_of, pod};

/// With time enough for a call that a busy machine delays: a missed deadline is a fault, and these tests count decisions.
fn spec(config: &str) -> Value {
    let mut spec = crate::schedulers::spec(config);
    spec["limits"] = json!({"deadlineMilliseconds": 30_000});
    spec
}

/// The spec with another configuration of the same component beside it.
pub fn with_candidate(mut spec: Value, config: &str, more: Value) -> Value {
    let mut candidate = json!({"source": spec["source"], "config": config, "stage": "Shadow"});
    for (key, value) in more.as_object().expect("fields") {
        candidate[key] = value.clone();
    }
    spec["candidate"] = candidate;
    spec
}

async fn scheduler(candidate_config: &str, more: Value) -> Bench {
    let bench = Bench::start(Vec::new());
    node(&bench, "a", "1000");
    node(&bench, "b", "1000");
    bench.apply("s", spec(""));
    bench.condition("s", "Ready", "True", "Live").await;
    let stage = more["stage"].as_str().unwrap_or("Shadow").to_owned();
    bench.apply("s", with_candidate(spec(""), candidate_config, more));
    bench.condition("s", "CandidateReady", "True", &stage).await;
    bench
}

pub async fn candidate(bench: &Bench, name: &str, test: impl Fn(&Value) -> bool) -> Value {
    let look = || Some(bench.plugin(name)["status"]["candidate"].clone()).filter(|c| test(c));
    match bench.eventually(look).await {
        Some(candidate) => candidate,
        None => panic!("{:#}\n{:#?}", bench.plugin(name)["status"], bench.handle.logs(name)),
    }
}

/// What the event of a promotion says.
async fn promotion(bench: &Bench) -> String {
    let told = || bench.cluster.all(&EVENTS).into_iter().find(|e| e["reason"] == "Promoted");
    bench.eventually(told).await.expect("an event")["note"].to_string()
}

pub fn pod_in(bench: &Bench, namespace: &str, name: &str) {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "10m"}}});
    bench.cluster.put(
        &PODS,
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"schedulerName": "default-scheduler", "containers": [container]},
        "metadata": {"name": name, "namespace": namespace}}),
    );
}

pub async fn placed(bench: &Bench, namespace: &str, name: &str) -> String {
    let look = || Some(bench.cluster.get_object(&PODS, namespace, name)?.str_at(&["spec", "nodeName"]).to_owned()).filter(|n| !n.is_empty());
    bench.eventually(look).await.unwrap_or_else(|| panic!("{name}: {:#?}", bench.handle.logs("s")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_compared_decides_nothing_and_is_promoted_when_asked() {
    let bench = scheduler("last", json!({})).await;
    for n in 0..5 {
        pod(&bench, &format!("p{n}"), "100m", "");
        assert_eq!(node_of(&bench, &format!("p{n}")).await, "a");
    }
    let seen = candidate(&bench, "s", |c| c["compared"] == 5).await;
    assert_eq!((seen["agreed"].clone(), seen["agreement"].clone(), seen["faults"].clone()), (json!(0), json!("0%"), json!(0)));
    assert!(seen["fuelPerCall"].as_u64().is_some_and(|fuel| fuel > 1000), "{seen:#}");
    let difference = &seen["differences"][0];
    assert_eq!(
        (difference["kind"].clone(), difference["subject"].clone(), difference["live"].clone(), difference["candidate"].clone()),
        (json!("Choice"), json!("pod n/p0"), json!("a (100); 1 of 2 nodes feasible"), json!("b (100); 1 of 2 nodes feasible"))
    );
    assert_eq!(bindings(&bench), 5);
    let metrics = bench.handle.metrics_reader()();
    for line in ["pintle_plugin_compared_total{plugin=\"s\",stage=\"shadow\"} 5", "pintle_plugin_agreement_ratio{plugin=\"s\",stage=\"shadow\"} 0"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    bench.apply("s", with_candidate(spec(""), "last", json!({"stage": "Live"})));
    let promoted = || Some(bench.plugin("s")).filter(|p| p["spec"]["candidate"].is_null() && p["status"]["activeRevision"] == 2);
    let plugin = bench.eventually(promoted).await.unwrap_or_else(|| panic!("{:#}", bench.plugin("s")["status"]));
    assert_eq!(plugin["spec"]["config"], "last");
    let note = promotion(&bench).await;
    assert!(note.contains("asked for; 0 of 5 decisions agreed"), "{note}");
    assert!(plugin["status"]["candidate"].is_null(), "{:#}", plugin["status"]);
    pod(&bench, "after", "100m", "");
    assert_eq!(node_of(&bench, "after").await, "b");
    assert_eq!(bindings(&bench), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_agrees_is_promoted_by_itself() {
    let bench = scheduler("", json!({"promoteWhen": {"decisions": 4, "agreement": 1.0}})).await;
    for n in 0..4 {
        assert!(!bench.plugin("s")["spec"]["candidate"].is_null(), "{n} decisions are too few");
        pod(&bench, &format!("p{n}"), "100m", "");
        node_of(&bench, &format!("p{n}")).await;
    }
    bench.eventually(|| bench.plugin("s")["spec"]["candidate"].is_null().then_some(())).await.expect("a promotion");
    let note = promotion(&bench).await;
    assert!(note.contains("promoteWhen holds; 4 of 4 decisions agreed"), "{note}");
    pod(&bench, "after", "100m", "");
    node_of(&bench, "after").await;
    assert_eq!(bindings(&bench), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_places_the_pods_of_its_share_only() {
    let bench = scheduler("last", json!({"stage": "Canary", "canary": {"namespaces": ["staging"]}})).await;
    // Until its instance stands where decisions are made the live revision decides.
    let mut early = 0;
    loop {
        let name = format!("early{early}");
        pod_in(&bench, "staging", &name);
        if placed(&bench, "staging", &name).await == "b" {
            break;
        }
        early += 1;
        assert!(early < 1000, "the canary decides nothing");
    }
    for n in 0..10 {
        pod_in(&bench, "staging", &format!("s{n}"));
        pod_in(&bench, "prod", &format!("p{n}"));
    }
    for n in 0..10 {
        assert_eq!(placed(&bench, "staging", &format!("s{n}")).await, "b");
        assert_eq!(placed(&bench, "prod", &format!("p{n}")).await, "a");
    }
    assert_eq!(bindings(&bench), 21 + early);
    let seen = candidate(&bench, "s", |c| c["compared"] == 11).await;
    assert_eq!(seen["agreed"], 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_keeps_failing_gives_its_share_back() {
    let bench = scheduler("panics", json!({"stage": "Canary", "canary": {"percent": 100}})).await;
    // The live revision decides while a fresh instance of the canary comes up, so pods come until it has failed often enough.
    let made = Cell::new(0_usize);
    let given_back = || {
        if bindings(&bench) == made.get() {
            pod(&bench, &format!("p{}", made.get()), "1m", "");
            made.set(made.get() + 1);
        }
        (bench.plugin("s")["status"]["candidate"]["stage"] == "RolledBack").then_some(())
    };
    bench.eventually(given_back).await.expect("five faults");
    let why = bench.condition("s", "CandidateReady", "False", "RolledBack").await;
    assert!(why.contains("configured to panic"), "{why}");
    for n in 0..made.get() {
        assert_eq!(node_of(&bench, &format!("p{n}")).await, "a");
    }
    assert_eq!(bindings(&bench), made.get());
    assert_eq!(bench.plugin("s")["status"]["candidate"]["stage"], "RolledBack");
    assert_eq!(bench.plugin("s")["status"]["stage"], "Live");
    assert!(bench.handle.metrics_reader()().contains("pintle_plugin_rollbacks_total{plugin=\"s\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_panics_harms_nobody() {
    let bench = scheduler("panics", json!({})).await;
    for n in 0..5 {
        pod(&bench, &format!("p{n}"), "100m", "");
        assert_eq!(node_of(&bench, &format!("p{n}")).await, "a");
    }
    let seen = candidate(&bench, "s", |c| c["faults"].as_u64() > Some(0)).await;
    assert_eq!(seen["differences"][0]["kind"], "Fault");
    assert_eq!(
        bench.plugin("s")["status"]["conditions"].as_array().map(|all| all.iter().any(|c| c["type"] == "Degraded" && c["status"] == "True")),
        Some(false)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_cannot_be_had_leaves_the_live_one() {
    let bench = Bench::start(Vec::new());
    bench.apply("s", spec(""));
    bench.condition("s", "Ready", "True", "Live").await;
    bench.apply("s", with_candidate(spec(""), "", json!({"source": inline(b"\0asm nonsense")})));
    bench.condition("s", "CandidateReady", "False", "NotAComponent").await;
    assert_eq!(
        (bench.plugin("s")["status"]["stage"].clone(), bench.plugin("s")["status"]["candidate"]["stage"].clone()),
        (json!("Live"), json!("Failed"))
    );
    bench.apply("s", spec(""));
    bench.eventually(|| bench.plugin("s")["status"]["candidate"].is_null().then_some(())).await.expect("no trace of it");
}

async fn controller(config: &str, more: Value) -> Bench {
    let bench = Bench::start(Vec::new());
    let live = controller_spec(guests::controller());
    bench.apply("probe", live.clone());
    bench.condition("probe", "Ready", "True", "Live").await;
    let stage = more["stage"].as_str().unwrap_or("Shadow").to_owned();
    bench.apply("probe", with_candidate(live, config, more));
    bench.condition("probe", "CandidateReady", "True", &stage).await;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controllers_shadow_writes_nothing_and_its_writes_are_compared() {
    let bench = controller("other", json!({})).await;
    bench.ask("same", "child");
    assert_eq!(bench.answer("same").await, "children 1");
    let agreeing = candidate(&bench, "probe", |c| c["agreed"].as_u64() >= Some(2)).await;
    assert_eq!((agreeing["compared"].clone(), agreeing["differences"].clone()), (agreeing["agreed"].clone(), json!([])));
    bench.ask("differs", "config");
    assert_eq!(bench.answer("differs").await, "");
    let seen = candidate(&bench, "probe", |c| !c["differences"].as_array().is_none_or(Vec::is_empty)).await;
    let difference = &seen["differences"][0];
    assert_eq!(
        (difference["kind"].clone(), difference["subject"].clone(), difference["reasons"].clone()),
        (json!("Writes"), json!("n/differs"), json!([r#"update configmaps n/differs: data.done: "", candidate "other""#]))
    );
    assert_eq!(bench.cluster.get_object(&CONFIG_MAPS, "n", "differs").expect("is there")["data"]["done"], "");
    let writes = bench.cluster.writes();
    let count = |line: &str| writes.iter().filter(|w| *w == line).count();
    // `same` comes again for its child, and again tries to make it: only its answer is written once.
    assert_eq!((count("update configmaps same"), count("update configmaps differs")), (1, 1), "{writes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controllers_canary_has_its_keys_alone_until_it_goes() {
    let bench = controller("other", json!({"stage": "Canary", "canary": {"namespaces": ["staging"]}})).await;
    let ask = |namespace: &str, name: &str| {
        let metadata = json!({"name": name, "namespace": namespace});
        bench.cluster.put(&CONFIG_MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"do": "config"}}));
    };
    let answer = async |namespace: &str, name: &str| {
        let done = || bench.cluster.get_object(&CONFIG_MAPS, namespace, name)?["data"]["done"].as_str().map(str::to_owned);
        bench.eventually(done).await.unwrap_or_else(|| panic!("{:#?}", bench.handle.logs("probe")))
    };
    for n in 0..10 {
        ask("staging", &format!("s{n}"));
        ask("prod", &format!("p{n}"));
    }
    for n in 0..10 {
        assert_eq!(answer("staging", &format!("s{n}")).await, "other");
        assert_eq!(answer("prod", &format!("p{n}")).await, "");
    }
    bench.apply("probe", controller_spec(guests::controller()));
    bench.eventually(|| bench.plugin("probe")["status"]["candidate"].is_null().then_some(())).await.expect("no candidate");
    ask("staging", "later");
    assert_eq!(answer("staging", "later").await, "");
    let updates = bench.cluster.writes().iter().filter(|w| w.starts_with("update configmaps")).count();
    assert_eq!(updates, 21, "each was answered once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_failed_reconciliations_brings_back_the_revision_before() {
    let bench = Bench::start(Vec::new());
    let mut live = controller_spec(guests::controller());
    live["rollback"] = json!({"failedPercent": 50, "failedOf": 4});
    bench.apply("probe", live.clone());
    bench.condition("probe", "Ready", "True", "Live").await;
    live["config"] = "second".into();
    bench.apply("probe", live);
    bench.eventually(|| (bench.plugin("probe")["status"]["activeRevision"] == 2).then_some(())).await.expect("revision 2");
    for n in 0..4 {
        bench.ask(&format!("bad-{n}"), "nonsense");
    }
    // The condition may be gone already: the revision before meets the same keys, and fails as often.
    let rolled_back = || Some(bench.plugin("probe")["status"]["lastRollback"].clone()).filter(|rollback| rollback.is_object());
    let rollback = bench.eventually(rolled_back).await.expect("a rollback");
    assert_eq!((rollback["reason"].clone(), rollback["toRevision"].clone()), (json!("DecisionsFailed"), json!(1)));
    let why = rollback["message"].as_str().unwrap_or_default();
    assert!(why.contains("of its last 4 decisions"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_shadows_table_is_compared_and_not_published() {
    let bench = Bench::start(Vec::new());
    let grants = json!([{"apiGroups": ["*"], "resources": ["*", "ingresses/status"], "verbs": ["*"]}]);
    let live = json!({"world": "ingress", "source": inline(guests::ingress()), "grants": grants});
    bench.apply("i", live.clone());
    bench.condition("i", "Ready", "True", "Live").await;
    bench.apply("i", with_candidate(live, "something else", json!({})));
    let seen = candidate(&bench, "i", |c| c["compared"] == 1).await;
    let difference = &seen["differences"][0];
    assert_eq!(
        (difference["kind"].clone(), difference["live"].clone(), difference["candidate"].clone()),
        (json!("Route"), json!(r#"respond 404 "nothing here\n""#), json!(r#"respond 404 "something else""#))
    );
    let routes = bench.handle.routes();
    assert!(format!("{:?}", routes.borrow().fallback).contains("nothing here"));
}
