//! A keyed work queue: each key is worked on by one worker at a time, and again when it was added meanwhile.
//!
//! A key whose work fails comes back with a growing delay. The queue holds keys, never objects, so it is bounded by
//! what exists in the cluster.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

const FIRST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// What became of a key.
pub enum Outcome {
    Done,
    /// Again after this long; not a failure.
    After(Duration),
    /// Again after a delay that grows.
    Retry,
}

pub struct Queue<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    state: Mutex<State<K>>,
    ready: Notify,
}

struct State<K> {
    waiting: VecDeque<K>,
    keys: HashMap<K, Key>,
}

#[derive(Default)]
struct Key {
    waiting: bool,
    running: bool,
    /// Added while it ran.
    again: bool,
    failures: u32,
    /// Of the last timer that was set when a turn ended. One before it adds nothing: each turn would set another.
    timer: u64,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Default for Queue<K> {
    fn default() -> Self {
        let state = State { waiting: VecDeque::new(), keys: HashMap::new() };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), ready: Notify::new() }) }
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Queue<K> {
    pub fn add(&self, key: K) {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = state.keys.entry(key.clone()).or_default();
        if entry.running {
            entry.again = true;
        } else if !entry.waiting {
            entry.waiting = true;
            state.waiting.push_back(key);
            self.inner.ready.notify_one();
        }
    }

    pub fn add_after(&self, key: K, delay: Duration) {
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            queue.add(key);
        });
    }

    /// Works with `workers` at once, until it is dropped.
    pub async fn run<F: Future<Output = Outcome> + Send>(&self, workers: usize, work: impl Fn(K) -> F + Send + Sync) {
        let work = &work;
        let each = (0..workers).map(|_| async move {
            loop {
                let key = self.take().await;
                let outcome = work(key.clone()).await;
                self.finish(key, outcome);
            }
        });
        futures::future::join_all(each).await;
    }

    async fn take(&self) -> K {
        loop {
            let ready = self.inner.ready.notified();
            {
                let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(key) = state.waiting.pop_front() {
                    let entry = state.keys.entry(key.clone()).or_default();
                    (entry.waiting, entry.running) = (false, true);
                    if !state.waiting.is_empty() {
                        self.inner.ready.notify_one();
                    }
                    return key;
                }
            }
            ready.await;
        }
    }

    fn finish(&self, key: K, outcome: Outcome) {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = state.keys.get_mut(&key) else { return };
        entry.running = false;
        let again = std::mem::take(&mut entry.again);
        entry.failures = if matches!(outcome, Outcome::Retry) { entry.failures + 1 } else { 0 };
        entry.timer += 1;
        let timer = entry.timer;
        let delay = match outcome {
            Outcome::Retry => Some((FIRST_DELAY * 2u32.saturating_pow(entry.failures - 1)).min(LONGEST_DELAY)),
            Outcome::After(delay) => Some(delay),
            Outcome::Done => None,
        };
        if delay.is_none() && !again {
            state.keys.remove(&key);
        }
        drop(state);
        match delay {
            _ if again => self.add(key),
            Some(delay) => self.again_after(key, delay, timer),
            None => {}
        }
    }

    fn again_after(&self, key: K, delay: Duration, timer: u64) {
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let newest = queue.inner.state.lock().unwrap_or_else(PoisonError::into_inner).keys.get(&key).map(|entry| entry.timer);
            if newest == Some(timer) {
                queue.add(key);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_key_runs_alone_again_and_after_failures() {
        let queue: Queue<&str> = Queue::default();
        let (runs, at_once) = (AtomicUsize::new(0), AtomicUsize::new(0));
        queue.add("a");
        queue.add("a");
        let work = |key: &'static str| {
            let (queue, runs, at_once) = (&queue, &runs, &at_once);
            async move {
                assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0);
                let run = runs.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                at_once.fetch_sub(1, Ordering::SeqCst);
                match run {
                    0 => {
                        queue.add(key);
                        Outcome::Done
                    }
                    1 | 2 => Outcome::Retry,
                    _ => Outcome::Done,
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(60), queue.run(2, work)).await;
        assert_eq!(runs.load(Ordering::SeqCst), 4, "one for both adds, one more for the add while running, two after failures");
        assert!(queue.inner.state.lock().unwrap().keys.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_added_while_it_waits_still_waits_once() {
        let queue: Queue<&str> = Queue::default();
        let runs = AtomicUsize::new(0);
        queue.add("a");
        let adding = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                queue.add("a");
            }
            std::future::pending::<()>().await;
        };
        let working = queue.run(1, |_| async {
            runs.fetch_add(1, Ordering::SeqCst);
            Outcome::After(Duration::from_secs(10))
        });
        let both = async { tokio::join!(adding, working) };
        let _ = tokio::time::timeout(Duration::from_secs(36), both).await;
        assert_eq!(runs.load(Ordering::SeqCst), 9, "at 0, for five adds, and then at 15, 25 and 35 s");
    }
}
