//! What a decision of scheduler components costs: `cargo run --release -p pintle-plugins --example decision_cost -- FILE.wasm...`
//!
//! Compiles each component as the host does, feeds nodes and pods, and asks for decisions. Prints the time to compile, to instantiate and
//! to feed, the linear memory before and after, the time of a decision that looks at all nodes for each of them, and the time of one
//! that stops where the host stops.

use std::time::{Duration, Instant};

use pintle_plugin_bindings::common::env;
use pintle_plugin_bindings::common::types::Pair;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{self, Delta, Node, Outcome, Placement, Pod, Resources, Scope};
use pintle_plugin_bindings::scheduler::{Scheduler, SchedulerPre};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, ResourceLimiter, Store};

const NODES: u32 = 5000;
const PODS_ON_EACH: u32 = 2;
/// Feasible nodes that are enough, as the host and upstream have it for so many.
const ENOUGH: u32 = 500;
const DECISIONS: u32 = 50;

#[derive(Default)]
struct Host {
    memory_bytes: usize,
    drawn: u8,
}

impl env::Host for Host {
    fn now(&mut self) -> u64 {
        0
    }
    fn random(&mut self, count: u32) -> Vec<u8> {
        self.drawn = self.drawn.wrapping_add(1);
        vec![self.drawn; count as usize]
    }
    fn log(&mut self, _level: env::Level, message: String) {
        eprintln!("{message}");
    }
    fn config(&mut self) -> String {
        String::new()
    }
}

impl types::Host for Host {}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.memory_bytes += desired - current;
        Ok(true)
    }
    fn table_growing(&mut self, _current: usize, _desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> wasmtime::Result<()> {
    println!("{:<24} {:>10} {:>12} {:>10} {:>14} {:>14} {:>12}", "component", "compile", "instantiate", "feed", "memory", "per node", "sampled");
    for path in std::env::args().skip(1) {
        let name = std::path::Path::new(&path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        measure(&name, &std::fs::read(&path)?).await?;
    }
    Ok(())
}

async fn measure(name: &str, bytes: &[u8]) -> wasmtime::Result<()> {
    let mut config = Config::new();
    config.wasm_component_model(true).concurrency_support(false).epoch_interruption(true);
    let engine = Engine::new(&config)?;
    let (component, compile) = timed(|| Component::from_binary(&engine, bytes));
    let mut linker = Linker::<Host>::new(&engine);
    env::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host)?;
    types::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host)?;
    let exports = SchedulerPre::new(linker.instantiate_pre(&component?)?)?;
    let begun = Instant::now();
    let mut store = Store::new(&engine, Host::default());
    store.limiter(|host| host);
    store.set_epoch_deadline(u64::MAX / 2);
    let exports = exports.instantiate_async(&mut store).await?;
    exports.call_configure(&mut store, "").await?.expect("takes an empty configuration");
    let instantiate = begun.elapsed();
    let fresh = store.data().memory_bytes >> 20;
    let begun = Instant::now();
    for batch in deltas().chunks(500) {
        exports.call_feed(&mut store, batch).await?;
    }
    let feed = begun.elapsed();
    let decision = decide(&mut store, &exports, 0).await?;
    let sampled = decide(&mut store, &exports, ENOUGH).await?;
    let memory = store.data().memory_bytes >> 20;
    let per_node = decision.as_secs_f64() * 1e6 / f64::from(NODES);
    println!("{name:<24} {compile:>10.1?} {instantiate:>12.1?} {feed:>10.1?} {fresh:>3} to {memory:>3} MiB {per_node:>11.2} µs {sampled:>12.1?}");
    Ok(())
}

/// The mean time of a decision; the first ones, which warm caches up, do not count.
async fn decide(store: &mut Store<Host>, exports: &Scheduler, limit: u32) -> wasmtime::Result<Duration> {
    let mut sum = Duration::ZERO;
    for n in 0..DECISIONS + 5 {
        let begun = Instant::now();
        let outcome = exports.call_schedule(&mut *store, &pod(&format!("new-{n}")), Scope { start: 0, limit, top: 3, seed: 7 }).await?;
        if n >= 5 {
            sum += begun.elapsed();
        }
        match outcome {
            Ok(Outcome::Fits(choice)) => assert_eq!(choice.looked_at, if limit == 0 { NODES } else { limit }),
            other => panic!("every node fits: {other:?}"),
        }
    }
    Ok(sum / DECISIONS)
}

fn deltas() -> Vec<Delta> {
    let nodes = (0..NODES).map(|id| Delta::UpsertNode(node(id)));
    let pods = (0..NODES * PODS_ON_EACH).map(|n| Delta::Place(Placement { pod: pod(&format!("old-{n}")), node: n % NODES }));
    nodes.chain(pods).collect()
}

fn node(id: u32) -> Node {
    let name = format!("node-{id}");
    let pairs = [
        ("kubernetes.io/hostname", name.clone()),
        ("topology.kubernetes.io/zone", format!("zone-{}", id % 3)),
        ("example.com/price-per-hour", format!("0.{id}")),
    ];
    Node {
        id,
        labels: pairs.map(|(key, value)| Pair { key: key.to_owned(), value }).to_vec(),
        name,
        annotations: Vec::new(),
        taints: Vec::new(),
        unschedulable: false,
        allocatable: resources(32_000, 64 << 30),
        max_pods: 110,
        images: Vec::new(),
    }
}

fn pod(name: &str) -> Pod {
    Pod {
        uid: name.to_owned(),
        namespace: "default".to_owned(),
        name: name.to_owned(),
        labels: vec![Pair { key: "app".to_owned(), value: "web".to_owned() }],
        annotations: Vec::new(),
        priority: 0,
        may_preempt: true,
        requests: resources(100, 128 << 20),
        scored_milli_cpu: 100,
        scored_memory: 128 << 20,
        tolerations: Vec::new(),
        images: vec!["web:1".to_owned()],
        constraints: None,
        nominated: None,
        started: 0,
        deleting: false,
    }
}

fn resources(milli_cpu: i64, memory: i64) -> Resources {
    Resources { milli_cpu, memory, ephemeral_storage: 0, extended: Vec::new() }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}
