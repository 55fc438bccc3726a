//! Where the cluster is large a scheduler has a spare instance: after a fault it goes on, and the cluster is not fed anew while pods wait.

use std::collections::BTreeSet;

use pintle_plugins::Explain;
use pintle_plugins::replay::{Request, replay};

use crate::guests;
use crate::harness::Bench;
use crate::profiles::{extender, live, primary, recorded};
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
    of_plugin(bench, "s", name)
}

fn of_plugin(bench: &Bench, plugin: &str, name: &str) -> usize {
    metric(bench, &format!("pintle_plugin_{name}{{plugin=\"{plugin}\",stage=\"live\"}}")) as usize
}

fn traps(bench: &Bench) -> usize {
    traps_of(bench, "s")
}

fn traps_of(bench: &Bench, plugin: &str) -> usize {
    metric(bench, &format!("pintle_plugin_faults_total{{plugin=\"{plugin}\",stage=\"live\",reason=\"Trapped\"}}")) as usize
}

async fn spare_is_ready(bench: &Bench) {
    spare_is_ready_of(bench, "s").await;
}

async fn spare_is_ready_of(bench: &Bench, plugin: &str) {
    let ready = || (of_plugin(bench, plugin, "spares") == 1).then_some(());
    bench.eventually(ready).await.unwrap_or_else(|| panic!("no spare: {:#?}", bench.handle.logs(plugin)));
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
    replays_alike(&bench, "s", guests::scheduler().to_vec(), 123).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_cluster_has_no_spare() {
    let bench = bench(50).await;
    pod(&bench, "bad", "10m", "panic");
    pod(&bench, "good", "10m", "");
    node_of(&bench, "good").await;
    // While it is tried again, the instance that it ended may still be there beside the next one.
    bench.cluster.remove(&PODS, "n", "bad");
    bench.eventually(|| (of(&bench, "instances") == 1).then_some(())).await.expect("one instance");
    assert_eq!((of(&bench, "spares"), of(&bench, "spares_used_total")), (0, 0));
    assert!(of(&bench, "recovery_changes_total") >= 50, "everything was fed");
}

/// A primary, and an extender `e` that has a say in each decision. The probe panics where it is asked about a node that it was not fed.
async fn with_extender(nodes: usize) -> Bench {
    let bench = Bench::start(Vec::new());
    for n in 0..nodes {
        node(&bench, &format!("n{n}"), "1000");
    }
    live(&bench, &[("s", primary()), ("e", extender(guests::scheduler(), "prefers n1", 100, false))]).await;
    pod(&bench, "first", "10m", "");
    node_of(&bench, "first").await;
    bench
}

/// Pods before and after one that the extender does not survive; all of them are placed, with its say. Gives their names.
async fn around_a_trap(bench: &Bench, round: usize) -> Vec<String> {
    let begun = traps_of(bench, "e");
    let (before, after) = ((0..20).map(|n| format!("before-{round}-{n}")), (0..20).map(|n| format!("after-{round}-{n}")));
    let names: Vec<String> = before.chain(after).collect();
    let bad = format!("bad-{round}");
    for (n, name) in names.iter().enumerate() {
        if n == names.len() / 2 {
            pod(bench, &bad, "10m", "extender");
        }
        pod(bench, name, "10m", "");
    }
    // Before it is tried again.
    bench.eventually(|| (traps_of(bench, "e") > begun).then_some(())).await.expect("a trap");
    bench.cluster.remove(&PODS, "n", &bad);
    for name in &names {
        node_of(bench, name).await;
        let decided = recorded(bench, name, Explain::No).await;
        let placed = decided.iter().find(|d| d["outcome"] == "Scheduled").unwrap_or_else(|| panic!("{name}: {decided:#?}"));
        let say = &placed["scheduling"]["profile"]["extenders"];
        assert!(say[0]["plugin"] == "e" && say[0]["ignored"].is_null(), "{name} was decided without the extender: {placed:#}");
    }
    names
}

async fn replays_alike(bench: &Bench, plugin: &str, component: Vec<u8>, at_least: u64) {
    bench.handle.decisions().flush();
    let (log, cache) = (bench.folder.path().to_owned(), bench.folder.path().join("replays"));
    let report = replay(Request { log, component, plugin: Some(plugin.to_owned()), config: None, cache }).await.expect("a report");
    assert!(report.decisions >= at_least && report.skipped == 0 && report.changed == 0, "{plugin}: {report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_that_traps_is_fed_anew_and_has_its_say_in_every_pod_that_waited() {
    let bench = with_extender(3).await;
    let names = around_a_trap(&bench, 1).await;
    for name in &names {
        assert_eq!(node_of(&bench, name).await, "n1", "the primary alone would spread them");
    }
    assert_eq!((traps_of(&bench, "e"), traps(&bench), bindings(&bench)), (1, 0, 41), "each pod was bound once");
    assert_eq!((of_plugin(&bench, "e", "instances"), of_plugin(&bench, "e", "spares_used_total")), (1, 0));
    assert!(of_plugin(&bench, "e", "recovery_changes_total") >= 3, "few nodes are fed anew");
    assert_eq!((of_plugin(&bench, "e", "pauses_total"), of(&bench, "pauses_total")), (1, 0), "pods waited for it");
    replays_alike(&bench, "e", guests::scheduler().to_vec(), 41).await;
    replays_alike(&bench, "s", guests::plugin("pintle-scheduler-default"), 41).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_that_traps_among_many_nodes_is_stood_in_for_by_its_spare() {
    let bench = with_extender(SOME).await;
    for round in 1..=2 {
        spare_is_ready_of(&bench, "e").await;
        around_a_trap(&bench, round).await;
        assert_eq!((traps_of(&bench, "e"), of_plugin(&bench, "e", "spares_used_total")), (round, round));
        assert!(of_plugin(&bench, "e", "recovery_changes_total") <= 200 * round, "of {SOME} nodes");
    }
    assert_eq!((traps(&bench), of(&bench, "spares_used_total"), bindings(&bench)), (0, 0, 81), "the primary was not harmed");
    replays_alike(&bench, "e", guests::scheduler().to_vec(), 81).await;
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
