//! The keyed work queue of a controller: a key waits once however often it is asked for, is never handed out twice at a time, and comes
//! back with growing pauses when its reconciliation failed.
//!
//! Bounded by the number of objects: a key or a routed object is held once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::index::Entry;

/// Pause after the first failure of a key; doubles with each one.
pub const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// Upstream's controllers go to 1,000 s; a minute heals sooner and costs nothing on one machine.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Namespace (empty for cluster-scoped objects) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// A change whose keys the component must name.
pub struct Change {
    pub watch: usize,
    pub before: Option<Arc<Entry>>,
    pub after: Option<Arc<Entry>>,
}

pub enum Work {
    Reconcile(Key),
    Route(Change),
}

#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Wakes who began to wait last, so that those who are not needed stay idle.
    wake: Notify,
}

/// What was not done when a queue was closed.
#[derive(Default)]
pub struct Left {
    pub keys: Vec<Key>,
    pub later: Vec<(Instant, Key)>,
    pub changes: Vec<(Key, Change)>,
}

/// Before the first and after the last of an object's changes.
type States = (Option<Arc<Entry>>, Option<Arc<Entry>>);

#[derive(Default)]
struct State {
    ready: VecDeque<Key>,
    /// Keys in `ready`.
    waiting: HashSet<Key>,
    running: HashSet<Key>,
    /// Asked for while they ran.
    again: HashSet<Key>,
    later: BinaryHeap<Reverse<(Instant, Key)>>,
    /// When the earliest entry of `later` that counts for the key is due.
    due: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
    changes: VecDeque<(usize, Key)>,
    changed: HashMap<(usize, Key), States>,
    closed: bool,
}

impl Queue {
    pub fn add(&self, key: Key) {
        self.lock().add(key);
        self.wake.notify_last();
    }

    pub fn add_after(&self, key: Key, after: Duration) {
        let due = Instant::now() + after;
        let mut state = self.lock();
        if state.due.get(&key).is_some_and(|earlier| *earlier <= due) {
            return;
        }
        state.due.insert(key.clone(), due);
        state.later.push(Reverse((due, key)));
        drop(state);
        self.wake.notify_last();
    }

    /// Several changes of one object before it is routed become one, from the first state to the last.
    pub fn change(&self, watch: usize, key: Key, before: Option<Arc<Entry>>, after: Option<Arc<Entry>>) {
        let mut state = self.lock();
        match state.changed.entry((watch, key.clone())) {
            std::collections::hash_map::Entry::Occupied(mut entry) => entry.get_mut().1 = after,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert((before, after));
                state.changes.push_back((watch, key));
            }
        }
        drop(state);
        self.wake.notify_last();
    }

    /// `None` once the queue is closed.
    pub async fn next(&self) -> Option<Work> {
        loop {
            let woken = self.wake.notified();
            let due = {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                state.wake_due(Instant::now());
                if let Some(work) = state.take() {
                    if !state.ready.is_empty() || !state.changes.is_empty() {
                        self.wake.notify_last();
                    }
                    return Some(work);
                }
                state.later.peek().map(|Reverse((due, _))| *due)
            };
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, woken).await;
                }
                None => woken.await,
            }
        }
    }

    /// The key's reconciliation ended; `failed` brings it back after its pause, which is returned.
    pub fn done(&self, key: Key, failed: bool) -> Option<Duration> {
        let mut state = self.lock();
        state.running.remove(&key);
        if state.again.remove(&key) {
            state.add(key.clone());
        }
        if !failed {
            state.failures.remove(&key);
            drop(state);
            self.wake.notify_last();
            return None;
        }
        let failures = state.failures.entry(key.clone()).or_default();
        let pause = BACKOFF_MIN.saturating_mul(1 << (*failures).min(20)).min(BACKOFF_MAX);
        *failures = failures.saturating_add(1);
        drop(state);
        self.add_after(key, pause);
        Some(pause)
    }

    /// A change that could not be routed comes back first.
    pub fn put_back(&self, key: Key, change: Change) {
        let mut state = self.lock();
        let slot = (change.watch, key);
        if let Some(newer) = state.changed.get_mut(&slot) {
            newer.0 = change.before;
        } else {
            state.changed.insert(slot.clone(), (change.before, change.after));
            state.changes.push_front(slot);
        }
        drop(state);
        self.wake.notify_last();
    }

    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_waiters();
        self.wake.notify_last();
    }

    /// Everything that waits, and what was handed out and not settled.
    pub fn take_left(&self) -> Left {
        let mut state = std::mem::take(&mut *self.lock());
        let due = std::mem::take(&mut state.due);
        let mut keys: Vec<Key> = state.running.drain().collect();
        keys.extend(state.ready.drain(..));
        let changed = |slot| {
            let (before, after) = state.changed.remove(&slot)?;
            Some((slot.1, Change { watch: slot.0, before, after }))
        };
        let changes = state.changes.drain(..).filter_map(changed).collect();
        self.lock().closed = true;
        Left { keys, later: due.into_iter().map(|(key, due)| (due, key)).collect(), changes }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl State {
    fn add(&mut self, key: Key) {
        if self.running.contains(&key) {
            self.again.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some(Reverse((due, _))) = self.later.peek() {
            if *due > now {
                return;
            }
            let Some(Reverse((due, key))) = self.later.pop() else { return };
            // An entry that an earlier one overtook counts no more.
            if self.due.get(&key) == Some(&due) {
                self.due.remove(&key);
                self.add(key);
            }
        }
    }

    /// Changes go first: they say which keys are worth reconciling.
    fn take(&mut self) -> Option<Work> {
        if let Some(slot) = self.changes.pop_front() {
            let (before, after) = self.changed.remove(&slot).unwrap_or_default();
            return Some(Work::Route(Change { watch: slot.0, before, after }));
        }
        let key = self.ready.pop_front()?;
        self.waiting.remove(&key);
        self.running.insert(key.clone());
        Some(Work::Reconcile(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "n".into(), name: name.into() }
    }
    async fn next(queue: &Queue) -> Key {
        match queue.next().await {
            Some(Work::Reconcile(key)) => key,
            _ => panic!("expected a key"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_runs_once_at_a_time() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        queue.add(key("b"));
        assert_eq!(next(&queue).await, key("a"));
        queue.add(key("a"));
        assert_eq!(next(&queue).await, key("b"));
        assert!(queue.lock().ready.is_empty(), "a runs, so it is not handed out again");
        queue.done(key("a"), false);
        assert_eq!(next(&queue).await, key("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time_and_success_forgets_them() {
        let queue = Queue::default();
        queue.add(key("a"));
        let mut pauses = Vec::new();
        for _ in 0..16 {
            assert_eq!(next(&queue).await, key("a"));
            pauses.push(queue.done(key("a"), true).expect("a pause"));
        }
        assert_eq!((pauses[0], pauses[1], pauses[15]), (BACKOFF_MIN, BACKOFF_MIN * 2, BACKOFF_MAX));
        next(&queue).await;
        queue.done(key("a"), false);
        queue.add(key("a"));
        next(&queue).await;
        assert_eq!(queue.done(key("a"), true), Some(BACKOFF_MIN));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_everything_that_was_not_settled() {
        let queue = Queue::default();
        for name in ["done", "runs", "runs again", "waits"] {
            queue.add(key(name));
        }
        for _ in 0..3 {
            next(&queue).await;
        }
        queue.done(key("done"), false);
        queue.add(key("runs again"));
        queue.add_after(key("later"), Duration::from_secs(7));
        queue.change(2, key("changed"), None, None);
        queue.close();
        assert!(queue.next().await.is_none());
        let Left { mut keys, later, changes } = queue.take_left();
        keys.sort();
        assert_eq!(keys, ["runs", "runs again", "waits"].map(key));
        assert_eq!(later, [(Instant::now() + Duration::from_secs(7), key("later"))]);
        assert_eq!(changes.iter().map(|(key, change)| (&*key.name, change.watch)).collect::<Vec<_>>(), [("changed", 2)]);
        assert!(queue.next().await.is_none(), "it stays closed");
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_time_overtakes_a_later_one() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_after(key("a"), Duration::from_secs(60));
        queue.add_after(key("a"), Duration::from_secs(1));
        queue.add_after(key("a"), Duration::from_secs(30));
        next(&queue).await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        queue.done(key("a"), false);
        queue.add_after(key("z"), Duration::from_secs(120));
        assert_eq!(next(&queue).await, key("z"), "the overtaken entries are void");
    }
}
