//! A cursor in a resource's log. Watchers hold no queue of their own: one that lags behind the log's limits is told so.

use std::sync::Arc;

use pintle_api::Status;

use super::event::Event;
use super::filter::Filter;
use super::pieces::{self, Lines};
use super::state::State;
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

/// An event as the watcher is to be told of it, and its kind as seen through the filter; `u64`: its place in the log.
pub(super) type Seen = (u64, Kind, Arc<Event>);

pub struct Batch {
    pub events: Vec<(Kind, Arc<Event>)>,
    /// The watcher has now seen everything up to here.
    pub revision: u64,
}

/// Part of the log.
struct Stretch {
    events: Vec<Seen>,
    /// Where the next begins.
    to: u64,
    /// Everything up to here is in it or was before it.
    revision: u64,
    /// The log ends with it.
    all: bool,
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
            let stretch = self.read(&*self.cache.read_state())?;
            self.next = stretch.to;
            if !stretch.events.is_empty() {
                let events = stretch.events.into_iter().map(|(_, kind, event)| (kind, event)).collect();
                return Ok(Batch { events, revision: stretch.revision });
            }
            self.more(stretch.all).await?;
        }
    }

    /// The same as lines, which watchers at the same place share.
    pub async fn next_lines(&mut self) -> Result<Lines, Status> {
        loop {
            self.changed.borrow_and_update();
            let (lines, all) = self.read_lines()?;
            match lines {
                Some(lines) => return Ok(lines),
                None => self.more(all).await?,
            }
        }
    }

    /// Everything up to this revision was seen, if nothing waits in the log.
    pub fn caught_up_to(&self) -> Option<u64> {
        let state = self.cache.read_state();
        (state.slots[self.slot.id].next == self.next).then_some(state.revision)
    }

    /// Waits if the log was read to its end.
    async fn more(&mut self, all: bool) -> Result<(), Status> {
        if all && self.changed.changed().await.is_err() {
            return Err(Status::unavailable("the server is shutting down"));
        }
        Ok(())
    }

    fn read_lines(&mut self) -> Result<(Option<Lines>, bool), Status> {
        let crowd = self.slot.wakes.are_many();
        let stretch = {
            let state = self.cache.read_state();
            let end = state.slots[self.slot.id].next;
            if crowd && let Some((lines, to)) = self.slot.pieces.find(&self.filter, self.next, end) {
                self.next = to;
                return Ok((Some(lines), to == end));
            }
            self.read(&state)?
        };
        if stretch.events.is_empty() {
            self.next = stretch.to;
            return Ok((None, stretch.all));
        }
        let (lines, joined) = pieces::join(&stretch.events);
        let to = stretch.events.get(joined).map_or(stretch.to, |(at, ..)| *at);
        if crowd && joined > 1 {
            self.slot.pieces.keep(&self.filter, self.next, to, &lines);
        }
        self.next = to;
        Ok((Some(lines), stretch.all))
    }

    fn read(&self, state: &State) -> Result<Stretch, Status> {
        let (log, all) = state.events(self.slot.id, self.next, BATCH)?;
        let mut stretch = Stretch { events: Vec::new(), to: self.next, revision: 0, all };
        for event in log {
            if let Some(kind) = event.seen_through(&self.filter) {
                stretch.events.push((stretch.to, kind, event.clone()));
            }
            stretch.to += 1;
            stretch.revision = event.revision;
        }
        if all {
            stretch.revision = state.revision;
        }
        Ok(stretch)
    }
}
