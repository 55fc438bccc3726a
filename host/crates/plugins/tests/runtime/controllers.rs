//! Controllers that work, and every way in which one can fail.

use pintle_api::object::ObjectExt;
use pintle_plugins::{Embedded, PolicyRule, World};
use serde_json::json;

use crate::guests;
use crate::harness::{Bench, CONFIG_MAPS, EVENTS, controller_spec, start_manager};

async fn probe() -> Bench {
    let bench = Bench::start(Vec::new());
    bench.apply("probe", controller_spec(guests::controller()));
    bench.condition("probe", "Ready", "True", "Live").await;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reconciles_and_sees_its_own_writes() {
    let bench = probe().await;
    bench.ask("a", "child");
    assert_eq!(bench.answer("a").await, "children 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_granted_is_forbidden() {
    let bench = probe().await;
    bench.ask("a", "secrets");
    assert_eq!(bench.answer("a").await, r#"Forbidden("secrets is forbidden: the plugin \"probe\" is not granted list")"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_costs_its_call_and_nothing_else() {
    let bench = probe().await;
    let mut spec = controller_spec(guests::controller());
    spec["limits"] = json!({"deadlineMilliseconds": 1000, "memory": "64Mi"});
    bench.apply("probe", spec);
    for fault in ["panic", "loop", "grow"] {
        bench.ask(fault, fault);
        bench.ask(&format!("after-{fault}"), "count");
        bench.answer(&format!("after-{fault}")).await;
    }
    let degraded =
        || bench.plugin("probe")["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == "Degraded" && c["status"] == "True").cloned();
    assert!(bench.eventually(degraded).await.is_some());
    let log = bench.eventually(|| {
        let lines: Vec<String> = bench.handle.logs("probe")?.into_iter().map(|l| l.message).collect();
        let told = |what: &str| lines.iter().any(|l| l.contains(what));
        (told("asked to panic") && told("did not return within 1000 ms") && told("asked for more than its 64 MiB")).then_some(())
    });
    assert!(log.await.is_some(), "{:#?}", bench.handle.logs("probe"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_keeps_failing_gives_way_to_the_one_before() {
    let bench = probe().await;
    let mut spec = controller_spec(guests::controller());
    spec["config"] = "second".into();
    bench.apply("probe", spec);
    bench.eventually(|| (bench.plugin("probe")["status"]["activeRevision"] == 2).then_some(())).await.expect("revision 2");
    for n in 0..6 {
        bench.ask(&format!("bad-{n}"), "panic");
    }
    // The condition says so only until revision 1 has met the same objects, which it may before anybody looks.
    let told = bench.eventually(|| bench.cluster.all(&EVENTS).into_iter().find(|e| e["reason"] == "RolledBack")).await.expect("an event");
    let why = told.str_at(&["note"]);
    assert!(why.replace('\n', " ").contains("revision 1 took over"), "{why}");
    let back = || Some(bench.plugin("probe")["status"]["lastRollback"].clone()).filter(|back| back["toRevision"] == 1);
    bench.eventually(back).await.unwrap_or_else(|| panic!("{:#}", bench.plugin("probe")["status"]));
    for n in 0..6 {
        bench.cluster.remove(&CONFIG_MAPS, "n", &format!("bad-{n}"));
    }
    bench.ask("good", "config");
    assert_eq!(bench.answer("good").await, "", "revision 1 has no configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_does_not_load_leaves_the_one_before_at_work() {
    let bench = probe().await;
    bench.apply("probe", controller_spec(b"\0asm nonsense"));
    bench.condition("probe", "Loaded", "False", "NotAComponent").await;
    bench.ask("a", "count");
    bench.answer("a").await;
    assert_eq!(bench.plugin("probe")["status"]["stage"], "Live");
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_and_deleting_stop_it_and_it_resumes() {
    let bench = probe().await;
    let mut spec = controller_spec(guests::controller());
    spec["paused"] = true.into();
    bench.apply("probe", spec);
    bench.condition("probe", "Ready", "False", "Paused").await;
    bench.ask("a", "config");
    bench.apply("probe", controller_spec(guests::controller()));
    assert_eq!(bench.answer("a").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_plugins_become_objects_once() {
    let embedded = || {
        vec![Embedded {
            name: "probe".to_owned(),
            bytes: guests::controller().into(),
            world: World::Controller,
            grants: vec![PolicyRule {
                verbs: vec!["*".to_owned()],
                api_groups: vec![String::new()],
                resources: vec!["configmaps".to_owned()],
                ..PolicyRule::default()
            }],
            config: "built in".to_owned(),
        }]
    };
    let Bench { cluster, handle, folder } = Bench::start(embedded());
    let bench = Bench { cluster, handle, folder };
    bench.ask("a", "config");
    assert_eq!(bench.answer("a").await, "built in");
    bench.cluster.remove(&pintle_plugins::plugin::PLUGINS, "", "probe");
    let Bench { cluster, handle, folder } = bench;
    handle.shutdown().await;
    let handle = start_manager(&cluster, folder.path(), embedded());
    let bench = Bench { cluster, handle, folder };
    bench.apply("other", controller_spec(guests::controller()));
    bench.condition("other", "Ready", "True", "Live").await;
    assert!(bench.plugin("probe").is_null(), "what an operator deleted stays deleted");
}
