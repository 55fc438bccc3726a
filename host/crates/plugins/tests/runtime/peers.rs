//! An admission policy's candidate on several servers: each asks it about its own requests, and the one that leads adds up.

use std::path::Path;
use std::sync::Arc;

use pintle_api::admission::Phase;
use pintle_api::object::ObjectExt;
use pintle_plugins::{EVERYWHERE, Handle, Manager, Peers};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::admissions::review;
use crate::cluster::Cluster;
use crate::harness::{Bench, EVENTS, config};
use crate::stages::{candidate, with_candidate};
use crate::trials::policy;

/// Three servers over one store; the first leads.
struct Servers {
    bench: Bench,
    others: Vec<(Handle, tempfile::TempDir)>,
    leads: Vec<watch::Sender<bool>>,
}

fn server(cluster: &Arc<Cluster>, number: usize, leads: &watch::Sender<bool>) -> (Handle, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    (server_in(folder.path(), cluster, number, leads), folder)
}

fn server_in(folder: &Path, cluster: &Arc<Cluster>, number: usize, leads: &watch::Sender<bool>) -> Handle {
    let peers = Peers { address: address(number), client: cluster.clone(), leads: leads.subscribe() };
    let config = config(cluster, folder, Vec::new(), Vec::new());
    Manager::start_for(config, EVERYWHERE, Arc::default(), Some(peers)).expect("a manager")
}

fn address(number: usize) -> String {
    format!("10.0.0.{number}:6443")
}

impl Servers {
    /// With a candidate at work in each.
    async fn start(candidate: &str, more: Value) -> Self {
        let cluster = Cluster::new();
        let leads: Vec<_> = (0..3).map(|n| watch::Sender::new(n == 0)).collect();
        let mut started: Vec<_> = leads.iter().enumerate().map(|(n, leads)| server(&cluster, n, leads)).collect();
        let (handle, folder) = started.remove(0);
        let servers = Self { bench: Bench { cluster, handle, folder }, others: started, leads };
        let bench = &servers.bench;
        bench.apply("p", policy());
        bench.condition("p", "Ready", "True", "Live").await;
        for n in 0..3 {
            let up = || servers.metrics(n).contains("pintle_plugin_calls_total{plugin=\"p\",stage=\"live\"}").then_some(());
            bench.eventually(up).await.expect("the policy is loaded on each");
        }
        bench.apply("p", with_candidate(policy(), candidate, more));
        bench.eventually(|| (servers.entries().len() == 3).then_some(())).await.unwrap_or_else(|| panic!("{:#}", bench.plugin("p")["status"]));
        servers
    }

    fn of(&self, n: usize) -> &Handle {
        if n == 0 { &self.bench.handle } else { &self.others[n - 1].0 }
    }

    fn metrics(&self, n: usize) -> String {
        self.of(n).metrics_reader()()
    }

    async fn ask(&self, n: usize, probe: &str) -> bool {
        self.of(n).admission().ask("p", review(Phase::Mutate, probe)).await.expect("an answer").refusal.is_some()
    }

    /// How many decisions each server has written, in the order of their addresses.
    fn entries(&self) -> Vec<u64> {
        self.written().into_iter().map(|(_, compared)| compared).collect()
    }

    /// The same with the addresses.
    fn written(&self) -> Vec<(String, u64)> {
        let plugin = self.bench.plugin("p");
        let entries = plugin["status"]["candidateByServer"].as_object().into_iter().flatten();
        let mut written: Vec<_> = entries.map(|(_, e)| (e.str_at(&["address"]).to_owned(), e["compared"].as_u64().expect("a number"))).collect();
        written.sort();
        written
    }

    fn promotions(&self) -> Vec<String> {
        let all = self.bench.cluster.all(&EVENTS);
        all.iter().filter(|e| e["reason"] == "Promoted").map(|e| e.str_at(&["note"]).to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_server_compared_adds_up_and_outlives_it() {
    let mut servers = Servers::start("strict", json!({})).await;
    for (n, probe, refused) in [(0, "deny", true), (1, "strict", false), (2, "deny", true), (2, "deny", true)] {
        assert_eq!(servers.ask(n, probe).await, refused);
    }
    let seen = candidate(&servers.bench, "p", |c| c["compared"] == 4).await;
    assert_eq!((&seen["agreed"], &seen["agreement"], &seen["faults"]), (&json!(3), &json!("75%"), &json!(0)), "{seen:#}");
    assert_eq!(seen.list_at(&["differences"]).len(), 1, "{seen:#}");
    assert!(seen["fuelPerCall"].as_u64().is_some_and(|fuel| fuel > 1000), "{seen:#}");
    servers.bench.eventually(|| (servers.entries() == [1, 1, 2]).then_some(())).await.unwrap_or_else(|| panic!("{:?}", servers.entries()));

    // Another leads, and the first is gone: what it counted still counts.
    servers.leads[0].send_replace(false);
    servers.leads[1].send_replace(true);
    let next = servers.others.remove(0);
    let Bench { cluster, handle, folder } = std::mem::replace(&mut servers.bench, Bench { cluster: Cluster::new(), handle: next.0, folder: next.1 });
    servers.bench.cluster = cluster;
    handle.shutdown().await;
    drop(folder);
    assert!(servers.ask(1, "deny").await, "the third server");
    let seen = candidate(&servers.bench, "p", |c| c["compared"] == 5).await;
    assert_eq!((&seen["agreed"], &seen["agreement"]), (&json!(4), &json!("80%")), "{seen:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_elsewhere_is_the_same_server() {
    let mut servers = Servers::start("strict", json!({})).await;
    for (n, probe) in [(0, "deny"), (2, "strict"), (2, "deny")] {
        servers.ask(n, probe).await;
    }
    candidate(&servers.bench, "p", |c| c["compared"] == 3 && c["agreement"] == "66.6%").await;
    // Twice: each time it has only what its data folder has. What the others see of it, it has written.
    for (moves, number) in [7, 8].into_iter().enumerate() {
        let (handle, folder) = servers.others.remove(1);
        handle.shutdown().await;
        let known = 3 + moves as u64;
        let handle = server_in(folder.path(), &servers.bench.cluster, number, &servers.leads[2]);
        servers.others.push((handle, folder));
        let moved = || servers.written().iter().any(|(at, _)| *at == address(number)).then_some(());
        servers.bench.eventually(moved).await.unwrap_or_else(|| panic!("{:?}", servers.written()));
        servers.ask(2, "deny").await;
        let seen = candidate(&servers.bench, "p", |c| c["compared"].as_u64().is_some_and(|compared| compared > known)).await;
        assert_eq!((seen["compared"].as_u64(), seen["agreed"].as_u64()), (Some(known + 1), Some(known)), "move {moves}: {seen:#}");
    }
    let settled = || (servers.written() == [(address(0), 1), (address(1), 0), (address(8), 4)]).then_some(());
    servers.bench.eventually(settled).await.unwrap_or_else(|| panic!("{:?}", servers.written()));
    // What it looked back on before it moved is gone with the process, as after any restart.
    let seen = candidate(&servers.bench, "p", |c| c["agreement"] == "100%").await;
    assert_eq!((&seen["compared"], &seen["agreed"]), (&json!(5), &json!(4)), "{seen:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_is_promoted_by_what_all_servers_saw_and_once() {
    let servers = Servers::start("", json!({"promoteWhen": {"decisions": 6}})).await;
    for n in [0, 1, 2, 0, 1] {
        servers.ask(n, "deny").await;
    }
    candidate(&servers.bench, "p", |c| c["compared"] == 5).await;
    assert!(servers.promotions().is_empty(), "five are too few");
    servers.ask(2, "deny").await;
    let promoted = || servers.bench.plugin("p")["spec"]["candidate"].is_null().then_some(());
    servers.bench.eventually(promoted).await.unwrap_or_else(|| panic!("{:#}", servers.bench.plugin("p")["status"]));
    let told = servers.bench.eventually(|| Some(servers.promotions()).filter(|p| !p.is_empty())).await.expect("an event");
    assert!(told.len() == 1 && told[0].ends_with("promoteWhen holds; 6 of 6 decisions agreed"), "{told:?}");
    servers.bench.eventually(|| servers.entries().is_empty().then_some(())).await.unwrap_or_else(|| panic!("{:?}", servers.entries()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_keeps_failing_on_one_server_is_withdrawn_on_all() {
    let servers = Servers::start("panics", json!({"stage": "Canary", "canary": {"percent": 100}})).await;
    for _ in 0..5 {
        assert!(servers.ask(1, "deny").await, "the live revision answers");
    }
    let seen = candidate(&servers.bench, "p", |c| c["stage"] == "RolledBack").await;
    assert!(seen["faults"] == 5 && seen.str_at(&["message"]).contains("configured to panic"), "{seen:#}");
    for n in 0..3 {
        let withdrawn = || servers.metrics(n).contains("pintle_plugin_rollbacks_total{plugin=\"p\"} 1").then_some(());
        servers.bench.eventually(withdrawn).await.unwrap_or_else(|| panic!("server {n}: {}", servers.metrics(n)));
        assert!(servers.ask(n, "deny").await);
    }
    assert!(!servers.metrics(2).contains("pintle_plugin_calls_total{plugin=\"p\",stage=\"canary\"} 1"), "it was never asked there");
}
