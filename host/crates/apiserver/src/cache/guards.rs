//! Lets writes through several servers exclude each other where the objects alone do not tell that they clash: two Services that
//! take one port, two Pods that take the last place of a quota.
//!
//! A guard is a key that every such write puts, on the condition that nobody put it since the writer caught up. Writers of one
//! process queue up for it, so that only servers clash; who lost looks again, see [`is_clash`]. A store of one's own needs no guard.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use pintle_api::Status;
use pintle_store::{Change, Error, Expect, Op, Transaction};
use tokio::sync::{Mutex, MutexGuard};

use super::{Cache, lock};

/// Guards' keys begin with it.
pub(super) const ROOT: &str = "/guards/";
/// Queues of this process. Guards share them by chance, which costs waiting and nothing else.
const QUEUES: usize = 32;

pub(super) struct Queues([Mutex<()>; QUEUES]);

impl Default for Queues {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

/// The right to commit under some guards, as long as no other server did since.
#[derive(Default)]
pub struct Turn<'a> {
    expect: Vec<(Bytes, Expect)>,
    _held: Vec<MutexGuard<'a, ()>>,
}

impl Cache {
    /// Waits for the guards of these names, and catches up: what is read from now on is what the turn counts on.
    pub async fn turn(self: &Arc<Self>, names: &[String]) -> Result<Turn<'_>, Status> {
        self.catch_up().await?;
        if names.is_empty() || !self.store.is_shared() {
            return Ok(Turn::default());
        }
        let mut held = Vec::new();
        // In one order for everybody.
        for queue in names.iter().map(|name| queue_of(name)).collect::<BTreeSet<_>>() {
            held.push(self.queues.0[queue].lock().await);
        }
        self.catch_up().await?;
        let guards = lock(&self.guards);
        let expect = names.iter().map(|name| {
            let key = format!("{ROOT}{name}");
            let expect = guards.get(key.as_bytes()).map_or(Expect::Absent, |revision| Expect::At(*revision));
            (Bytes::from(key), expect)
        });
        Ok(Turn { expect: expect.collect(), _held: held })
    }

    /// The store's changes come through here in order, before a reader can count on them.
    pub(super) fn note_guards(&self, batch: &[Change]) {
        for change in batch.iter().filter(|change| change.key.starts_with(ROOT.as_bytes())) {
            lock(&self.guards).insert(change.key.clone(), change.revision);
        }
    }
}

impl Turn<'_> {
    /// After the object's own condition, so that a conflict names the object first.
    pub(super) fn guard(&self, transaction: &mut Transaction) {
        transaction.expect.extend(self.expect.iter().cloned());
        transaction.ops.extend(self.expect.iter().map(|(key, _)| Op::Put { key: key.clone(), value: Bytes::new() }));
    }
}

/// Whether a commit failed only because another server had its turn first.
pub fn is_clash(error: &Error) -> bool {
    matches!(error, Error::Conflict { key, .. } if key.starts_with(ROOT))
}

fn queue_of(name: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    (hasher.finish() % QUEUES as u64) as usize
}
