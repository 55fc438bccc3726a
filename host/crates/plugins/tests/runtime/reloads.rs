//! A revision comes and goes while its plugin is at work: nothing is lost, nothing done twice, and who has nothing to do holds nothing.
//! `cargo run --release -p pintle-plugins --example reloads` does the same ten thousand times.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::guests;
use crate::harness::{Bench, CONFIG_MAPS, controller_spec};
use crate::schedulers::{self, node, node_of, pod};

const RELOADS: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_lose_and_repeat_nothing() {
    let bench = Bench::start(Vec::new());
    node(&bench, "a", "1000");
    for n in 0..RELOADS {
        // Each has two revisions, which take turns.
        let mut controller = controller_spec(guests::controller());
        controller["config"] = format!("{}", n / 2 % 2).into();
        match n % 2 {
            0 => bench.apply("s", schedulers::spec(if n % 4 == 0 { "" } else { "last" })),
            _ => bench.apply("c", controller),
        }
        for at in 0..20 {
            pod(&bench, &format!("p{n}-{at}"), "10m", "");
            bench.ask(&format!("m{n}-{at}"), "config");
            tokio::task::yield_now().await;
        }
        let (plugin, revision) = (["s", "c"][n % 2], n / 2 % 2 + 1);
        let live = || (bench.plugin(plugin)["status"]["activeRevision"] == revision).then_some(());
        bench.eventually(live).await.unwrap_or_else(|| panic!("reload {n}: {:#}", bench.plugin(plugin)));
    }
    let mut writes: BTreeMap<String, usize> = BTreeMap::new();
    for (n, at) in (0..RELOADS).flat_map(|n| (0..20).map(move |at| (n, at))) {
        assert_eq!(node_of(&bench, &format!("p{n}-{at}")).await, "a");
        bench.answer_of("c", &format!("m{n}-{at}")).await;
    }
    for write in bench.cluster.writes().into_iter().filter(|w| w.starts_with("create pods/binding") || w.starts_with("update configmaps")) {
        *writes.entry(write).or_default() += 1;
    }
    assert_eq!(writes.len(), 2 * 20 * RELOADS);
    assert!(writes.values().all(|count| *count == 1), "done twice: {:?}", writes.iter().filter(|(_, count)| **count > 1).collect::<Vec<_>>());
}

/// Of what is gone the next revision's informers tell nothing: what the one before has not reconciled is handed on.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_between_two_revisions_is_reconciled() {
    const ROUNDS: usize = 10;
    let bench = Bench::start(Vec::new());
    let spec = |n: usize| {
        let mut spec = controller_spec(guests::controller());
        spec["config"] = format!("{}", n % 2).into();
        spec
    };
    bench.apply("c", spec(0));
    for n in 1..ROUNDS {
        let names: Vec<String> = (0..20).map(|at| format!("m{n}-{at}")).collect();
        for name in &names {
            bench.ask(name, "config");
        }
        for name in &names {
            bench.answer_of("c", name).await;
        }
        bench.apply("c", spec(n));
        for name in &names {
            bench.cluster.remove(&CONFIG_MAPS, "n", name);
            tokio::task::yield_now().await;
        }
        for name in &names {
            let line = format!("gone {name}");
            let told = || bench.handle.logs("c")?.iter().any(|l| l.message == line).then_some(());
            assert!(bench.eventually(told).await.is_some(), "round {n}: nobody reconciled {name} after it was gone");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_revision_before_decides_while_the_next_is_fed() {
    const NODES: usize = 60;
    let bench = Bench::start(Vec::new());
    for n in 0..NODES {
        node(&bench, &format!("n{n}"), "1000");
    }
    bench.apply("s", schedulers::spec(""));
    bench.condition("s", "Ready", "True", "Live").await;
    pod(&bench, "first", "10m", "");
    node_of(&bench, "first").await;
    bench.apply("s", schedulers::spec("slow"));
    let (begun, mut decided) = (Instant::now(), 0);
    while bench.plugin("s")["status"]["activeRevision"] != 2 {
        let name = format!("p{decided}");
        pod(&bench, &name, "10m", "");
        node_of(&bench, &name).await;
        decided += 1;
    }
    let took = begun.elapsed();
    assert!(decided > 2, "{decided} pods were decided in {took:?}");
    let pause = metric(&bench, "pintle_plugin_longest_pause_seconds{plugin=\"s\",stage=\"live\"}");
    assert!(pause > 0.0 && pause < took.as_secs_f64() / 2.0, "decisions paused for {pause} s of {took:?}");
    pod(&bench, "last", "10m", "");
    node_of(&bench, "last").await;
}

#[tokio::test]
async fn a_controller_without_work_holds_no_memory_and_comes_back() {
    let bench = Bench::start(Vec::new());
    bench.apply("probe", controller_spec(guests::controller()));
    bench.ask("a", "count");
    bench.answer("a").await;
    let instances = || metric(&bench, "pintle_plugin_instances{plugin=\"probe\",stage=\"live\"}");
    let memory = || metric(&bench, "pintle_plugin_memory_bytes{plugin=\"probe\",stage=\"live\"}");
    assert!(instances() == 1.0 && memory() > 65536.0);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    let gone = || (memory() == 0.0 && instances() == 0.0).then_some(());
    bench.eventually(gone).await.expect("its instance is dropped");
    let told = || (bench.plugin("probe")["status"]["instances"] == 0 && bench.plugin("probe")["status"]["calls"] != 0).then_some(());
    bench.eventually(told).await.expect("the status says so");
    assert_eq!(bench.plugin("probe")["status"]["memoryBytes"], 0);
    bench.ask("b", "count");
    assert_eq!(bench.answer("b").await, "1", "a fresh instance's first call");
    bench.cluster.remove(&CONFIG_MAPS, "n", "b");
    let told = || bench.handle.logs("probe")?.iter().any(|l| l.message == "gone b").then_some(());
    bench.eventually(told).await.expect("it goes on");
}

pub fn metric(bench: &Bench, name: &str) -> f64 {
    let text = (bench.handle.metrics_reader())();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().parse().unwrap_or_default()
}
