//! What WebAssembly costs the default scheduling policy: the same decisions over 5,000 nodes by its component and by its native build.
//!
//! `cargo run --release -p pintle-plugins --example native_ratio -- target/plugins/scheduler-default.wasm`. Both are fed the same cluster, are asked for
//! the same pods, turn about, and are told of each placement; the time is that of asking and telling. The component is called as the host calls it,
//! with epochs, and its answers must be the native ones. Nothing else may run beside it.
//!
//! What a crossing costs is told apart: feeding nothing, and ranking no nodes, for which a pod crosses, is read and nothing is decided.
//! `--only WORKLOAD --rounds N --perf-map` are for profiles: the last one names the component's functions to `perf`.

use std::time::{Duration, Instant};

use pintle_plugin_bindings::common::env;
use pintle_plugin_bindings::common::types::Pair;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{
    self, Assumption, Choice, Constraints, Delta, HostPort, Node, NodeAffinity, NodeSelectorTerm, Operator, Outcome, Placement, Pod, PodAffinity,
    PodAffinityTerm, PreferredNodeTerm, PreferredPodTerm, Requirement, Resources, Scope, Spread, SpreadConstraint, Taint, Unsatisfiable,
};
use pintle_plugin_bindings::scheduler::{Scheduler, SchedulerPre};
use pintle_scheduler_default::DefaultScheduler;
use pintle_sdk::scheduler::Scheduler as _;
use pintle_sdk::{Env, Level};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, ProfilingStrategy, Store};

const NODES: u32 = 5000;
const PODS_ON_EACH: u32 = 2;
/// Feasible nodes that are enough, as the host and upstream have it for so many.
const ENOUGH: u32 = 500;
const ROUNDS: u32 = 5;
const DECISIONS_A_ROUND: u32 = 100;
const SEED: u8 = 7;

type Workload = fn(u32) -> Pod;

const WORKLOADS: [(&str, Workload); 3] = [("plain", plain), ("spread", spread), ("mixed", mixed)];

struct Host;

impl env::Host for Host {
    fn now(&mut self) -> u64 {
        0
    }
    fn random(&mut self, count: u32) -> Vec<u8> {
        vec![SEED; count as usize]
    }
    fn log(&mut self, _level: env::Level, _message: String) {}
    fn config(&mut self) -> String {
        String::new()
    }
}

impl types::Host for Host {}

impl Env for Host {
    fn now_nanoseconds(&self) -> u64 {
        0
    }
    fn random(&self, count: u32) -> Vec<u8> {
        vec![SEED; count as usize]
    }
    fn log(&self, _level: Level, _message: &str) {}
    fn config(&self) -> String {
        String::new()
    }
}

struct Wasm {
    store: Store<Host>,
    exports: Scheduler,
}

struct Options {
    component: String,
    only: Option<String>,
    rounds: u32,
    perf_map: bool,
}

/// A decision by one of the two, in its parts.
#[derive(Clone, Copy)]
struct Times {
    schedule: Duration,
    place: Duration,
    /// `rank` among no nodes.
    read: Duration,
    /// `feed` of nothing.
    empty: Duration,
}

impl Wasm {
    async fn load(bytes: &[u8], options: &Options) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.wasm_component_model(true).concurrency_support(false).epoch_interruption(true);
        if options.perf_map {
            config.profiler(ProfilingStrategy::PerfMap);
        }
        let engine = Engine::new(&config)?;
        let component = Component::from_binary(&engine, bytes)?;
        let mut linker = Linker::<Host>::new(&engine);
        env::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host)?;
        types::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host)?;
        let exports = SchedulerPre::new(linker.instantiate_pre(&component)?)?;
        let mut store = Store::new(&engine, Host);
        store.set_epoch_deadline(u64::MAX / 2);
        let exports = exports.instantiate_async(&mut store).await?;
        exports.call_configure(&mut store, "").await?.expect("takes an empty configuration");
        Ok(Self { store, exports })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> wasmtime::Result<()> {
    let options = options();
    let bytes = std::fs::read(&options.component)?;
    println!("{:<8} {:>10} {:>10} {:>6}   of which schedule, place; and reading a pod, calling at all", "workload", "native", "component", "ratio");
    for (name, pod) in WORKLOADS.into_iter().filter(|(name, _)| options.only.as_ref().is_none_or(|only| only == name)) {
        let [native, wasm] = measure(&bytes, pod, &options).await?;
        let ratio = wasm.whole().as_secs_f64() / native.whole().as_secs_f64();
        println!("{name:<8} {:>10.1?} {:>10.1?} {ratio:>6.2}   {native}; {wasm}", native.whole(), wasm.whole());
    }
    Ok(())
}

fn options() -> Options {
    let argument = |name: &str| std::env::args().skip_while(|a| a != name).nth(1);
    Options {
        component: std::env::args().nth(1).filter(|a| !a.starts_with("--")).unwrap_or_else(|| "target/plugins/scheduler-default.wasm".to_owned()),
        only: argument("--only"),
        rounds: argument("--rounds").map_or(ROUNDS, |n| n.parse().expect("--rounds takes a number")),
        perf_map: std::env::args().any(|a| a == "--perf-map"),
    }
}

impl Times {
    const ZERO: Self = Self { schedule: Duration::ZERO, place: Duration::ZERO, read: Duration::ZERO, empty: Duration::ZERO };

    fn whole(&self) -> Duration {
        self.schedule + self.place
    }

    fn each(&self, count: u32) -> Self {
        Self { schedule: self.schedule / count, place: self.place / count, read: self.read / count, empty: self.empty / count }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1?}, {:.1?}, {:.1?}, {:.1?}", self.schedule, self.place, self.read, self.empty)
    }
}

/// The mean times of a decision and its placement in the round that took least: native, component.
async fn measure(bytes: &[u8], pod: Workload, options: &Options) -> wasmtime::Result<[Times; 2]> {
    let mut wasm = Wasm::load(bytes, options).await?;
    let mut native = DefaultScheduler::default();
    for batch in cluster(pod).chunks(500) {
        wasm.exports.call_feed(&mut wasm.store, batch).await?;
        native.feed(&Host, across(&batch.to_vec()));
    }
    let (mut best, mut start, mut number): ([Option<Times>; 2], _, _) = ([None; 2], 0, 0);
    // The first round warms up.
    for round in 0..=options.rounds {
        let mut took = [Times::ZERO; 2];
        for _ in 0..DECISIONS_A_ROUND {
            number += 1;
            let (asked, scope) = (pod(number), Scope { start, limit: ENOUGH, top: 3, seed: u64::from(number) });
            let (native_pod, native_scope) = (across(&asked), across(&scope));
            let begun = Instant::now();
            let theirs = native.schedule(&Host, native_pod, native_scope).expect("decides");
            took[0].schedule += begun.elapsed();
            let begun = Instant::now();
            let ours = wasm.exports.call_schedule(&mut wasm.store, &asked, scope).await?.expect("decides");
            took[1].schedule += begun.elapsed();
            assert_eq!(across::<_, Outcome>(&theirs), ours, "the same policy decides the same");
            let Outcome::Fits(Choice { ranked, next_start, .. }) = ours else { panic!("some node fits {}", asked.name) };
            start = next_start;
            let placed = vec![Delta::Assume(Assumption { uid: asked.uid, node: ranked[0].node })];
            let native_placed = across(&placed);
            let begun = Instant::now();
            native.feed(&Host, native_placed);
            took[0].place += begun.elapsed();
            let begun = Instant::now();
            wasm.exports.call_feed(&mut wasm.store, &placed).await?;
            took[1].place += begun.elapsed();
        }
        for _ in 0..DECISIONS_A_ROUND {
            let asked = pod(number);
            let native_pod = across(&asked);
            let begun = Instant::now();
            native.rank(&Host, native_pod, Vec::new()).expect("ranks nothing");
            took[0].read += begun.elapsed();
            let begun = Instant::now();
            wasm.exports.call_rank(&mut wasm.store, &asked, &[]).await?.expect("ranks nothing");
            took[1].read += begun.elapsed();
            let begun = Instant::now();
            wasm.exports.call_feed(&mut wasm.store, &[]).await?;
            took[1].empty += begun.elapsed();
        }
        if round > 0 {
            for (best, took) in best.iter_mut().zip(took) {
                let took = took.each(DECISIONS_A_ROUND);
                *best = Some(best.filter(|best| best.whole() <= took.whole()).unwrap_or(took));
            }
        }
    }
    Ok(best.map(|best| best.expect("a round at least")))
}

/// The host's types and the SDK's are of one WIT: what one writes, the other reads.
fn across<A: serde::Serialize, B: serde::de::DeserializeOwned>(value: &A) -> B {
    postcard::from_bytes(&postcard::to_stdvec(value).expect("values of the WIT serialise")).expect("both are made of the same WIT")
}

fn cluster(pod: Workload) -> Vec<Delta> {
    let nodes = (0..NODES).map(|id| Delta::UpsertNode(node(id)));
    let placed = (0..NODES * PODS_ON_EACH).map(|n| {
        let placed = Pod { uid: format!("old-{n}"), name: format!("old-{n}"), ..pod(n) };
        Delta::Place(Placement { pod: placed, node: n % NODES })
    });
    nodes.chain(placed).collect()
}

fn node(id: u32) -> Node {
    let name = format!("node-{id}");
    let labels = [("kubernetes.io/hostname", name.clone()), ("topology.kubernetes.io/zone", format!("zone-{}", id % 5)), ("disk", disk(id))];
    let taint = Taint { key: "spot".to_owned(), value: String::new(), effect: types::Effect::PreferNoSchedule };
    Node {
        id,
        name,
        labels: labels.into_iter().map(|(key, value)| Pair { key: key.to_owned(), value }).collect(),
        annotations: Vec::new(),
        taints: if id.is_multiple_of(4) { vec![taint] } else { Vec::new() },
        unschedulable: false,
        allocatable: Resources { milli_cpu: 16_000, memory: 64 << 30, ephemeral_storage: 0, extended: Vec::new() },
        max_pods: 110,
        images: Vec::new(),
    }
}

fn disk(id: u32) -> String {
    if id.is_multiple_of(3) { "ssd" } else { "hdd" }.to_owned()
}

fn is(key: &str, value: &str) -> Requirement {
    Requirement { key: key.to_owned(), operator: Operator::In, values: vec![value.to_owned()] }
}

fn plain(number: u32) -> Pod {
    let name = format!("pod-{number}");
    Pod {
        uid: name.clone(),
        namespace: "default".to_owned(),
        name,
        labels: vec![Pair { key: "app".to_owned(), value: format!("app-{}", number % 50) }],
        annotations: Vec::new(),
        priority: 0,
        may_preempt: true,
        requests: Resources { milli_cpu: 100, memory: 128 << 20, ephemeral_storage: 0, extended: Vec::new() },
        scored_milli_cpu: 100,
        scored_memory: 128 << 20,
        tolerations: Vec::new(),
        images: vec!["registry.example/web:1".to_owned()],
        constraints: None,
        nominated: None,
        started: i64::MAX,
        deleting: false,
    }
}

fn constrained(number: u32, constraints: Constraints) -> Pod {
    Pod { constraints: Some(constraints), ..plain(number) }
}

fn nothing() -> Constraints {
    across(&pintle_sdk::scheduler::Constraints::default())
}

fn no_pods() -> PodAffinity {
    across(&pintle_sdk::scheduler::PodAffinity::default())
}

fn beside(number: u32, pods: PodAffinity, host_ports: Vec<HostPort>) -> Pod {
    constrained(number, Constraints { pods: Some(pods), host_ports, ..nothing() })
}

/// Over zones by force and over nodes by preference, among the pods of its application.
fn spread(number: u32) -> Pod {
    let app = format!("app-{}", number % 50);
    let constraint = |topology_key: &str, when_unsatisfiable| SpreadConstraint {
        max_skew: 5,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable,
        selector: Some(vec![is("app", &app)]),
        min_domains: None,
        honor_node_affinity: true,
        honor_node_taints: false,
    };
    let spread = vec![
        constraint("topology.kubernetes.io/zone", Unsatisfiable::DoNotSchedule),
        constraint("kubernetes.io/hostname", Unsatisfiable::ScheduleAnyway),
    ];
    constrained(number, Constraints { spread: Some(Spread { constraints: spread, by_default: false }), ..nothing() })
}

/// A fifth each: plain, spread, node affinity, anti-affinity by node, host port and preferred affinity by zone.
fn mixed(number: u32) -> Pod {
    let app = format!("app-{}", number % 50);
    let near = |topology_key: &str| PodAffinityTerm {
        selector: Some(vec![is("app", &app)]),
        namespaces: vec!["default".to_owned()],
        namespace_selector: None,
        topology_key: topology_key.to_owned(),
    };
    let term = |value: &str| NodeSelectorTerm { labels: vec![is("disk", value)], fields: Vec::new() };
    match number % 5 {
        0 => plain(number),
        1 => spread(number),
        2 => {
            let preferred = vec![PreferredNodeTerm { weight: 50, term: term("ssd") }];
            let nodes = NodeAffinity { selector: Vec::new(), required: Some(vec![term("ssd"), term("hdd")]), preferred };
            constrained(number, Constraints { nodes: Some(nodes), ..nothing() })
        }
        3 => beside(number, PodAffinity { required_anti: vec![near("kubernetes.io/hostname")], ..no_pods() }, Vec::new()),
        _ => {
            let port = HostPort { ip: "0.0.0.0".to_owned(), protocol: "TCP".to_owned(), port: 8000 + (number % 1000) as u16 };
            let wish = PreferredPodTerm { weight: 10, term: near("topology.kubernetes.io/zone") };
            beside(number, PodAffinity { preferred: vec![wish], ..no_pods() }, vec![port])
        }
    }
}
