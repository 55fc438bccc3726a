//! Where the cluster is large a scheduler has a spare instance: after a fault it goes on, and the cluster is not fed anew while pods wait.

use std::collections::BTreeSet;

use pintle_plugins::replay::{Request, replay};

use crate::guests;
use crate::harness::Bench;
use crate::reloads::metric;
use crate::schedulers::{PODS, bindings, node, node_of, pod, spec};

const MANY: usize = 5_000;
/// Enough for a spare.
const SOME: usize = 2_100;

async fn bench(nodes: usize) -> Bench {
    let bench = Bench::start(Vec::new());
    for n in 0..nodes {
        node(&bench, &format!("n{n}"), "1000");
    }
    bench.apply("s", spec(""));
    bench.condition("s", "Ready", "True", "Live").await;
    pod(&bench, "first", "10m", "");
    node_of(&bench, "first").await;
    bench
}

fn of(bench: &Bench, name: &str) -> usize {
    metric(bench, &format!("pintle_plugin_{name}{{plugin=\"s\",stage=\"live\"}}")) as usize
}

fn traps(bench: &Bench) -> usize {
    metric(bench, "pintle_plugin_faults_total{plugin=\"s\",stage=\"live\",reason=\"Trapped\"}") as usize
}

async fn spare_is_ready(bench: &Bench) {
    let ready = || (of(bench, "spares") == 1).then_some(());
    bench.eventually(ready).await.unwrap_or_else(|| panic!("no spare: {:#?}", bench.handle.logs("s")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_among_many_nodes_is_answered_by_the_spare() {
    let bench = bench(MANY).await;
    for round in 1..=2 {
        spare_is_ready(&bench).await;
        assert_eq!(of(&bench, "instances"), 2, "it counts as the other does");
        for n in 0..30 {
            pod(&bench, &format!("before-{round}-{n}"), "10m", "");
        }
        pod(&bench, &format!("bad-{round}"), "10m", "panic");
        for n in 0..30 {
            pod(&bench, &format!("after-{round}-{n}"), "10m", "");
        }
        // Before it is tried again.
        bench.eventually(|| (traps(&bench) >= round).then_some(())).await.expect("a trap");
        bench.cluster.remove(&PODS, "n", &format!("bad-{round}"));
        for n in 0..30 {
            node_of(&bench, &format!("before-{round}-{n}")).await;
            node_of(&bench, &format!("after-{round}-{n}")).await;
        }
        assert_eq!((traps(&bench), of(&bench, "spares_used_total")), (round, round));
        let fed = of(&bench, "recovery_changes_total");
        assert!(fed <= 200 * round, "{fed} changes were fed before the next decision, of {MANY} nodes");
    }
    assert_eq!(bindings(&bench), 121, "each pod was bound once");
    assert_eq!(bench.plugin("s")["status"]["lastRollback"], serde_json::Value::Null);

    // What the log holds is what each instance knew.
    bench.handle.decisions().flush();
    let request = Request {
        log: bench.folder.path().to_owned(),
        component: guests::scheduler().to_vec(),
        plugin: Some("s".to_owned()),
        config: None,
        cache: bench.folder.path().join("replays"),
    };
    let report = replay(request).await.expect("a report");
    assert!(report.decisions >= 123 && report.skipped == 0 && report.changed == 0, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_cluster_has_no_spare() {
    let bench = bench(50).await;
    pod(&bench, "bad", "10m", "panic");
    pod(&bench, "good", "10m", "");
    node_of(&bench, "good").await;
    assert_eq!((of(&bench, "instances"), of(&bench, "spares"), of(&bench, "spares_used_total")), (1, 0, 0));
    assert!(of(&bench, "recovery_changes_total") >= 50, "everything was fed");
}

/// Every instance of the revision traps: it gives way as one without a spare does.
#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_always_traps_uses_up_no_more_than_its_faults() {
    let bench = bench(SOME).await;
    spare_is_ready(&bench).await;
    bench.apply("s", spec("panics"));
    let taken = || (bench.plugin("s")["status"]["activeRevision"] == 2).then_some(());
    bench.eventually(taken).await.expect("the second revision is live");
    for n in 0..20 {
        pod(&bench, &format!("p{n}"), "10m", "");
    }
    for n in 0..20 {
        node_of(&bench, &format!("p{n}")).await;
    }
    let told = bench.condition("s", "Degraded", "True", "RolledBack").await;
    assert!(told.contains("configured to panic"), "{told}");
    // The fifth fault is the last that it may have; a few more come before it has gone.
    let used = of(&bench, "spares_used_total");
    assert!(used <= 8, "{used} spares for one broken revision");
    let bound: BTreeSet<String> = bench.cluster.writes().into_iter().filter(|w| w.starts_with("create pods/binding")).collect();
    assert_eq!((bindings(&bench), bound.len()), (21, 21), "each pod was bound once");
}

/// The probe panics where it is fed such a pod and never decided one: only a spare is in that state.
#[tokio::test(flavor = "multi_thread")]
async fn a_spare_that_fails_harms_nobody_and_comes_back() {
    let bench = bench(SOME).await;
    spare_is_ready(&bench).await;
    pod(&bench, "poison", "10m", "spare");
    node_of(&bench, "poison").await;
    let failed = || bench.handle.logs("s")?.iter().filter(|l| l.message.starts_with("the spare instance: feed:")).count().checked_sub(2);
    bench.eventually(failed).await.expect("it fails, and so does the next one");
    for n in 0..20 {
        pod(&bench, &format!("p{n}"), "10m", "");
        node_of(&bench, &format!("p{n}")).await;
    }
    let status = bench.plugin("s")["status"].clone();
    assert_eq!((of(&bench, "spares_used_total"), of(&bench, "pauses_total")), (0, 0), "{status:#}");
    assert!(!bench.handle.logs("s").into_iter().flatten().any(|l| l.message.starts_with("feed:")), "who decides was not harmed");
    let degraded = |c: &&serde_json::Value| c["type"] == "Degraded" && c["status"] == "True";
    assert!(!status["conditions"].as_array().is_some_and(|all| all.iter().any(|c| degraded(&c))), "{status:#}");
    bench.cluster.remove(&PODS, "n", "poison");
    spare_is_ready(&bench).await;
}
