//! The current objects of every resource as wire bytes in persistent ordered maps, and the bounded log of their changes.
//!
//! Fed in revision order by the store's watch alone. Reads never fetch from the store; a snapshot is O(1); a write returns only
//! after the cache applied it. Where other servers write as well, `shared` says when the cache is new enough. The handlers and the in-process client call it; it knows nothing of users or kinds.

pub mod event;
mod feed;
pub mod filter;
mod forms;
mod guards;
mod pieces;
mod shared;
pub mod snapshot;
mod state;
pub mod stored;
mod wakes;
pub mod watcher;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use pintle_api::{Cause, CauseKind, Object, Reason, Status};
use pintle_store::{Expect, Op, Store, Transaction};
use tokio::sync::oneshot;

pub use event::Event;
pub use filter::Filter;
pub use guards::{Turn, is_clash};
pub use shared::forget_history;
pub use snapshot::Snapshot;
pub use stored::{KeptCells, Kind, Stored};
pub use watcher::Watcher;

use crate::storage::ROOT;
use guards::Queues;
use pieces::Pieces;
use shared::Rounds;
use state::State;
use stored::Index;
use wakes::Wakes;

/// How much history the cache keeps for watches and continue tokens.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub history: Duration,
    /// Superseded objects held for watchers that lag.
    pub history_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { history: Duration::from_secs(300), history_bytes: 32 << 20 }
    }
}

/// A read of a newer revision than the cache has waits at most this long.
const WAIT_FOR_REVISION: Duration = Duration::from_secs(3);
/// A write was committed; its echo must come back through the store's watch.
const WAIT_FOR_ECHO: Duration = Duration::from_secs(10);

type ReadFields = Box<dyn Fn(&Object) -> Vec<String> + Send + Sync>;

/// The fields that selectors may name, and how to read their values from an object.
pub struct Fields {
    pub names: Vec<String>,
    pub read: ReadFields,
}

/// One resource's place in the cache.
pub struct Slot {
    id: usize,
    /// `/registry/<group>/<resource>/`
    pub prefix: String,
    fields: ArcSwap<Fields>,
    wakes: Wakes,
    pieces: Pieces,
    observers: ArcSwap<Vec<Observer>>,
}

/// Told of every change of a resource in order, before the write that made it returns: `namespace`, `name`, the object
/// (`None`: gone), of which `resourceVersion` and `managedFields` do not count: they may be missing or be the ones before the write.
/// Must be quick; it runs where the cache is fed.
pub type Observer = Arc<dyn Fn(&str, &str, Option<&Object>) + Send + Sync>;

pub struct Cache {
    store: Arc<dyn Store>,
    limits: Limits,
    state: RwLock<State>,
    revision: AtomicU64,
    /// Whether the store's changes come in.
    follows: AtomicBool,
    /// Readers and writers that wait for a revision.
    waiting: Mutex<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
    rounds: Mutex<Rounds>,
    /// When each guard was last put.
    guards: Mutex<HashMap<Bytes, u64>>,
    queues: Queues,
    /// Values on their way through the store, by the address of their bytes: an engine that hands the same bytes back
    /// saves the parse.
    prepared: Mutex<HashMap<usize, Prepared>>,
}

/// What is known of a value that was just written.
#[derive(Clone)]
struct Prepared {
    bytes: Bytes,
    index: Index,
    object: Arc<Object>,
}

/// Of what is known of a value, as long as its write lasts.
struct Known<'a> {
    cache: &'a Cache,
    address: usize,
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        lock(&self.cache.prepared).remove(&self.address);
    }
}

impl Slot {
    pub fn fields(&self) -> Arc<Fields> {
        self.fields.load_full()
    }
    fn index(&self, object: &Object) -> Index {
        let fields = self.fields.load();
        if fields.names.is_empty() {
            return Index::of(object, &[]);
        }
        Index::of(object, &(fields.read)(object))
    }
    /// The same from an object's text.
    fn index_of(&self, json: &[u8]) -> Result<Index, serde_json::Error> {
        // A start reads every object, most of them of kinds that are selected by labels alone.
        let needed = if self.fields.load().names.is_empty() { pintle_partial::LABELS } else { pintle_partial::WITHOUT_MANAGERS };
        Ok(self.index(&pintle_partial::read(json, needed)?))
    }
}

impl Fields {
    pub fn none() -> Self {
        Self { names: Vec::new(), read: Box::new(|_| Vec::new()) }
    }
    /// The old fields in their places, then those of the new ones that were not there. `None`: all were.
    fn extended(old: &Arc<Self>, new: Self) -> Option<Self> {
        let missing: Vec<usize> = (0..new.names.len()).filter(|at| !old.names.contains(&new.names[*at])).collect();
        if missing.is_empty() {
            return None;
        }
        let names = old.names.iter().cloned().chain(missing.iter().map(|at| new.names[*at].clone())).collect();
        let old = old.clone();
        let read = move |object: &Object| {
            let mut values = (old.read)(object);
            let more = (new.read)(object);
            values.extend(missing.iter().map(|at| more.get(*at).cloned().unwrap_or_default()));
            values
        };
        Some(Self { names, read: Box::new(read) })
    }
}

impl Cache {
    /// Loads everything and begins to follow the store.
    pub async fn open(store: Arc<dyn Store>, limits: Limits) -> Result<Arc<Self>, pintle_store::Error> {
        let cache = Arc::new(Self {
            store,
            limits,
            state: RwLock::default(),
            revision: AtomicU64::new(0),
            follows: AtomicBool::new(true),
            waiting: Mutex::default(),
            rounds: Mutex::default(),
            guards: Mutex::default(),
            queues: Queues::default(),
            prepared: Mutex::default(),
        });
        let revision = feed::load(&cache).await?;
        feed::follow(&cache, revision);
        Ok(cache)
    }

    /// The place of a resource, made on first use. Fields that were not known before are added and read from the objects
    /// that are loaded already; versions of one resource share a place.
    pub fn slot(&self, group: &str, resource: &str, fields: Option<Fields>) -> Arc<Slot> {
        let group = if group.is_empty() { "core" } else { group };
        self.write_state().slot(&format!("{ROOT}{group}/{resource}/"), fields)
    }

    /// Calls the observer for every present object, and then for each change.
    pub fn observe(&self, slot: &Slot, observer: Observer) {
        let state = self.write_state();
        for stored in state.slots[slot.id].map.values() {
            if let Some(object) = for_observers(stored) {
                observer(stored.namespace(), stored.name(), Some(&object));
            }
        }
        let mut observers = slot.observers.load().to_vec();
        observers.push(observer);
        slot.observers.store(Arc::new(observers));
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
    /// False while the store cannot be followed: what is read may be old.
    pub fn follows(&self) -> bool {
        self.follows.load(Ordering::Relaxed)
    }
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }
    pub fn get(&self, slot: &Slot, key: &str) -> Option<Arc<Stored>> {
        self.read_state().slots[slot.id].map.get(key).cloned()
    }
    pub fn count(&self, slot: &Slot) -> usize {
        self.read_state().slots[slot.id].map.len()
    }
    pub fn snapshot(&self, slot: &Slot) -> Snapshot {
        let state = self.read_state();
        Snapshot { map: state.slots[slot.id].map.clone(), revision: state.revision }
    }
    /// The resource as it was at a revision, while history reaches back that far.
    pub fn snapshot_at(&self, slot: &Slot, revision: u64) -> Result<Snapshot, Status> {
        self.read_state().snapshot_at(slot.id, revision)
    }
    /// Keeps a snapshot for the pages that follow.
    pub fn keep_snapshot(&self, slot: &Slot, snapshot: &Snapshot) {
        self.write_state().keep(slot.id, snapshot.clone());
    }
    /// Its pages were all given. What is kept of it would only hold superseded objects.
    pub fn release_snapshot(&self, slot: &Slot, snapshot: &Snapshot) {
        self.write_state().release(slot.id, snapshot.revision);
    }

    /// Returns when everything up to the revision was applied; refuses a revision that does not come.
    pub async fn wait_for(&self, revision: u64) -> Result<(), Status> {
        match tokio::time::timeout(WAIT_FOR_REVISION, self.applied(revision)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(too_large(revision, self.revision())),
        }
    }

    /// Writes one object (`None`: removes it) and returns what watchers see of it, once they can.
    pub async fn commit(
        &self,
        slot: &Slot,
        key: &str,
        expect: Expect,
        object: Option<&Arc<Object>>,
    ) -> Result<Option<Arc<Stored>>, pintle_store::Error> {
        self.commit_in_turn(slot, key, expect, object, &Turn::default()).await
    }

    /// The same where other objects matter, too: fails when another server had its turn since this one was given.
    pub async fn commit_in_turn(
        &self,
        slot: &Slot,
        key: &str,
        expect: Expect,
        object: Option<&Arc<Object>>,
        turn: &Turn<'_>,
    ) -> Result<Option<Arc<Stored>>, pintle_store::Error> {
        let Some(object) = object else {
            let full_key = Bytes::from(format!("{}{key}", slot.prefix));
            let transaction = Transaction { expect: vec![(full_key.clone(), expect)], ops: vec![Op::Delete { key: full_key }] };
            let revision = self.settle(transaction).await?;
            self.echo(revision).await?;
            return Ok(None);
        };
        self.put_in_turn(slot, key, expect, object, stored::encode(object), turn).await
    }

    /// The same for an object of which `value` is the stored form.
    pub async fn put_in_turn(
        &self,
        slot: &Slot,
        key: &str,
        expect: Expect,
        object: &Arc<Object>,
        value: Bytes,
        turn: &Turn<'_>,
    ) -> Result<Option<Arc<Stored>>, pintle_store::Error> {
        let full_key = Bytes::from(format!("{}{key}", slot.prefix));
        let index = slot.index(object);
        let _prepared = self.prepare(Prepared { bytes: value.clone(), index: index.clone(), object: object.clone() });
        let ops = vec![Op::Put { key: full_key.clone(), value: value.clone() }];
        let mut transaction = Transaction { expect: vec![(full_key, expect)], ops };
        turn.guard(&mut transaction);
        let result = self.settle(transaction).await;
        let echoed = match &result {
            Ok(revision) => self.echo(*revision).await,
            Err(_) => Ok(()),
        };
        echoed?;
        let revision = result?;
        let present = self.get(slot, key).filter(|s| s.revision == revision);
        Ok(Some(present.unwrap_or_else(|| Arc::new(Stored::new(key.into(), &value, revision, expect == Expect::Absent, index)))))
    }

    /// Known until the write is over or dropped.
    fn prepare(&self, prepared: Prepared) -> Known<'_> {
        let address = prepared.bytes.as_ptr() as usize;
        lock(&self.prepared).insert(address, prepared);
        Known { cache: self, address }
    }

    /// Whether the object is worth writing again unchanged, for the form in which it lies in the store is not today's.
    pub async fn is_stale(&self, slot: &Slot, key: &str) -> bool {
        let stale = self.store.is_stale(format!("{}{key}", slot.prefix).as_bytes()).await;
        stale.unwrap_or_else(|why| {
            tracing::warn!(%why, key, "cannot tell how an object is stored");
            false
        })
    }

    /// Events of the resource after the revision.
    pub fn watch(self: &Arc<Self>, slot: &Arc<Slot>, filter: Filter, after: u64) -> Result<Watcher, Status> {
        let next = self.read_state().position_after(slot.id, after)?;
        Ok(Watcher::new(self.clone(), slot.clone(), filter, next))
    }
    /// The present objects and the events that follow them, with nothing between.
    pub fn snapshot_and_watch(self: &Arc<Self>, slot: &Arc<Slot>, filter: Filter) -> (Snapshot, Watcher) {
        let state = self.read_state();
        let snapshot = Snapshot { map: state.slots[slot.id].map.clone(), revision: state.revision };
        let next = state.slots[slot.id].next;
        drop(state);
        (snapshot, Watcher::new(self.clone(), slot.clone(), filter, next))
    }

    async fn echo(&self, revision: u64) -> Result<(), pintle_store::Error> {
        let late = || pintle_store::Error::Unknown(format!("revision {revision} was committed but did not come back in time"));
        tokio::time::timeout(WAIT_FOR_ECHO, self.applied(revision)).await.map_err(|_| late())
    }

    async fn applied(&self, revision: u64) {
        if self.revision() >= revision {
            return;
        }
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting).entry(revision).or_default().push(sender);
        // Applied between the check and the entry: nobody else would wake us.
        if self.revision() >= revision {
            return;
        }
        let _ = receiver.await;
    }

    fn wake(&self, revision: u64) {
        self.revision.store(revision, Ordering::Release);
        let mut waiting = lock(&self.waiting);
        let later = waiting.split_off(&(revision + 1));
        let due = std::mem::replace(&mut *waiting, later);
        drop(waiting);
        for sender in due.into_values().flatten() {
            let _ = sender.send(());
        }
    }

    fn read_state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    fn write_state(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn for_observers(stored: &Stored) -> Option<Object> {
    let read = pintle_partial::read(stored.as_slice(), pintle_partial::WITHOUT_MANAGERS);
    read.inspect_err(|why| tracing::error!(%why, key = &*stored.key, "observers miss an object")).ok()
}

fn too_large(asked: u64, present: u64) -> Status {
    let message = format!("Timeout: Too large resource version: {asked}, current: {present}");
    let mut status = Status::new(504, Reason::Timeout, message);
    let details = status.details_mut();
    details.retry_after_seconds = 1;
    details.causes = vec![Cause::new(CauseKind::ResourceVersionTooLarge, "", "Too large resource version")];
    status
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
