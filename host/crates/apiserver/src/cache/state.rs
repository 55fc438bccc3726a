//! What stands behind the cache's one lock: the maps, the logs, and what was kept for pages.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use imbl::OrdMap;
use pintle_api::{Object, Status};

use super::event::Event;
use super::snapshot::Snapshot;
use super::stored::Stored;
use super::{Fields, Limits, Slot};

/// Snapshots kept for continue tokens; older pages are rebuilt from the log.
const KEPT_SNAPSHOTS: usize = 64;

pub(super) type Objects = OrdMap<Arc<str>, Arc<Stored>>;

#[derive(Default)]
pub(super) struct State {
    pub revision: u64,
    pub slots: Vec<SlotState>,
    by_prefix: HashMap<String, usize>,
    /// One entry for each logged event, oldest first: when, whose, how large.
    order: VecDeque<(Instant, usize, usize)>,
    order_bytes: usize,
    kept: VecDeque<(usize, Snapshot)>,
    /// Revisions by the time they were passed, and the newest one that is older than the history.
    passed: VecDeque<(Instant, u64)>,
    compacted: u64,
}

pub(super) struct SlotState {
    pub slot: Arc<Slot>,
    pub map: Objects,
    log: VecDeque<Arc<Event>>,
    /// The sequence number that the next event gets; the log's first one has `next - log.len()`.
    pub next: u64,
    /// The newest revision whose event is no longer in the log.
    floor: u64,
}

impl State {
    pub fn slot(&mut self, prefix: &str, fields: Option<Fields>) -> Arc<Slot> {
        if let Some(id) = self.by_prefix.get(prefix) {
            let slot = self.slots[*id].slot.clone();
            if let Some(fields) = fields.and_then(|f| Fields::extended(&slot.fields(), f)) {
                slot.fields.store(Arc::new(fields));
                self.slots[*id].index_again();
            }
            return slot;
        }
        let slot = Arc::new(Slot {
            id: self.slots.len(),
            prefix: prefix.to_owned(),
            fields: ArcSwap::from_pointee(fields.unwrap_or_else(Fields::none)),
            changed: tokio::sync::watch::Sender::new(0),
            observers: ArcSwap::default(),
        });
        self.by_prefix.insert(prefix.to_owned(), slot.id);
        // A slot that was never loaded had no event before now, so nothing is missing from its log.
        self.slots.push(SlotState { slot: slot.clone(), map: Objects::new(), log: VecDeque::new(), next: 1, floor: self.compacted });
        slot
    }

    /// Replaces everything: after a start, or after the store's watch fell behind. Watchers must list again.
    pub fn reset(&mut self, objects: Vec<(String, Arc<Stored>)>, revision: u64) {
        for state in &mut self.slots {
            state.map = Objects::new();
            state.log.clear();
            state.next += 1;
            state.floor = revision;
        }
        (self.order, self.order_bytes, self.compacted, self.revision) = (VecDeque::new(), 0, revision, revision);
        self.kept.clear();
        self.passed.clear();
        for (prefix, stored) in objects {
            let id = self.slot(&prefix, None).id;
            self.slots[id].map.insert(stored.key.clone(), stored);
        }
        for state in &self.slots {
            state.slot.changed.send_replace(state.next);
        }
    }

    /// One change. The caller sends the wake-ups.
    pub fn apply(&mut self, slot: usize, revision: u64, key: &str, object: Option<Arc<Stored>>, now: Instant) {
        let state = &mut self.slots[slot];
        let previous = match &object {
            Some(stored) => state.map.insert(stored.key.clone(), stored.clone()),
            None => state.map.remove(key),
        };
        if object.is_none() && previous.is_none() {
            return;
        }
        let event = Event::new(revision, object, previous);
        let bytes = event.retained_bytes();
        state.log.push_back(Arc::new(event));
        state.next += 1;
        self.order.push_back((now, slot, bytes));
        self.order_bytes += bytes;
    }

    /// Tells the slot's observers of the object as it is now. `written` is what its bytes were made of, where that is known.
    pub fn inform(&self, slot: usize, key: &str, written: Option<&Object>) {
        let state = &self.slots[slot];
        let observers = state.slot.observers.load();
        if observers.is_empty() {
            return;
        }
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let read;
        let object = match (state.map.get(key), written) {
            (None, _) => None,
            (_, Some(written)) => Some(written),
            (Some(stored), None) => {
                read = super::for_observers(stored);
                let Some(object) = &read else { return };
                Some(object)
            }
        };
        observers.iter().for_each(|observer| observer(namespace, name, object));
    }

    /// Drops what is older or larger than the limits allow.
    pub fn trim(&mut self, limits: &Limits, now: Instant) {
        while let Some((at, slot, bytes)) = self.order.front().copied() {
            if now.duration_since(at) <= limits.history && self.order_bytes <= limits.history_bytes {
                break;
            }
            self.order.pop_front();
            self.order_bytes -= bytes;
            let state = &mut self.slots[slot];
            if let Some(event) = state.log.pop_front() {
                state.floor = event.revision;
            }
        }
        let coarse = limits.history / 30;
        if self.passed.back().is_none_or(|(at, _)| now.duration_since(*at) >= coarse) {
            self.passed.push_back((now, self.revision));
        }
        while let Some((_, revision)) = self.passed.front().copied().filter(|(at, _)| now.duration_since(*at) > limits.history) {
            self.compacted = revision;
            self.passed.pop_front();
        }
        let compacted = self.compacted;
        self.kept.retain(|(_, kept)| kept.revision >= compacted);
    }

    pub fn keep(&mut self, slot: usize, snapshot: Snapshot) {
        if self.kept.iter().any(|(s, k)| *s == slot && k.revision == snapshot.revision) {
            return;
        }
        if self.kept.len() >= KEPT_SNAPSHOTS {
            self.kept.pop_front();
        }
        self.kept.push_back((slot, snapshot));
    }

    pub fn snapshot_at(&self, slot: usize, revision: u64) -> Result<Snapshot, Status> {
        let state = &self.slots[slot];
        if revision < self.compacted {
            return Err(Status::expired("The resourceVersion for the provided list is too old."));
        }
        if let Some((_, kept)) = self.kept.iter().find(|(s, k)| *s == slot && k.revision == revision) {
            return Ok(kept.clone());
        }
        if revision < state.floor {
            return Err(Status::expired("The resourceVersion for the provided list is too old."));
        }
        let mut map = state.map.clone();
        for event in state.log.iter().rev().take_while(|e| e.revision > revision) {
            match (&event.previous, &event.object) {
                (Some(before), _) => map.insert(before.key.clone(), before.clone()),
                (None, Some(made)) => map.remove(&*made.key),
                (None, None) => None,
            };
        }
        Ok(Snapshot { map, revision })
    }

    /// The sequence number of the first event after the revision.
    pub fn position_after(&self, slot: usize, revision: u64) -> Result<u64, Status> {
        let state = &self.slots[slot];
        if revision < state.floor {
            return Err(too_old(revision, state.floor));
        }
        let skipped = state.log.partition_point(|e| e.revision <= revision);
        Ok(state.next - (state.log.len() - skipped) as u64)
    }

    /// Events from a sequence number on, at most `limit`, and whether these are all.
    pub fn events(&self, slot: usize, from: u64, limit: usize) -> Result<(impl Iterator<Item = &Arc<Event>>, bool), Status> {
        let state = &self.slots[slot];
        let first = state.next - state.log.len() as u64;
        let Some(skip) = from.checked_sub(first) else {
            return Err(too_old(0, state.floor));
        };
        let skip = skip as usize;
        let all = state.log.len().saturating_sub(skip) <= limit;
        Ok((state.log.iter().skip(skip).take(limit), all))
    }
}

impl SlotState {
    /// Reads the selectable fields of every object again: a definition changed which they are.
    fn index_again(&mut self) {
        let objects: Vec<Arc<Stored>> = self.map.values().cloned().collect();
        for stored in objects {
            let Ok(index) = self.slot.index_of(stored.as_slice()) else { continue };
            if index != stored.index {
                self.map.insert(stored.key.clone(), Arc::new(stored.with_index(index)));
            }
        }
    }
}

pub(super) fn too_old(asked: u64, floor: u64) -> Status {
    Status::expired(format!("too old resource version: {asked} ({floor})"))
}
