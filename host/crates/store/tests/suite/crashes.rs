//! The embedded engine on a disk that loses power: after every crash all that was acknowledged is there, whole
//! transactions only, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use pintle_store::embedded::{Embedded, Options};
use pintle_store::faulty::{self, Disk, Fault};
use pintle_store::{Error, Revision, Store, Transaction};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{delete, put, write};

const SEEDS: u64 = 300;
const REBOOTS: usize = 4;
const KEYS: usize = 40;
const CONCURRENT: usize = 12;

type Contents = BTreeMap<String, (String, Revision)>;

#[test]
fn a_power_loss_takes_nothing_acknowledged_and_halves_nothing() {
    // Another range of seeds, or one seed again: STORE_SEED=n.
    let chosen: Option<u64> = std::env::var("STORE_SEED").ok().and_then(|s| s.parse().ok());
    let seeds = chosen.map_or(0..SEEDS, |seed| seed..seed + 1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut lost_in_flight = 0;
    for seed in seeds {
        println!("seed {seed}");
        lost_in_flight += runtime.block_on(life_of_a_disk(seed));
    }
    assert!(lost_in_flight > 0, "the faults never hit a commit: the test tests nothing");
}

async fn life_of_a_disk(seed: u64) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    let mut disk = Disk::new(seed);
    let mut known = Known::default();
    let mut lost = 0;
    // A file is made aside and renamed, so a crash cannot meet it half made.
    faulty::open(&disk, Options::default()).unwrap().close().await.unwrap();
    for _ in 0..REBOOTS {
        disk.inject(if random.random_bool(0.8) {
            Fault::PowerLoss { after: random.random_range(0..60) }
        } else {
            Fault::FailedSync { after: random.random_range(0..6) }
        });
        // The fault may strike while the file is repaired.
        if let Ok(store) = faulty::open(&disk, Options::default()) {
            known.check(&store).await;
            lost += known.write_until_failure(&store, &mut random).await;
            let _ = store.close().await;
        }
        disk = disk.reboot();
    }
    let store = faulty::open(&disk, Options::default()).unwrap_or_else(|error| panic!("seed {seed}: no way back: {error}"));
    known.check(&store).await;
    store.close().await.unwrap();
    lost
}

/// The contents after each revision that may be the newest.
#[derive(Default)]
struct Known {
    /// Everything up to here was acknowledged.
    acknowledged: Revision,
    at: BTreeMap<Revision, Contents>,
}

impl Known {
    async fn check(&mut self, store: &Embedded) {
        let found = store.range(b"", b"", 0).await.unwrap();
        assert!(found.revision >= self.acknowledged, "{} is lost, the file ends at {}", self.acknowledged, found.revision);
        let contents: Contents = found
            .entries
            .iter()
            .map(|e| (String::from_utf8_lossy(&e.key).into(), (String::from_utf8_lossy(&e.value).into(), e.revision)))
            .collect();
        let expected = self.at.get(&found.revision).cloned().unwrap_or_default();
        assert_eq!(contents, expected, "at revision {}", found.revision);
        // What lay beyond never happened.
        self.acknowledged = found.revision;
        self.at = BTreeMap::from([(found.revision, expected)]);
    }

    /// Several callers at once, so that groups form; the queue keeps their order.
    async fn write_until_failure(&mut self, store: &Arc<Embedded>, random: &mut StdRng) -> usize {
        for round in 0..40 {
            let transactions: Vec<_> = (0..random.random_range(1..CONCURRENT)).map(|_| self.invent(random, round)).collect();
            let answers = join_all(transactions.into_iter().map(|transaction| store.commit(transaction))).await;
            let failed = answers.iter().filter(|answer| answer.is_err()).count();
            for answer in answers {
                match answer {
                    Ok(revision) => self.acknowledged = self.acknowledged.max(revision),
                    Err(Error::Unknown(_) | Error::Unavailable(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            if failed > 0 {
                assert!(matches!(store.get(b"/k1").await, Err(Error::Unavailable(_))), "a failed store stops");
                return failed;
            }
        }
        0
    }

    fn invent(&mut self, random: &mut StdRng, round: usize) -> Transaction {
        let (newest, contents) = self.at.last_key_value().map_or((1, Contents::new()), |(r, c)| (*r, c.clone()));
        let (mut after, revision) = (contents, newest + 1);
        let first = random.random_range(0..KEYS);
        let mut ops = Vec::new();
        for n in 0..random.random_range(1..4) {
            let key = format!("/k{}", (first + n) % KEYS);
            if random.random_bool(0.2) && after.contains_key(&key) {
                after.remove(&key);
                ops.push(delete(&key));
            } else {
                let value = format!("{round} {}", "x".repeat(random.random_range(0..3000)));
                after.insert(key.clone(), (value.clone(), revision));
                ops.push(put(&key, &value));
            }
        }
        self.at.insert(revision, after);
        write(ops)
    }
}
