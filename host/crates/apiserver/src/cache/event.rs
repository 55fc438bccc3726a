//! One change of one object, encoded once for all watchers.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::filter::Filter;
use super::stored::{Kind, Stored};

#[derive(Debug)]
pub struct Event {
    pub revision: u64,
    /// `None`: deleted.
    pub object: Option<Arc<Stored>>,
    pub previous: Option<Arc<Stored>>,
    deleted: OnceLock<Bytes>,
    turned: OnceLock<Bytes>,
}

/// What an event costs beside the objects it holds.
const OVERHEAD_BYTES: usize = 200;

impl Event {
    pub fn new(revision: u64, object: Option<Arc<Stored>>, previous: Option<Arc<Stored>>) -> Self {
        Self { revision, object, previous, deleted: OnceLock::new(), turned: OnceLock::new() }
    }

    /// What a watcher with this filter is told: an object that begins to match is added, one that ceases to is deleted.
    pub fn seen_through(&self, filter: &Filter) -> Option<Kind> {
        let now = self.object.as_ref().is_some_and(|o| filter.matches(o));
        let before = self.previous.as_ref().is_some_and(|o| filter.matches(o));
        match (before, now) {
            (false, false) => None,
            (false, true) => Some(Kind::Added),
            (true, true) => Some(Kind::Modified),
            (true, false) => Some(Kind::Deleted),
        }
    }

    /// The state that whoever is told `kind` is shown.
    pub fn state(&self, kind: Kind) -> Option<&Arc<Stored>> {
        if kind == Kind::Deleted { self.previous.as_ref() } else { self.object.as_ref() }
    }

    pub fn line(&self, kind: Kind) -> Bytes {
        match (kind, &self.object, &self.previous) {
            (Kind::Deleted, _, Some(last)) => self.deleted.get_or_init(|| last.deleted_line(self.revision)).clone(),
            (Kind::Deleted, _, None) => Bytes::new(),
            (_, Some(object), before) => {
                let natural = if before.is_some() { Kind::Modified } else { Kind::Added };
                if kind == natural { object.line(kind) } else { self.turned.get_or_init(|| object.line(kind)).clone() }
            }
            (_, None, _) => Bytes::new(),
        }
    }

    /// The same change with another form of a state before or after it.
    pub fn with(&self, object: Option<Arc<Stored>>, previous: Option<Arc<Stored>>) -> Self {
        Self::new(self.revision, object, previous)
    }

    /// What the log's byte limit counts: the superseded object (the new one is held by the cache anyway).
    pub fn retained_bytes(&self) -> usize {
        OVERHEAD_BYTES + self.previous.as_ref().map_or(0, |p| p.as_slice().len())
    }
}
