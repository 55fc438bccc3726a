//! What reloads and faults cost while a scheduler and a controller are at work, over an API in memory.
//!
//! `cargo run --release -p pintle-plugins --example reloads -- [--component FILE] [--nodes N] [--pods N] [--reloads N] [--traps N] [--all-digests]`
//!
//! A scheduler component, the default one where none is named, has `nodes` nodes with `pods` pods on them and a queue that never runs empty; a controller (the SDK's probe) answers ConfigMaps.
//! Both are reloaded turn about, `reloads` times in all; then the scheduler is made to trap `traps` times. Prints, and checks where the run ends badly:
//! each pod was bound once and each ConfigMap answered once; the longest gap between two bindings while pods waited; resident memory after the first hundred
//! reloads and at the end, as it stood then and as the mean of samples before, for it goes up and down with the load. With `--all-digests` each reload brings bytes that were never seen, so each is compiled; else four versions take turns.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pintle_api::GroupVersionResource;
use pintle_plugins::plugin::PLUGINS;
use pintle_plugins::{Handle, Manager, ManagerConfig, compiler};
use serde_json::{Value, json};

use cluster::Cluster;

#[path = "../tests/runtime/cluster.rs"]
#[allow(dead_code)]
mod cluster;
#[path = "../tests/runtime/guests.rs"]
#[allow(dead_code)]
mod guests;

/// The product's allocator, and how much of what it gave is in use: the rest of the heap is what it keeps.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: each call goes to mimalloc as it came.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { mimalloc::MiMalloc.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { mimalloc::MiMalloc.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { mimalloc::MiMalloc.realloc(pointer, layout, size) }
    }
}

const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");
const EVENTS: GroupVersionResource = GroupVersionResource::constant("events.k8s.io", "v1", "events");
const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
/// Pods that wait for a node at any time.
const BACKLOG: usize = 64;
/// Bound pods beyond these leave, oldest first, so that the cluster stays as large as it is.
const KEPT: usize = 500;
/// How often the load is topped up.
const TICK: Duration = Duration::from_millis(2);
/// Reloads before memory is taken for settled.
const WARM: usize = 100;
/// The last samples of memory, one a reload, that a mean is of.
const SAMPLES: usize = 50;
const PATIENCE: Duration = Duration::from_secs(120);

struct Options {
    component: Option<PathBuf>,
    nodes: usize,
    pods: usize,
    reloads: usize,
    traps: usize,
    all_digests: bool,
}

/// Creates work, and counts what becomes of it.
struct Load {
    cluster: Arc<Cluster>,
    created: usize,
    waiting: usize,
    bound: Once,
    bindings: usize,
    placed: VecDeque<String>,
    last: Option<Instant>,
    longest: Duration,
    asked: usize,
    answered: Once,
    answers: usize,
}

/// How often each number came, for numbers that are each due once and come about in their order. Those before the first that did not come
/// are not kept: this process's memory is what is measured.
struct Once {
    from: usize,
    came: VecDeque<u8>,
}

#[tokio::main]
async fn main() {
    // Compiling in this process would leave its memory behind, as it would in the server.
    if std::env::args().nth(1).as_deref() == Some(compiler::ARGUMENT) {
        let functions = std::env::args_os().nth(3).map(std::path::PathBuf::from);
        std::process::exit(compiler::serve(&std::env::args().nth(2).unwrap_or_default(), functions.as_deref()).into());
    }
    let options = options();
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::new();
    fill(&cluster, &options);
    let handle = start(&cluster, folder.path());
    let components = folder.path().join("plugins/components");
    std::fs::create_dir_all(&components).expect("a folder");
    let scheduler = match &options.component {
        Some(path) => std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
        None => guests::plugin("pintle-scheduler-default"),
    };
    let scheduler = Reloaded { name: "s", world: "scheduler", bytes: scheduler, components: components.clone() };
    let controller = Reloaded { name: "c", world: "controller", bytes: guests::controller().to_vec(), components };
    let mut load = Load::new(cluster.clone());
    for plugin in [&scheduler, &controller] {
        plugin.reload(&cluster, &mut load, 0, &options).await;
    }
    load.quietly(Duration::from_millis(500)).await;
    println!(
        "{:>8} {:>10} {:>12} {:>12} {:>14} {:>14} {:>14} {:>14}",
        "reloads", "took", "bound", "answered", "longest gap", "resident", "in the mean", "heap in use"
    );
    let (mut settled, mut samples, mut mean) = (None, Vec::new(), 0.0);
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    load.longest = Duration::ZERO;
    for n in 1..=options.reloads {
        let plugin = if n % 2 == 0 { &controller } else { &scheduler };
        plugin.reload(&cluster, &mut load, n, &options).await;
        samples.push(resident());
        if n % (options.reloads / 20).max(WARM) == 0 || n == WARM || n == options.reloads {
            let (took, gap) = (begun.elapsed(), load.longest);
            let lately = &samples[samples.len().saturating_sub(SAMPLES)..];
            mean = lately.iter().sum::<f64>() / lately.len() as f64;
            let (resident, live) = (resident(), LIVE.load(Ordering::Relaxed) as f64 / 1024.0 / 1024.0);
            println!(
                "{n:>8} {took:>10.1?} {:>12} {:>12} {gap:>14.1?} {resident:>10.1} MiB {mean:>10.1} MiB {live:>10.1} MiB",
                load.bindings, load.answers
            );
            longest = longest.max(std::mem::take(&mut load.longest));
        }
        if n == WARM.min(options.reloads) {
            settled = Some((resident(), mean));
            samples.clear();
        }
    }
    let (end, highest) = (resident(), samples.iter().copied().fold(0.0, f64::max));
    let (settled, settled_mean) = settled.unwrap_or((end, mean));
    let growth = |from: f64, to: f64| (to / from - 1.0) * 100.0;
    println!("longest gap between two bindings while pods waited: {longest:.1?}");
    println!("resident after {WARM} reloads {settled:.1} MiB, at the end {end:.1} ({:+.1} %), at most {highest:.1}", growth(settled, end));
    println!("in the mean of {SAMPLES} reloads {settled_mean:.1} MiB, at the end {mean:.1} ({:+.1} %)", growth(settled_mean, mean));
    tell_pauses(&handle, "since the start");
    traps(&mut load, options.traps).await;
    tell_pauses(&handle, "with the traps");
    load.finish().await;
    println!("{} pods bound once each, {} ConfigMaps answered once each", load.bindings, load.answers);
    handle.shutdown().await;
}

fn options() -> Options {
    let argument = |name: &str| std::env::args().skip_while(|a| a != name).nth(1);
    let number = |name: &str, default: usize| argument(name).map_or(default, |n| n.parse().unwrap_or_else(|_| panic!("{name} takes a number")));
    Options {
        component: argument("--component").map(PathBuf::from),
        nodes: number("--nodes", 100),
        pods: number("--pods", 200),
        reloads: number("--reloads", 400),
        traps: number("--traps", 0),
        all_digests: std::env::args().any(|a| a == "--all-digests"),
    }
}

fn start(cluster: &Arc<Cluster>, folder: &std::path::Path) -> Handle {
    let client = cluster.clone();
    let config = ManagerConfig {
        client: cluster.clone(),
        clients: Arc::new(move |_| client.clone()),
        data_dir: folder.to_owned(),
        embedded: Vec::new(),
        compiler: std::env::current_exe().ok(),
        required_keys: Vec::new(),
        ingress_addresses: Vec::new(),
    };
    Manager::start(config).expect("a manager")
}

fn fill(cluster: &Cluster, options: &Options) {
    for n in 0..options.nodes {
        let labels = json!({"kubernetes.io/hostname": format!("n{n}"), "topology.kubernetes.io/zone": format!("z{}", n % 5), "disk": if n % 3 == 0 { "ssd" } else { "hdd" }});
        let allocatable = json!({"cpu": "64", "memory": "256Gi", "pods": "1000"});
        cluster.put(&NODES, json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{n}"), "labels": labels}, "status": {"allocatable": allocatable}}));
    }
    for n in 0..options.pods {
        let mut pod = pod(&format!("old-{n}"));
        pod["spec"]["nodeName"] = format!("n{}", n % options.nodes.max(1)).into();
        cluster.put(&PODS, pod);
    }
}

fn pod(name: &str) -> Value {
    let resources = json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}});
    let container = json!({"name": "main", "image": "registry.example/app:v1", "resources": resources, "ports": [{"containerPort": 8080}],
        "env": [{"name": "A_SETTING", "value": "of some length"}, {"name": "ANOTHER", "value": "as long"}]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "labels": {"app": "web", "pod-template-hash": "7d9f"}},
        "spec": {"schedulerName": "default-scheduler", "containers": [container]}, "status": {"phase": "Pending"}})
}

/// A plugin whose bytes change.
struct Reloaded {
    name: &'static str,
    world: &'static str,
    bytes: Vec<u8>,
    components: PathBuf,
}

impl Reloaded {
    /// Other bytes, until they are live; the load goes on meanwhile.
    async fn reload(&self, cluster: &Cluster, load: &mut Load, number: usize, options: &Options) {
        let version = if options.all_digests { number } else { number.div_ceil(2) % 4 };
        let file = format!("{}-{version}.wasm", self.name);
        let path = self.components.join(&file);
        if !path.exists() {
            std::fs::write(&path, with_note(&self.bytes, &version.to_string())).expect("written");
        }
        let before = cluster.get_object(&PLUGINS, "", self.name).map_or(Value::Null, |p| p["status"]["activeDigest"].clone());
        let grants = json!([{"apiGroups": ["*"], "resources": ["*", "pods/binding", "pods/status"], "verbs": ["*"]}]);
        // A rollback would end the run: faults are asked for.
        let mut spec = json!({"world": self.world, "source": {"file": file}, "grants": grants, "rollback": {"faults": 0}});
        if options.traps > 0 {
            spec["limits"] = json!({"memory": "12Mi"});
        }
        cluster.put_spec(&PLUGINS, json!({"apiVersion": "pintle.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": self.name}, "spec": spec}));
        let begun = Instant::now();
        loop {
            let status = cluster.get_object(&PLUGINS, "", self.name).map_or(json!({}), |p| p["status"].clone());
            if status["activeDigest"].is_string() && status["activeDigest"] != before && status["stage"] == "Live" {
                break;
            }
            assert!(begun.elapsed() < PATIENCE && status["stage"] != "Failed", "the reload {number} of {} does not end: {status:#}", self.name);
            load.tick().await;
        }
        if options.all_digests && number > 0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The component with a custom section, which gives it another digest and changes nothing else.
fn with_note(bytes: &[u8], note: &str) -> Vec<u8> {
    let mut noted = bytes.to_vec();
    let name = b"note";
    noted.extend([0, u8::try_from(1 + name.len() + note.len()).expect("a short note"), u8::try_from(name.len()).expect("a short name")]);
    noted.extend(name);
    noted.extend(note.as_bytes());
    noted
}

impl Load {
    fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            created: 0,
            waiting: 0,
            bound: Once { from: 0, came: VecDeque::new() },
            bindings: 0,
            placed: VecDeque::new(),
            last: None,
            longest: Duration::ZERO,
            asked: 0,
            answered: Once { from: 1, came: VecDeque::new() },
            answers: 0,
        }
    }

    async fn tick(&mut self) {
        self.count();
        // The API in memory would keep them for ever.
        self.cluster.forget_all(&EVENTS);
        if self.waiting == 0 {
            // Nobody waited: what comes now begins anew.
            self.last = Some(Instant::now());
        }
        while self.waiting < BACKLOG {
            self.cluster.put(&PODS, pod(&format!("p{}", self.created)));
            (self.created, self.waiting) = (self.created + 1, self.waiting + 1);
        }
        while self.placed.len() > KEPT {
            let oldest = self.placed.pop_front().expect("one");
            self.cluster.remove(&PODS, "n", &oldest);
        }
        // One is asked, and once it is answered it goes.
        if self.answered.has(self.asked) {
            self.cluster.remove(&CONFIG_MAPS, "n", &format!("a{}", self.asked));
            self.asked += 1;
            let name = format!("a{}", self.asked);
            self.cluster.put(
                &CONFIG_MAPS,
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}, "data": {"do": "config"}}),
            );
        }
        tokio::time::sleep(TICK).await;
    }

    fn count(&mut self) {
        for (at, write) in self.cluster.take_writes() {
            if let Some(name) = write.strip_prefix("create pods/binding ") {
                let gap = self.last.map_or(Duration::ZERO, |last| at.saturating_duration_since(last));
                (self.last, self.longest) = (Some(at), self.longest.max(gap));
                self.bound.count(name);
                self.bindings += 1;
                self.waiting -= 1;
                self.placed.push_back(name.to_owned());
            } else if let Some(name) = write.strip_prefix("update configmaps ") {
                self.answered.count(name);
                self.answers += 1;
            }
        }
    }

    async fn quietly(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.tick().await;
        }
    }

    /// Everything that was asked for is done, once.
    async fn finish(&mut self) {
        let begun = Instant::now();
        while self.waiting > 0 || !self.answered.has(self.asked) {
            assert!(begun.elapsed() < PATIENCE, "{} pods are never bound, or a{} is not answered", self.waiting, self.asked);
            self.count();
            tokio::time::sleep(TICK).await;
        }
        assert_eq!((self.bound.all_before(), self.answered.all_before()), (Some(self.created), Some(self.asked + 1)), "none is lost or repeated");
    }
}

impl Once {
    /// Names end in their number.
    fn count(&mut self, name: &str) {
        let number: usize = name[1..].parse().expect("a letter and a number");
        let at = number.checked_sub(self.from).unwrap_or_else(|| panic!("{name} came before"));
        if self.came.len() <= at {
            self.came.resize(at + 1, 0);
        }
        self.came[at] += 1;
        assert_eq!(self.came[at], 1, "{name} came before");
        while self.came.front() == Some(&1) {
            self.came.pop_front();
            self.from += 1;
        }
    }

    fn has(&self, number: usize) -> bool {
        number < self.from || self.came.get(number - self.from) == Some(&1)
    }

    /// The number before which each came, where none after it did.
    fn all_before(&self) -> Option<usize> {
        self.came.is_empty().then_some(self.from)
    }
}

/// A pod that is too large for the scheduler's memory, again and again.
async fn traps(load: &mut Load, count: usize) {
    let mut pauses = Vec::new();
    for n in 0..count {
        load.quietly(Duration::from_millis(300)).await;
        load.longest = Duration::ZERO;
        let mut bad = pod(&format!("bad-{n}"));
        bad["metadata"]["annotations"] = json!({"too-large": "x".repeat(8 << 20)});
        bad["spec"]["priority"] = 1000.into();
        load.cluster.put(&PODS, bad);
        load.quietly(Duration::from_millis(600)).await;
        load.cluster.remove(&PODS, "n", &format!("bad-{n}"));
        pauses.push(load.longest);
    }
    if count > 0 {
        println!("longest gap between two bindings around each of {count} traps: {pauses:.1?}");
    }
}

/// What the scheduler's driver says of the times in which nothing could be decided.
fn tell_pauses(handle: &Handle, when: &str) {
    let text = (handle.metrics_reader())();
    let value = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name) && l.contains("plugin=\"s\"")).unwrap_or_default();
        line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok()).unwrap_or_default()
    };
    let (count, sum) = (value("pintle_plugin_pauses_total"), value("pintle_plugin_pause_seconds_total"));
    let longest = value("pintle_plugin_longest_pause_seconds");
    println!("decisions paused {when}: {count} times, {:.2} ms in the mean, {:.2} ms at most", sum / count.max(1.0) * 1e3, longest * 1e3);
}

/// Resident memory of this process, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
