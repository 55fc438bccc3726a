//! Plugins that compete for one task: the newest serves, the others stand by and serve again when it leaves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

/// Orders plugins of one task by age; the last serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// `metadata.creationTimestamp`, which sorts as text.
    pub created: String,
    pub plugin: Arc<str>,
}

/// The holders of one task and who serves.
pub struct Seats<T> {
    holders: Mutex<BTreeMap<Rank, Arc<T>>>,
    serving: watch::Sender<Option<Arc<T>>>,
}

impl<T> Default for Seats<T> {
    fn default() -> Self {
        Self { holders: Mutex::default(), serving: watch::Sender::new(None) }
    }
}

impl<T> Seats<T> {
    /// Takes the rank's seat, in place of what held it.
    pub fn take(&self, rank: Rank, holder: Arc<T>) {
        let mut holders = self.lock();
        holders.insert(rank, holder);
        self.appoint(&holders);
    }

    pub fn leave(&self, rank: &Rank) {
        let mut holders = self.lock();
        holders.remove(rank);
        self.appoint(&holders);
    }

    pub fn serves(&self, rank: &Rank) -> bool {
        self.lock().last_key_value().is_some_and(|(last, _)| last == rank)
    }

    pub fn serving(&self) -> watch::Receiver<Option<Arc<T>>> {
        self.serving.subscribe()
    }

    fn appoint(&self, holders: &BTreeMap<Rank, Arc<T>>) {
        let newest = holders.last_key_value().map(|(_, holder)| holder.clone());
        self.serving.send_if_modified(|serving| {
            let same = match (&*serving, &newest) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            };
            *serving = newest;
            !same
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Rank, Arc<T>>> {
        self.holders.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_serves_and_the_one_before_returns() {
        let seats = Seats::default();
        let rank = |created: &str| Rank { created: created.to_owned(), plugin: "p".into() };
        let serving = || seats.serving().borrow().as_deref().copied();
        seats.take(rank("1"), Arc::new("old"));
        seats.take(rank("2"), Arc::new("new"));
        assert_eq!((serving(), seats.serves(&rank("1"))), (Some("new"), false));
        seats.take(rank("1"), Arc::new("old, again"));
        assert_eq!(serving(), Some("new"));
        seats.leave(&rank("2"));
        assert_eq!(serving(), Some("old, again"));
        seats.leave(&rank("1"));
        assert_eq!(serving(), None);
    }
}
