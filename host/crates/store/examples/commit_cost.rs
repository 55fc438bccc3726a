//! What a commit costs over a real file: `cargo run --release -p pintle-store --example commit_cost -- FOLDER [KIB]`, where a checkpoint takes so much.
//!
//! Callers that each wait for their answer before they write again, values of 1,000 to 2,000 bytes, 8,000 keys written before; what the
//! engine does beside its answers (checkpoints, pages) is in the processor time. Run it on a machine without other work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_store::embedded::{self, Embedded, Options};
use pintle_store::{Op, Store, Transaction};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const KEYS: usize = 8_000;
const SECONDS: u64 = 6;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let folder = std::env::args().nth(1).expect("the folder to write in");
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    let path = folder.path().join("store");
    let mut options = Options::default();
    if let Some(kibibytes) = std::env::args().nth(2) {
        options.checkpoint_bytes = kibibytes.parse::<usize>().expect("KiB of the journal that a checkpoint takes") << 10;
    }
    let store = embedded::open(&path, options.clone()).expect("a store");
    for first in (0..KEYS).step_by(100) {
        let ops = (first..first + 100).map(|n| put(n, 1_500)).collect();
        store.commit(Transaction { expect: Vec::new(), ops }).await.expect("a commit");
    }
    println!("callers  commits/s  wall   CPU   median   p99   p99.9   max (µs)");
    for callers in [1, 4, 32] {
        measure(&store, callers).await;
    }
    store.close().await.expect("closed");
    println!("{} KiB on disk, {}", size_of(folder.path()) / 1024, resident());
    let started = Instant::now();
    let store = embedded::open(&path, options).expect("a store");
    println!("opened again in {:?}", started.elapsed());
    store.close().await.expect("closed");
}

async fn measure(store: &Arc<Embedded>, callers: usize) {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let tasks: Vec<_> = (0..callers).map(|caller| tokio::spawn(write(store.clone(), caller as u64))).collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("a caller"));
    }
    let (wall, cpu, commits) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu, took.len() as f64);
    took.sort_unstable();
    let at = |share: f64| took[((commits - 1.0) * share) as usize].as_micros();
    println!(
        "{callers:7}  {:9.0}  {:4.0}  {:4.1}  {:7}  {:5}  {:6}  {:5}",
        commits / wall,
        wall / commits * 1e6,
        cpu / commits * 1e6,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

async fn write(store: Arc<Embedded>, seed: u64) -> Vec<Duration> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut took, end) = (Vec::new(), Instant::now() + Duration::from_secs(SECONDS));
    while Instant::now() < end {
        let op = put(random.random_range(0..KEYS), random.random_range(1_000..2_000));
        let started = Instant::now();
        store.commit(Transaction { expect: Vec::new(), ops: vec![op] }).await.expect("a commit");
        took.push(started.elapsed());
    }
    took
}

fn put(n: usize, bytes: usize) -> Op {
    Op::Put { key: format!("/registry/pods/default/pod-{n}").into(), value: vec![b'x'; bytes].into() }
}

fn size_of(folder: &std::path::Path) -> u64 {
    std::fs::read_dir(folder).expect("a folder").filter_map(|entry| entry.ok()?.metadata().ok()).map(|found| found.len()).sum()
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().to_owned()
}

/// User and system time of this process, from /proc in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let fields: Vec<f64> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    (fields[10] + fields[11]) / 100.0
}
