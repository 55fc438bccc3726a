//! A candidate beside an admission policy and beside an extender, with the real components.

use std::cell::Cell;

use pintle_api::admission::{Change, Phase, Review, Verdict};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::admissions::{ask, review};
use crate::guests;
use crate::harness::{Bench, CONFIG_MAPS};
use crate::profiles::{extender, live, primary};
use crate::schedulers::node;
use crate::stages::{candidate, placed, pod_in, with_candidate};

/// With time enough for a call that a busy machine delays.
pub fn policy() -> Value {
    let mut spec = crate::admissions::spec("");
    spec["limits"] = json!({"deadlineMilliseconds": 30_000});
    spec
}

async fn beside_policy(config: &str, more: Value) -> Bench {
    let bench = Bench::start(Vec::new());
    bench.apply("p", policy());
    bench.condition("p", "Ready", "True", "Live").await;
    let stage = more["stage"].as_str().unwrap_or("Shadow").to_owned();
    bench.apply("p", with_candidate(policy(), config, more));
    bench.condition("p", "CandidateReady", "True", &stage).await;
    bench
}

fn differences(candidate: &Value) -> Vec<[String; 5]> {
    let of = |d: &Value| {
        let reasons: Vec<&str> = d.list_at(&["reasons"]).iter().filter_map(Value::as_str).collect();
        let [kind, subject, live, candidate] = ["kind", "subject", "live", "candidate"].map(|field| d.str_at(&[field]).to_owned());
        [kind, subject, live, candidate, reasons.join("; ")]
    };
    candidate.list_at(&["differences"]).iter().map(of).collect()
}

/// The value that the policy wrote into `data`.
fn written(verdict: Result<Verdict, String>, key: &str) -> String {
    match verdict {
        Ok(Verdict { change: Change::Object(object), .. }) => object.str_at(&["data", key]).to_owned(),
        other => panic!("{key}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policys_shadow_is_compared_answers_nobody_and_is_promoted_when_asked() {
    let bench = beside_policy("strict", json!({})).await;
    assert!(ask(&bench, "deny").await.is_ok_and(|v| v.refusal.is_some()));
    candidate(&bench, "p", |c| c["compared"] == 1 && c["agreed"] == 1).await;
    assert_eq!(ask(&bench, "strict").await, Ok(Verdict::default()));
    assert!(ask(&bench, "words").await.is_ok_and(|v| v.refusal.is_some_and(|r| r.message == "denied by \"\"")));
    assert_eq!(written(ask(&bench, "config").await, "config"), "");
    let seen = candidate(&bench, "p", |c| c["compared"] == 4).await;
    let subject = "CREATE configmaps n/a, Mutate";
    let expected = [
        ["Verdict", subject, "allowed", "refused, 403 Forbidden: strict", ""],
        ["Refusal", subject, "refused, 403 Forbidden: denied by \"\"", "refused, 403 Forbidden: denied by \"strict\"", ""],
        ["Object", subject, "allowed, changed", "allowed, changed", "data.config: \"\", candidate \"strict\""],
    ];
    assert_eq!(differences(&seen), expected);
    assert_eq!((&seen["agreed"], &seen["agreement"], &seen["faults"], &seen["skipped"]), (&json!(1), &json!("25%"), &json!(0), &json!(0)));
    assert!(seen["fuelPerCall"].as_u64().is_some_and(|fuel| fuel > 1000), "{seen:#}");
    let metrics = bench.handle.metrics_reader()();
    for line in ["pintle_plugin_compared_total{plugin=\"p\",stage=\"shadow\"} 4", "pintle_plugin_agreement_ratio{plugin=\"p\",stage=\"shadow\"} 0.25"]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    bench.apply("p", with_candidate(policy(), "strict", json!({"stage": "Live"})));
    let promoted = || Some(bench.plugin("p")).filter(|p| p["spec"]["candidate"].is_null() && p["status"]["activeRevision"] == 2);
    let plugin = bench.eventually(promoted).await.unwrap_or_else(|| panic!("{:#}", bench.plugin("p")["status"]));
    assert_eq!((&plugin["spec"]["config"], &plugin["status"]["candidate"]), (&json!("strict"), &Value::Null));
    assert_eq!(written(ask(&bench, "config").await, "config"), "strict");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policys_shadow_hears_what_the_live_one_read() {
    // Slow: the write that was asked about is there before the candidate looks.
    let bench = beside_policy("slow", json!({"promoteWhen": {"decisions": 5}})).await;
    for n in 0..5 {
        assert_eq!(written(ask(&bench, "read").await, "read"), format!("Ok({n}) true"));
        bench.cluster.put(&CONFIG_MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{n}"), "namespace": "n"}}));
    }
    let promoted = || Some(bench.plugin("p")).filter(|p| p["spec"]["candidate"].is_null());
    bench.eventually(promoted).await.unwrap_or_else(|| panic!("{:#}", bench.plugin("p")["status"]));
    let counted = || bench.handle.metrics_reader()().contains("pintle_plugin_promotions_total{plugin=\"p\"} 1").then_some(());
    bench.eventually(counted).await.expect("it is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policys_shadow_that_is_too_slow_skips_and_one_that_panics_harms_nobody() {
    let bench = beside_policy("slow", json!({})).await;
    let policies = bench.handle.admission();
    let answers = futures::future::join_all((0..400).map(|_| policies.ask("p", review(Phase::Mutate, "deny")))).await;
    assert!(answers.iter().all(|a| a.as_ref().is_ok_and(|v| v.refusal.is_some())), "{answers:?}");
    let seen = candidate(&bench, "p", |c| c["skipped"].as_u64() > Some(0)).await;
    assert_eq!(seen["faults"], 0);

    bench.apply("p", with_candidate(policy(), "panics", json!({})));
    let faulty = || {
        let seen = bench.plugin("p")["status"]["candidate"].clone();
        (seen["faults"].as_u64() > Some(0)).then_some(seen)
    };
    candidate(&bench, "p", |c| c["skipped"] == 0 && c["stage"] == "Shadow").await;
    assert!(ask(&bench, "deny").await.is_ok_and(|v| v.refusal.is_some()));
    let seen = bench.eventually(faulty).await.expect("a fault");
    let [kind, subject, _, why, _] = &differences(&seen)[0];
    assert_eq!((kind.as_str(), subject.as_str()), ("Fault", "CREATE configmaps n/a, Mutate"));
    assert!(why.contains("configured to panic"), "{why}");
    let degraded = bench.plugin("p")["status"].list_at(&["conditions"]).iter().any(|c| c["type"] == "Degraded" && c["status"] == "True");
    assert!(!degraded, "{:#}", bench.plugin("p"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policys_candidate_would_not_be_asked_about_it_lets_pass() {
    let bench = beside_policy("narrow", json!({})).await;
    let denied = bench.handle.admission().ask("p", review(Phase::Validate, "validate:deny")).await;
    assert!(denied.is_ok_and(|v| v.refusal.is_some()));
    let seen = candidate(&bench, "p", |c| c["compared"] == 1).await;
    let told = differences(&seen);
    assert_eq!(
        told[0][..4],
        [
            "Rules",
            "rules",
            "Mutate CREATE,UPDATE /v1 configmaps *; Validate CREATE,UPDATE,DELETE /v1 configmaps *",
            "Mutate CREATE,UPDATE /v1 configmaps *"
        ]
    );
    assert_eq!(told[1][..4], ["Verdict", "CREATE configmaps n/a, Validate", "refused, 403 Forbidden: asked to deny", "allowed"]);
}

fn in_namespace(namespace: &str, probe: &str) -> Review {
    let mut review = review(Phase::Mutate, probe);
    review.request["namespace"] = namespace.into();
    review
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policys_canary_answers_for_its_share_only() {
    let bench = beside_policy("strict", json!({"stage": "Canary", "canary": {"namespaces": ["staging"]}})).await;
    let policies = bench.handle.admission();
    for _ in 0..10 {
        assert_eq!(written(policies.ask("p", in_namespace("staging", "config")).await, "config"), "strict");
        assert_eq!(written(policies.ask("p", in_namespace("prod", "config")).await, "config"), "");
    }
    let seen = candidate(&bench, "p", |c| c["compared"] == 10).await;
    assert_eq!(seen["agreed"], 10);
    bench.apply("p", policy());
    bench.eventually(|| bench.plugin("p")["status"]["candidate"].is_null().then_some(())).await.expect("no candidate");
    assert_eq!(written(policies.ask("p", in_namespace("staging", "config")).await, "config"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policys_canary_that_keeps_failing_is_stood_in_for_and_gives_its_share_back() {
    let bench = beside_policy("panics", json!({"stage": "Canary", "canary": {"percent": 100}})).await;
    for _ in 0..5 {
        assert!(ask(&bench, "deny").await.is_ok_and(|v| v.refusal.is_some()), "the live revision answers");
    }
    let why = bench.condition("p", "CandidateReady", "False", "RolledBack").await;
    assert!(why.contains("configured to panic"), "{why}");
    let status = bench.plugin("p")["status"].clone();
    assert_eq!((&status["candidate"]["stage"], &status["candidate"]["faults"], &status["stage"]), (&json!("RolledBack"), &json!(5), &json!("Live")));
    assert!(bench.handle.metrics_reader()().contains("pintle_plugin_rollbacks_total{plugin=\"p\"} 1"));
    assert!(ask(&bench, "deny").await.is_ok_and(|v| v.refusal.is_some()));
    let calls = || {
        bench.handle.metrics_reader()().lines().find(|l| l.starts_with("pintle_plugin_calls_total{plugin=\"p\",stage=\"canary\"}")).map(str::to_owned)
    };
    let before = calls();
    assert!(ask(&bench, "deny").await.is_ok());
    assert_eq!(calls(), before, "it is asked no more");
}

/// A primary that is indifferent between two nodes, an extender that prefers `a`, and its candidate.
async fn beside_extender(config: &str, more: Value) -> Bench {
    let bench = Bench::start(Vec::new());
    let mut spec = extender(guests::scheduler(), "prefers a", 100, false);
    spec["limits"] = json!({"deadlineMilliseconds": 30_000});
    live(&bench, &[("s", primary()), ("e", spec.clone())]).await;
    ["a", "b"].into_iter().for_each(|name| node(&bench, name, "1000"));
    let stage = more["stage"].as_str().unwrap_or("Shadow").to_owned();
    bench.apply("e", with_candidate(spec, config, more));
    bench.condition("e", "CandidateReady", "True", &stage).await;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extenders_shadow_is_compared_and_places_nothing() {
    let bench = beside_extender("prefers b", json!({})).await;
    for n in 0..3 {
        pod_in(&bench, "n", &format!("p{n}"));
        assert_eq!(placed(&bench, "n", &format!("p{n}")).await, "a");
    }
    let seen = candidate(&bench, "e", |c| c["compared"] == 3).await;
    let expected = ["Scores", "pod n/p0", "keeps 2 of 2 nodes: a (100), b (10)", "keeps 2 of 2 nodes: b (100), a (10)", ""];
    assert_eq!((&seen["agreed"], &differences(&seen)[0]), (&json!(0), &expected.map(str::to_owned)));
    assert!(seen["fuelPerCall"].as_u64().is_some_and(|fuel| fuel > 1000), "{seen:#}");

    let spec = bench.plugin("e")["spec"].clone();
    bench.apply("e", with_candidate(spec, "refuses a", json!({})));
    let look = || Some(bench.plugin("e")["status"]["candidate"].clone()).filter(|c| c["compared"] == 0 && c["stage"] == "Shadow");
    bench.eventually(look).await.expect("the next candidate");
    pod_in(&bench, "n", "p3");
    assert_eq!(placed(&bench, "n", "p3").await, "a");
    let seen = candidate(&bench, "e", |c| c["compared"] == 1).await;
    let expected = [
        "Filter",
        "pod n/p3",
        "keeps 2 of 2 nodes: a (100), b (10)",
        "keeps 1 of 2 nodes: b (10)",
        "the candidate rejects 1 node(s): Price: node(s) were dear",
    ];
    assert_eq!(differences(&seen)[0], expected.map(str::to_owned));
    let spec = bench.plugin("e")["spec"].clone();
    bench.apply("e", with_candidate(spec, "refuses a", json!({"stage": "Live"})));
    let promoted = || Some(bench.plugin("e")).filter(|p| p["spec"]["candidate"].is_null() && p["status"]["activeRevision"] == 2);
    bench.eventually(promoted).await.unwrap_or_else(|| panic!("{:#}", bench.plugin("e")["status"]));
    pod_in(&bench, "n", "p4");
    assert_eq!(placed(&bench, "n", "p4").await, "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_that_agrees_with_itself_is_promoted_by_itself() {
    let bench = beside_extender("prefers a", json!({"promoteWhen": {"decisions": 4}})).await;
    for n in 0..4 {
        pod_in(&bench, "n", &format!("p{n}"));
        placed(&bench, "n", &format!("p{n}")).await;
    }
    bench.eventually(|| bench.plugin("e")["spec"]["candidate"].is_null().then_some(())).await.expect("a promotion");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extenders_canary_ranks_for_its_share_only() {
    let bench = beside_extender("prefers b", json!({"stage": "Canary", "canary": {"namespaces": ["staging"]}})).await;
    // Its instance comes up beside the live one, which ranks for it until then.
    let made = Cell::new(0_usize);
    let up = || {
        let last = format!("w{}", made.get());
        match bench.cluster.get_object(&crate::schedulers::PODS, "staging", &last).map(|p| p.str_at(&["spec", "nodeName"]).to_owned()) {
            Some(node) if node.is_empty() => None,
            Some(node) if node == "b" => Some(()),
            _ => {
                made.set(made.get() + 1);
                pod_in(&bench, "staging", &format!("w{}", made.get()));
                None
            }
        }
    };
    bench.eventually(up).await.expect("the canary ranks");
    let before = candidate(&bench, "e", |c| c["compared"].as_u64() > Some(0)).await["compared"].as_u64().expect("a number");
    for n in 0..5 {
        pod_in(&bench, "staging", &format!("s{n}"));
        pod_in(&bench, "prod", &format!("p{n}"));
        assert_eq!(placed(&bench, "staging", &format!("s{n}")).await, "b");
        assert_eq!(placed(&bench, "prod", &format!("p{n}")).await, "a");
    }
    let seen = candidate(&bench, "e", |c| c["compared"] == before + 5).await;
    assert_eq!(seen["agreed"], seen["compared"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extenders_canary_that_keeps_failing_is_stood_in_for_and_gives_its_share_back() {
    let bench = beside_extender("panics", json!({"stage": "Canary", "canary": {"percent": 100}})).await;
    let made = Cell::new(0_usize);
    let given_back = || {
        let last = format!("p{}", made.get());
        let waits = bench.cluster.get_object(&crate::schedulers::PODS, "n", &last).is_some_and(|p| p.str_at(&["spec", "nodeName"]).is_empty());
        if !waits {
            made.set(made.get() + 1);
            pod_in(&bench, "n", &format!("p{}", made.get()));
        }
        (bench.plugin("e")["status"]["candidate"]["stage"] == "RolledBack").then_some(())
    };
    bench.eventually(given_back).await.unwrap_or_else(|| panic!("{:#}", bench.plugin("e")["status"]));
    for n in 1..=made.get() {
        assert_eq!(placed(&bench, "n", &format!("p{n}")).await, "a", "the live extender ranks");
    }
    assert_eq!(bench.plugin("e")["status"]["stage"], "Live");
    assert!(bench.handle.metrics_reader()().contains("pintle_plugin_rollbacks_total{plugin=\"e\"} 1"));
}
