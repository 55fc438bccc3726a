//! Tells a resource's watchers that its log has grown.
//!
//! To wake a hundred watchers costs more than to hand each of them several events. So where many wait they are told at once after
//! a pause, and then no more often than [`WAKES_PER_MILLISECOND`] allows: what is written meanwhile goes out in one piece, and a write costs
//! no more for a crowd that is twice as large. A few watchers are told of every change. Only the wake-up is held back: whoever
//! reads the log finds all that was applied. Called by `feed`, and by `state` when everything changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender};
use tokio::time::Instant;

/// Of one resource, counted over its watchers.
const WAKES_PER_MILLISECOND: u32 = 5;
/// Timers are no finer than this, so that fewer watchers are told at once.
const LEAST_GAP: Duration = Duration::from_millis(2);
/// The longest that a change waits until its watchers are told, however many they are.
const MOST_GAP: Duration = Duration::from_millis(20);

pub(super) struct Wakes(Arc<Inner>);

struct Inner {
    /// Where the log ends.
    end: Sender<u64>,
    pace: Mutex<Pace>,
}

enum Pace {
    Told {
        at: Option<Instant>,
    },
    /// A task tells them soon, of this end.
    Telling {
        end: u64,
    },
}

impl Wakes {
    pub fn new() -> Self {
        Self(Arc::new(Inner { end: Sender::new(0), pace: Mutex::new(Pace::Told { at: None }) }))
    }

    pub fn subscribe(&self) -> Receiver<u64> {
        self.0.end.subscribe()
    }

    /// Whether a crowd waits, which is told of several changes together.
    pub fn are_many(&self) -> bool {
        gap(self.0.end.receiver_count()).is_some()
    }

    /// The log ends here now; its watchers learn of it by and by. Needs a runtime.
    pub fn tell(&self, end: u64) {
        let Some(gap) = gap(self.0.end.receiver_count()) else { return self.tell_at_once(end) };
        let now = Instant::now();
        let mut pace = self.0.lock();
        match &mut *pace {
            Pace::Telling { end: newest } => *newest = end,
            Pace::Told { at: Some(at) } if *at + gap > now => {
                let due = *at + gap;
                *pace = Pace::Telling { end };
                tokio::spawn(self.0.clone().tell_later(due));
            }
            Pace::Told { at } => {
                *at = Some(now);
                self.0.send(end);
            }
        }
    }

    pub fn tell_at_once(&self, end: u64) {
        self.0.send(end);
    }
}

impl Inner {
    async fn tell_later(self: Arc<Self>, due: Instant) {
        tokio::time::sleep_until(due).await;
        let mut pace = self.lock();
        if let Pace::Telling { end } = std::mem::replace(&mut *pace, Pace::Told { at: Some(Instant::now()) }) {
            self.send(end);
        }
    }

    /// Whoever was told something newer meanwhile is left in peace.
    fn send(&self, end: u64) {
        self.end.send_if_modified(|told| {
            let newer = end > *told;
            *told = end.max(*told);
            newer
        });
    }

    fn lock(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between two wake-ups of so many watchers. `None`: they are few.
fn gap(watchers: usize) -> Option<Duration> {
    let wakes = u32::try_from(watchers).unwrap_or(u32::MAX);
    let gap = Duration::from_millis(1).saturating_mul(wakes) / WAKES_PER_MILLISECOND;
    (gap >= LEAST_GAP).then(|| gap.min(MOST_GAP))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_millis(20);

    fn crowd(wakes: &Wakes) -> Vec<Receiver<u64>> {
        (0..100).map(|_| wakes.subscribe()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_told_at_once_and_then_of_many_changes_together() {
        let wakes = Wakes::new();
        let mut watchers = crowd(&wakes);
        let (begin, mut told) = (Instant::now(), Vec::new());
        let writer = async {
            for end in 1..=10 {
                wakes.tell(end);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        let watcher = async {
            while told.last().is_none_or(|(_, end)| *end < 10) {
                watchers[7].changed().await.unwrap();
                told.push((begin.elapsed().as_millis(), *watchers[7].borrow_and_update()));
            }
        };
        tokio::join!(writer, watcher);
        assert_eq!(told, [(0, 1), (20, 7), (40, 10)]);
        tokio::time::sleep(GAP).await;
        wakes.tell(11);
        assert_eq!(*watchers[7].borrow(), 11, "told at once after a pause");
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_are_told_of_each_change() {
        let wakes = Wakes::new();
        let watcher = wakes.subscribe();
        for end in 1..=3 {
            wakes.tell(end);
            assert_eq!(*watcher.borrow(), end);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_goes_away_loses_nothing() {
        let wakes = Wakes::new();
        let mut watchers = crowd(&wakes);
        wakes.tell(1);
        wakes.tell(2);
        watchers.truncate(1);
        wakes.tell(3);
        assert_eq!(*watchers[0].borrow(), 3);
        tokio::time::sleep(GAP).await;
        assert_eq!(*watchers[0].borrow(), 3, "what was to be told later is not newer");
    }

    #[test]
    fn gaps_grow_with_the_crowd() {
        let millis = |watchers| gap(watchers).map(|gap| gap.as_millis());
        assert_eq!([1, 9, 10, 75, 100, 5000].map(millis), [None, None, Some(2), Some(15), Some(20), Some(20)]);
    }
}
