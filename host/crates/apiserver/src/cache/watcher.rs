//! A cursor in a resource's log. Watchers hold no queue of their own: one that lags behind the log's limits is told so.

use std::sync::Arc;

use pintle_api::Status;

use super::event::Event;
use super::filter::Filter;
use super::stored::Kind;
use super::{Cache, Slot};

/// Events handed over at a time, so that one watcher holds the lock only briefly.
const BATCH: usize = 256;

pub struct Watcher {
    cache: Arc<Cache>,
    slot: Arc<Slot>,
    filter: Filter,
    next: u64,
    changed: tokio::sync::watch::Receiver<u64>,
}

pub struct Batch {
    pub events: Vec<(Kind, Arc<Event>)>,
    /// The watcher has now seen everything up to here.
    pub revision: u64,
}

impl Watcher {
    pub(super) fn new(cache: Arc<Cache>, slot: Arc<Slot>, filter: Filter, next: u64) -> Self {
        let changed = slot.wakes.subscribe();
        Self { cache, slot, filter, next, changed }
    }

    /// The next events, at least one. An error ends the watch. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Batch, Status> {
        loop {
            self.changed.borrow_and_update();
            let (batch, all) = self.read()?;
            if !batch.events.is_empty() {
                return Ok(batch);
            }
            if all && self.changed.changed().await.is_err() {
                return Err(Status::unavailable("the server is shutting down"));
            }
        }
    }

    /// Everything up to this revision was seen, if nothing waits in the log.
    pub fn caught_up_to(&self) -> Option<u64> {
        let state = self.cache.read_state();
        (state.slots[self.slot.id].next == self.next).then_some(state.revision)
    }

    fn read(&mut self) -> Result<(Batch, bool), Status> {
        let state = self.cache.read_state();
        let (log, all) = state.events(self.slot.id, self.next, BATCH)?;
        let (mut events, mut read, mut revision) = (Vec::new(), 0, 0);
        for event in log {
            read += 1;
            revision = event.revision;
            if let Some(kind) = event.seen_through(&self.filter) {
                events.push((kind, event.clone()));
            }
        }
        self.next += read;
        if all {
            revision = state.revision;
        }
        Ok((Batch { events, revision }, all))
    }
}
