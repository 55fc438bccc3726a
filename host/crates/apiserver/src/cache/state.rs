//! What stands behind the cache's one lock: the maps, the logs, and what was kept for pages.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use imbl::OrdMap;
use pintle_api::{Object, Status};

use super::event::Event;
use super::pieces::Pieces;
use super::snapshot::Snapshot;
use super::stored::Stored;
use super::wakes::Wakes;
use super::{Fields, Limits, Slot};

/// Snapshots kept for continue tokens; older pages are rebuilt from the log.
const KEPT_SNAPSHOTS: usize = 64;
/// The newest history is not packed: watchers that keep up read it.
const PLAIN_HISTORY_BYTES: usize = 2 << 20;

pub(super) type Objects = OrdMap<Arc<str>, Arc<Stored>>;

#[derive(Default)]
pub(super) struct State {
    pub revision: u64,
    pub slots: Vec<SlotState>,
    by_prefix: HashMap<String, usize>,
    /// One entry for each logged event, oldest first.
    order: VecDeque<Logged>,
    order_bytes: usize,
    /// So many of the newest of them, of so many bytes, hold states as they were sent; those of the others are packed.
    plain: usize,
    plain_bytes: usize,
    kept: VecDeque<(usize, Snapshot)>,
    /// Revisions by the time they were passed, and the newest one that is older than the history.
    passed: VecDeque<(Instant, u64)>,
    compacted: u64,
}

/// When an event was logged, whose it is, and what it holds.
#[derive(Clone, Copy)]
struct Logged {
    at: Instant,
    slot: usize,
    revision: u64,
    bytes: usize,
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
            wakes: Wakes::new(),
            pieces: Pieces::default(),
            observers: ArcSwap::default(),
        });
        self.by_prefix.insert(prefix.to_owned(), slot.id);
        // A slot that was never loaded had no event before now, so nothing is missing from its log.
        self.slots.push(SlotState { slot: slot.clone(), map: Objects::new(), log: VecDeque::new(), next: 1, floor: self.compacted });
        slot
    }

    /// Replaces everything: after a start, or after the store's watch fell behind. Watchers must list again; observers are
    /// told what differs.
    pub fn reset(&mut self, objects: Vec<(String, Arc<Stored>)>, revision: u64) {
        let before: Vec<Objects> = self.slots.iter_mut().map(|state| std::mem::take(&mut state.map)).collect();
        for state in &mut self.slots {
            state.log.clear();
            state.next += 1;
            state.floor = revision;
        }
        (self.order, self.order_bytes, self.compacted, self.revision) = (VecDeque::new(), 0, revision, revision);
        (self.plain, self.plain_bytes) = (0, 0);
        self.kept.clear();
        self.passed.clear();
        for (prefix, stored) in objects {
            let id = self.slot(&prefix, None).id;
            self.slots[id].map.insert(stored.key.clone(), stored);
        }
        self.inform_of_differences(&before);
        for state in &self.slots {
            state.slot.wakes.tell_at_once(state.next);
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
        self.order.push_back(Logged { at: now, slot, revision, bytes });
        self.order_bytes += bytes;
        self.plain += 1;
        self.plain_bytes += bytes;
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

    /// Tells every observer what became of its slot while the changes themselves were missed. What is gone comes first, in all slots:
    /// nothing that was revoked grants for longer because something else is new.
    fn inform_of_differences(&self, before: &[Objects]) {
        let observed = || before.iter().zip(&self.slots).filter(|(_, state)| !state.slot.observers.load().is_empty());
        for (before, state) in observed() {
            before.keys().filter(|key| !state.map.contains_key(*key)).for_each(|key| self.inform(state.slot.id, key, None));
        }
        for (before, state) in observed() {
            let is_known = |stored: &Stored| before.get(&stored.key).is_some_and(|known| known.as_slice() == stored.as_slice());
            state.map.values().filter(|stored| !is_known(stored)).for_each(|stored| self.inform(state.slot.id, &stored.key, None));
        }
    }

    /// Nothing was written for a while: what crowds were told last is of no use any more.
    pub fn rest(&mut self, limits: &Limits, now: Instant) {
        self.trim(limits, now);
        self.slots.iter().for_each(|state| state.slot.pieces.clear());
    }

    /// Drops what is older or larger than the limits allow, and packs what is not new.
    pub fn trim(&mut self, limits: &Limits, now: Instant) {
        while let Some(oldest) = self.order.front().copied() {
            if now.duration_since(oldest.at) <= limits.history && self.order_bytes <= limits.history_bytes {
                break;
            }
            self.order.pop_front();
            self.order_bytes -= oldest.bytes;
            if self.plain > self.order.len() {
                self.plain -= 1;
                self.plain_bytes -= oldest.bytes;
            }
            let state = &mut self.slots[oldest.slot];
            if let Some(event) = state.log.pop_front() {
                state.floor = event.revision;
            }
        }
        while self.plain_bytes > PLAIN_HISTORY_BYTES {
            let oldest = self.order[self.order.len() - self.plain];
            self.plain -= 1;
            self.plain_bytes -= oldest.bytes;
            self.slots[oldest.slot].pack(oldest.revision);
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

    /// Its last page was given. Who asks for one of its pages again gets it from the log.
    pub fn release(&mut self, slot: usize, revision: u64) {
        self.kept.retain(|(s, kept)| *s != slot || kept.revision != revision);
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
    /// Packs the states that the events of a revision superseded, here and where they were made. What the map holds stays as it is.
    fn pack(&mut self, revision: u64) {
        let start = self.log.partition_point(|event| event.revision < revision);
        for at in start..self.log.len() {
            let event = &self.log[at];
            if event.revision != revision {
                break;
            }
            // Held by the event that made it and by this one; a snapshot that holds it, too, would keep it beside its packed form.
            let superseded = event.previous.as_ref().filter(|previous| Arc::strong_count(previous) <= 2);
            let Some(packed) = superseded.and_then(|previous| previous.packed()).map(Arc::new) else { continue };
            self.log[at] = Arc::new(event.with(event.object.clone(), Some(packed.clone())));
            let made = self.log.partition_point(|event| event.revision < packed.revision);
            for at in made..at {
                let event = &self.log[at];
                match &event.object {
                    Some(object) if object.key == packed.key && event.revision == packed.revision => {
                        self.log[at] = Arc::new(event.with(Some(packed.clone()), event.previous.clone()));
                        break;
                    }
                    _ if event.revision > packed.revision => break,
                    _ => {}
                }
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::cache::stored::{Index, Kind, encode};

    const KEYS: u64 = 40;

    fn object(key: &str, revision: u64, created: bool) -> Arc<Stored> {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": key, "labels": {"r": revision.to_string()}}, "data": {"k": "text ".repeat(400)}});
        Arc::new(Stored::new(key.into(), &encode(&object), revision, created, Index::of(&object, &[])))
    }

    /// Writes, and every seventh time a deletion, with what each was told as.
    fn written(state: &mut State, slot: usize, limits: &Limits, revisions: u64) -> Vec<(u64, Bytes, BTreeMap<String, Bytes>)> {
        let (mut present, mut told) = (BTreeMap::new(), Vec::new());
        for revision in 1..=revisions {
            let key = format!("c{}", revision * 17 % KEYS);
            let deleted = revision % 7 == 0 && present.contains_key(&key);
            let stored = (!deleted).then(|| object(&key, revision, !present.contains_key(&key)));
            state.apply(slot, revision, &key, stored.clone(), Instant::now());
            let line = match stored {
                None => present.remove(&key).map(|_| Bytes::new()).unwrap_or_default(),
                Some(stored) => {
                    let kind = if present.insert(key.clone(), stored.json()).is_some() { Kind::Modified } else { Kind::Added };
                    stored.line(kind)
                }
            };
            state.revision = revision;
            state.trim(limits, Instant::now());
            told.push((revision, line, present.clone()));
        }
        told
    }

    #[test]
    fn packed_history_tells_what_was_told() {
        let limits = Limits { history: Duration::from_secs(3600), history_bytes: 64 << 20 };
        let mut state = State::default();
        let slot = state.slot("/registry/core/configmaps/", None).id;
        let told = written(&mut state, slot, &limits, 4000);
        assert!(state.order.len() - state.plain > 2000 && state.plain_bytes <= PLAIN_HISTORY_BYTES, "{} of {}", state.plain, state.order.len());
        let packed = |stored: &Option<Arc<Stored>>| stored.as_ref().is_none_or(|stored| stored.is_packed());
        let present: Vec<u64> = state.slots[slot].map.values().map(|stored| stored.revision).collect();
        let events: Vec<_> = state.events(slot, state.slots[slot].next - 4000, 4000).unwrap().0.cloned().collect();
        for (event, (revision, line, _)) in events.iter().zip(&told) {
            assert_eq!(event.revision, *revision);
            match (&event.object, &event.previous) {
                (None, Some(previous)) => assert_eq!(event.line(Kind::Deleted), previous.deleted_line(*revision)),
                (_, previous) => assert_eq!(event.line(if previous.is_some() { Kind::Modified } else { Kind::Added }), *line),
            }
        }
        // Whatever no longer counts is held once, packed.
        for event in &events[..1500] {
            assert!(packed(&event.previous) && (packed(&event.object) || present.contains(&event.revision)), "{}", event.revision);
        }
        for (revision, _, present) in told.iter().step_by(97) {
            let snapshot = state.snapshot_at(slot, *revision).unwrap();
            let found: BTreeMap<String, Bytes> = snapshot.map.iter().map(|(key, stored)| (key.to_string(), stored.json())).collect();
            assert!(found == *present, "{revision}");
        }
    }

    #[test]
    fn a_snapshot_that_was_released_is_made_again_from_the_log() {
        let limits = Limits { history: Duration::from_secs(3600), history_bytes: 64 << 20 };
        let mut state = State::default();
        let slot = state.slot("/registry/core/configmaps/", None).id;
        written(&mut state, slot, &limits, 100);
        let kept = Snapshot { map: state.slots[slot].map.clone(), revision: 100 };
        state.keep(slot, kept.clone());
        state.release(slot, 99);
        assert_eq!(state.kept.len(), 1);
        state.release(slot, 100);
        assert!(state.kept.is_empty());
        state.apply(slot, 101, "c0", Some(object("c0", 101, false)), Instant::now());
        let shown = |snapshot: &Snapshot| snapshot.map.values().map(|stored| stored.json()).collect::<Vec<_>>();
        assert!(shown(&state.snapshot_at(slot, 100).unwrap()) == shown(&kept));
    }

    #[test]
    fn history_that_was_dropped_before_it_was_packed_is_forgotten() {
        let limits = Limits { history: Duration::from_secs(3600), history_bytes: PLAIN_HISTORY_BYTES / 2 };
        let mut state = State::default();
        let slot = state.slot("/registry/core/configmaps/", None).id;
        written(&mut state, slot, &limits, 2000);
        assert_eq!((state.plain, state.plain_bytes), (state.order.len(), state.order_bytes));
        assert!(state.order_bytes <= limits.history_bytes);
    }
}
