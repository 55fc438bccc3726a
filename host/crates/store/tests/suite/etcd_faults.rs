//! The etcd engine while the line to etcd is cut in the middle of calls and etcd itself is killed: nothing acknowledged is lost,
//! a write in doubt happened whole or not at all, and a watcher that takes up where it was is told every change once, in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use pintle_store::etcd::{self, Etcd, Options};
use pintle_store::{Change, Error, Expect, Revision, Store};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{etcd_process, line, put, write_if};

/// One time in so many etcd is killed, else the line is cut.
const KILLED_ONE_IN: usize = 8;
const FAULTS: usize = 60;
const WRITERS: usize = 6;
const WATCHERS: usize = 2;
/// Acknowledged writes between two faults, at most.
const WRITES_BETWEEN: usize = 12;
/// What passes before a cut, at most: a transaction's request has about 400 bytes, its answer 200.
const BYTES_BEFORE_CUT: i64 = 3000;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread")]
async fn cut_lines_and_kills_take_nothing_acknowledged_and_tell_watchers_all() {
    let seed: u64 = std::env::var("STORE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random);
    println!("STORE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut etcd = etcd_process::start().await;
    let line = line::open(etcd.url.trim_start_matches("http://").to_owned()).await;
    let store = etcd::open(Options::new([&line.url])).await.unwrap();
    let start = store.revision().await.unwrap();

    let run = Arc::new(Run::default());
    let writers: Vec<_> = (0..WRITERS).map(|name| tokio::spawn(Writer::new(name, store.clone(), run.clone()).work())).collect();
    let watchers: Vec<_> = (0..WATCHERS).map(|_| tokio::spawn(watch(store.clone(), start, run.clone()))).collect();
    for fault in 1..=FAULTS {
        run.wait_for_more(random.random_range(1..=WRITES_BETWEEN)).await;
        if fault % KILLED_ONE_IN == 0 {
            etcd.kill();
            etcd.restart().await;
        } else {
            let cuts = line.cuts();
            line.cut_after(random.random_range(1..BYTES_BEFORE_CUT));
            while line.cuts() == cuts {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
    run.wait_for_more(WRITERS).await;
    run.ends.store(true, Ordering::Relaxed);

    let mut written: BTreeMap<Revision, Vec<(String, String)>> = BTreeMap::new();
    let (mut doubts, mut kept) = (0, 0);
    for writer in join_all(writers).await {
        let writer = writer.unwrap();
        doubts += writer.in_doubt;
        kept += writer.kept_in_doubt;
        for (revision, n) in writer.done {
            let pair = ["a", "b"].map(|side| (format!("/{side}/{}", writer.name), n.to_string()));
            assert!(written.insert(revision, pair.into()).is_none(), "two writes at revision {revision}");
        }
    }
    let newest = *written.last_key_value().unwrap().0;
    run.newest.store(usize::try_from(newest).unwrap(), Ordering::Relaxed);
    for watcher in join_all(watchers).await {
        let told: BTreeMap<Revision, Vec<(String, String)>> = watcher.unwrap();
        assert_eq!(told, written);
    }
    println!("{} writes, {doubts} in doubt of which {kept} had happened, {} watches resumed", written.len(), run.resumed.load(Ordering::Relaxed));
    assert!(doubts > 0 && run.resumed.load(Ordering::Relaxed) >= WATCHERS, "the faults hit nothing: the test tests nothing");
}

#[derive(Default)]
struct Run {
    acknowledged: AtomicUsize,
    resumed: AtomicUsize,
    ends: AtomicBool,
    /// The last revision that watchers wait for; zero while it is not known.
    newest: AtomicUsize,
}

impl Run {
    async fn wait_for_more(&self, writes: usize) {
        let enough = self.acknowledged.load(Ordering::Relaxed) + writes;
        while self.acknowledged.load(Ordering::Relaxed) < enough {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Writes 1, 2, 3 and so on to two keys of its own, each on the condition that the number before is there.
struct Writer {
    name: usize,
    store: Arc<Etcd>,
    run: Arc<Run>,
    done: Vec<(Revision, usize)>,
    in_doubt: usize,
    kept_in_doubt: usize,
}

impl Writer {
    fn new(name: usize, store: Arc<Etcd>, run: Arc<Run>) -> Self {
        Self { name, store, run, done: Vec::new(), in_doubt: 0, kept_in_doubt: 0 }
    }

    async fn work(mut self) -> Self {
        // The write that was tried without an answer and was not found: it may come yet.
        let mut delayed = 0;
        while delayed > self.done.len() || !self.run.ends.load(Ordering::Relaxed) {
            let n = self.done.len() + 1;
            let [a, b] = ["a", "b"].map(|side| format!("/{side}/{}", self.name));
            let expected = self.done.last().map_or(Expect::Absent, |(revision, _)| Expect::At(*revision));
            let pair = write_if([(a.as_str(), expected), (b.as_str(), expected)], [put(&a, &n.to_string()), put(&b, &n.to_string())]);
            match self.store.commit(pair).await {
                Ok(revision) => self.acknowledge(revision, n),
                Err(Error::Unknown(_)) => {
                    (self.in_doubt, delayed) = (self.in_doubt + 1, n);
                    self.settle(&a, &b, n).await;
                }
                Err(Error::Conflict { .. }) if delayed == n => self.settle(&a, &b, n).await,
                Err(other) => panic!("writer {} at {n}: {other}", self.name),
            }
        }
        self
    }

    fn acknowledge(&mut self, revision: Revision, n: usize) {
        self.done.push((revision, n));
        self.run.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks what became of a write in doubt. What is not there is written again under the same condition: of the two one fails.
    async fn settle(&mut self, a: &str, b: &str, n: usize) {
        let before = self.done.last().copied();
        loop {
            let (Ok(found), Ok(other)) = (self.store.get(a.as_bytes()).await, self.store.get(b.as_bytes()).await) else {
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            };
            let [found, other] =
                [found, other].map(|entry| entry.map(|e| (e.revision, String::from_utf8(e.value.to_vec()).unwrap().parse().unwrap())));
            if found != other {
                // Between the two reads the write may have come: never for long.
                continue;
            }
            if found == before {
                return;
            }
            let (revision, value) = found.expect("what was acknowledged is there");
            assert_eq!(value, n, "writer {} had {before:?}", self.name);
            self.kept_in_doubt += 1;
            return self.acknowledge(revision, n);
        }
    }
}

/// Everything after `from`, by revision, over as many watches as it takes.
async fn watch(store: Arc<Etcd>, from: Revision, run: Arc<Run>) -> BTreeMap<Revision, Vec<(String, String)>> {
    let mut told = BTreeMap::new();
    let mut at = from;
    loop {
        let Ok(mut changes) = store.watch(b"", at).await else {
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        };
        loop {
            let newest = run.newest.load(Ordering::Relaxed) as Revision;
            if newest != 0 && at >= newest {
                return told;
            }
            match tokio::time::timeout(LOOK_AGAIN, changes.next()).await {
                Err(_) => {}
                Ok(Some(Ok(batch))) => at = take(&mut told, at, &batch),
                Ok(Some(Err(Error::Unavailable(_))) | None) => break,
                Ok(Some(Err(other))) => panic!("{other}"),
            }
        }
        run.resumed.fetch_add(1, Ordering::Relaxed);
    }
}

fn take(told: &mut BTreeMap<Revision, Vec<(String, String)>>, mut at: Revision, batch: &[Change]) -> Revision {
    for changes in batch.chunk_by(|a, b| a.revision == b.revision) {
        let revision = changes[0].revision;
        assert!(revision > at, "{revision} after {at}");
        at = revision;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut pair: Vec<_> = changes.iter().map(|c| (text(&c.key), text(c.value.as_deref().unwrap()))).collect();
        pair.sort();
        assert_eq!(pair.len(), 2, "half of revision {revision}: {pair:?}");
        told.insert(revision, pair);
    }
    at
}
