//! Admission policies: what they answer, and every way in which one can fail to.

use expect_test::expect;
use pintle_api::admission::{Change, Phase, Review, Verdict};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::guests;
use crate::harness::{Bench, CONFIG_MAPS, inline};

pub fn spec(config: &str) -> Value {
    let grants = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]);
    json!({"world": "admission", "source": inline(guests::admission()), "config": config, "grants": grants,
        "limits": {"deadlineMilliseconds": 1000, "memory": "64Mi"}})
}

async fn bench() -> Bench {
    let bench = Bench::start(Vec::new());
    bench.apply("p", spec(""));
    bench.condition("p", "Ready", "True", "Live").await;
    bench
}

pub fn review(phase: Phase, probe: &str) -> Review {
    let object = json!({"metadata": {"name": "a", "namespace": "n", "annotations": {"probe": probe}}, "data": {}});
    let request = json!({"operation": "CREATE", "name": "a", "namespace": "n", "dryRun": true, "userInfo": {"username": "jane", "groups": ["g"]},
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "resource": {"group": "", "version": "v1", "resource": "configmaps"}});
    Review { phase, request, object: Some(object.to_string().into()), old_object: None }
}

pub async fn ask(bench: &Bench, probe: &str) -> Result<Verdict, String> {
    bench.handle.admission().ask("p", review(Phase::Mutate, probe)).await
}

/// What the policy wrote into `data`.
async fn answer(bench: &Bench, probe: &str) -> Value {
    match ask(bench, probe).await {
        Ok(Verdict { change: Change::Object(object), .. }) => object["data"].clone(),
        other => panic!("{probe}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_and_its_rules_stand_in_the_status() {
    let bench = bench().await;
    let told = format!("{:#?}\n{:#?}", ask(&bench, "deny").await, ask(&bench, "label").await);
    expect![[r#"
        Ok(
            Verdict {
                refusal: Some(
                    Refusal {
                        code: 403,
                        reason: "Forbidden",
                        message: "asked to deny",
                    },
                ),
                change: None,
                warnings: [],
                audit_annotations: [],
            },
        )
        Ok(
            Verdict {
                refusal: None,
                change: Patch(
                    Array [
                        Object {
                            "op": String("add"),
                            "path": String("/metadata/labels"),
                            "value": Object {
                                "probe/label": String("set"),
                            },
                        },
                    ],
                ),
                warnings: [
                    "labelled",
                ],
                audit_annotations: [
                    (
                        "p/label",
                        "set",
                    ),
                ],
            },
        )"#]]
    .assert_eq(&told);
    assert_eq!(answer(&bench, "who").await, json!({"who": "Create jane true"}));
    assert_eq!(ask(&bench, "validate:deny").await, Ok(Verdict::default()), "it was not this one's turn");
    let rule = |phase: &str, operations: &[&str]| json!({"phases": [phase], "operations": operations, "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "scope": "*"});
    let rules = json!([rule("Mutate", &["CREATE", "UPDATE"]), rule("Validate", &["CREATE", "UPDATE", "DELETE"])]);
    assert_eq!(bench.plugin("p")["status"]["admission"]["rules"], rules);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_what_it_was_granted_and_nothing_else() {
    let bench = bench().await;
    bench.cluster.put(&CONFIG_MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "namespace": "n"}}));
    assert_eq!(answer(&bench, "read").await, json!({"read": "Ok(1) true"}));
    let forbidden = r#"Err(Forbidden("secrets is forbidden: the plugin \"p\" is not granted list"))"#;
    assert_eq!(answer(&bench, "secrets").await, json!({"secrets": forbidden}));
    let mut ungranted = spec("");
    ungranted["grants"] = json!([]);
    bench.apply("q", ungranted);
    let why = bench.condition("q", "Loaded", "False", "MissingGrant").await;
    assert_eq!(why, "the grants lack get or list on anything, which its import pintle:admission/objects is for");
    bench.apply("r", spec("refuse"));
    assert_eq!(bench.condition("r", "Loaded", "False", "BadConfiguration").await, "refuses its configuration: asked to refuse");
    bench.apply("s", spec("nothing"));
    let why = bench.condition("s", "Loaded", "False", "StartFailed").await;
    assert!(why.contains("a rule with an empty list matches nothing"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_costs_its_call_and_the_condition_says_which() {
    let bench = bench().await;
    let faults = [
        ("panic", "Trapped", "asked to panic"),
        ("loop", "DeadlineExceeded", "did not return within 1000 ms"),
        ("grow", "OutOfMemory", "asked for more than its 64 MiB of memory"),
        ("huge", "OutOfMemory", "asked for more than its 64 MiB of memory"),
        ("overflow", "Trapped", "out of bounds memory access"),
        ("recurse", "Trapped", "call stack exhausted"),
        ("code", "BadAnswer", "the code 200, which is no refusal"),
    ];
    for (n, (probe, reason, words)) in faults.into_iter().enumerate() {
        let plugin = format!("p{n}");
        bench.apply(&plugin, spec(""));
        bench.condition(&plugin, "Ready", "True", "Live").await;
        let why = bench.handle.admission().ask(&plugin, review(Phase::Mutate, probe)).await.expect_err("a fault");
        assert!(why.contains(words), "{probe}: {why}");
        let told = bench.condition(&plugin, "Degraded", "True", reason).await;
        assert!(told.contains(words), "{probe}: {told}");
        // It answers the next one, and others never noticed.
        let after = bench.handle.admission().ask(&plugin, review(Phase::Mutate, "deny")).await.expect("an answer");
        assert!(after.refusal.is_some());
        assert!(ask(&bench, "deny").await.expect("an answer").refusal.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_run_side_by_side_and_one_that_is_not_waited_for_counts() {
    let bench = bench().await;
    let policies = bench.handle.admission();
    let calls = (0..64).map(|_| policies.ask("p", review(Phase::Mutate, "count")));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let given_up = tokio::time::timeout(std::time::Duration::from_millis(30), ask(&bench, "loop")).await;
    assert!(given_up.is_err());
    bench.condition("p", "Degraded", "True", "DeadlineExceeded").await;
    assert!(ask(&bench, "deny").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_exchanged_between_two_calls_and_ends_with_its_plugin() {
    let bench = bench().await;
    assert_eq!(answer(&bench, "config").await, json!({"config": ""}));
    bench.apply("p", spec("second"));
    bench.eventually(|| (bench.plugin("p")["status"].i64_at(&["activeRevision"]) == Some(2)).then_some(())).await.expect("revision 2");
    assert_eq!(answer(&bench, "config").await, json!({"config": "second"}));
    bench.cluster.remove(&pintle_plugins::plugin::PLUGINS, "", "p");
    let mut left = None;
    while left.is_none() {
        left = ask(&bench, "config").await.err();
        tokio::task::yield_now().await;
    }
    assert_eq!(left.as_deref(), Some("no revision of it is live"));
}
