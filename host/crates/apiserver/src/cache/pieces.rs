//! What many watchers of a resource are to be told, joined once for all of them.
//!
//! A crowd is woken together (`wakes`), so its watchers stand at the same place of the log and those with the same filter send the same bytes. The
//! newest few pieces are kept while there is a crowd; nobody waits for them and none is needed: who finds none joins its own. Called by `watcher`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};

use super::filter::Filter;
use super::watcher::Seen;

/// Events that wait together are joined until there are this many bytes.
const PIECE_BYTES: usize = 64 << 10;
/// A crowd has few filters, and its watchers few places.
const MOST_KEPT: usize = 4;

/// Lines of one or more events in order.
#[derive(Clone, Debug)]
pub struct Lines {
    pub bytes: Bytes,
    /// Of the last event.
    pub revision: u64,
}

/// The newest pieces of one resource.
#[derive(Default)]
pub(super) struct Pieces(Mutex<VecDeque<Piece>>);

struct Piece {
    filter: Filter,
    /// Where in the log it begins, and where the next begins.
    from: u64,
    to: u64,
    lines: Lines,
}

impl Pieces {
    /// The piece that begins at `from`, if whoever joined one now would find no more; and where the next begins.
    pub fn find(&self, filter: &Filter, from: u64, end: u64) -> Option<(Lines, u64)> {
        let kept = self.lock();
        let fits = |piece: &&Piece| piece.from == from && (piece.to == end || piece.lines.bytes.len() >= PIECE_BYTES) && piece.filter == *filter;
        kept.iter().find(fits).map(|piece| (piece.lines.clone(), piece.to))
    }

    pub fn keep(&self, filter: &Filter, from: u64, to: u64, lines: &Lines) {
        let mut kept = self.lock();
        kept.truncate(MOST_KEPT - 1);
        kept.push_front(Piece { filter: filter.clone(), from, to, lines: lines.clone() });
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Piece>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many of the events, of which there is at least one, as fit into a piece; and how many those are.
pub(super) fn join(events: &[Seen]) -> (Lines, usize) {
    let line = |(_, kind, event): &Seen| event.line(*kind);
    let first = line(&events[0]);
    let revision = |seen: &Seen| seen.2.revision;
    if events.len() == 1 || first.len() >= PIECE_BYTES {
        return (Lines { bytes: first, revision: revision(&events[0]) }, 1);
    }
    let mut out = BytesMut::with_capacity(PIECE_BYTES.min(first.len() * (events.len() + 1)));
    out.put_slice(&first);
    let mut count = 1;
    while out.len() < PIECE_BYTES && count < events.len() {
        out.put_slice(&line(&events[count]));
        count += 1;
    }
    (Lines { bytes: out.freeze(), revision: revision(&events[count - 1]) }, count)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use pintle_store::{Expect, embedded};
    use serde_json::json;

    use super::super::{Cache, Fields, Limits, Slot, Watcher};
    use super::*;

    async fn write(cache: &Cache, slot: &Slot, name: &str, bytes: usize) -> u64 {
        let labels = if name.ends_with('0') { json!({"of": "all"}) } else { json!({"of": "all", "app": "web"}) };
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"k": "x".repeat(bytes)}});
        let stored = cache.commit(slot, &format!("n/{name}"), Expect::Absent, Some(&Arc::new(object))).await.unwrap().unwrap();
        stored.revision
    }

    /// What a watcher that shares with nobody is told, and in which pieces.
    async fn told(watcher: &mut Watcher, until: u64) -> Vec<Lines> {
        let mut pieces: Vec<Lines> = Vec::new();
        while pieces.last().is_none_or(|piece| piece.revision < until) {
            pieces.push(watcher.next_lines().await.unwrap());
        }
        pieces
    }

    fn text(pieces: &[Lines]) -> Vec<u8> {
        pieces.iter().flat_map(|piece| piece.bytes.to_vec()).collect()
    }

    #[tokio::test]
    async fn a_crowd_shares_what_one_alone_would_join() {
        let cache = Cache::open(embedded::memory(), Limits::default()).await.unwrap();
        let slot = cache.slot("", "configmaps", Some(Fields::none()));
        let start = cache.revision();
        let filter = |labels: &str, name: &str| {
            let mut filter = Filter::parse("n", labels, "", &[]).unwrap();
            filter.narrow(name);
            filter
        };
        let filters = [filter("", ""), filter("app=web", ""), filter("app", ""), filter("", "c7"), Filter::parse("other", "", "", &[]).unwrap()];
        let watch = |filter: &Filter| cache.watch(&slot, filter.clone(), start).unwrap();
        let mut last = 0;
        for (at, bytes) in [10, 20_000, 30_000, 30_000, 100_000, 10, 10, 10, 70_000, 5, 5, 5].into_iter().enumerate() {
            last = write(&cache, &slot, &format!("c{at}"), bytes).await;
        }
        let mut alone = Vec::new();
        for filter in &filters[..3] {
            alone.push(told(&mut watch(filter), last).await);
        }
        assert!(cache.slot("", "configmaps", None).pieces.lock().is_empty(), "nobody to share with");

        let mut crowd: Vec<(usize, Watcher)> = (0..50).map(|at| (at % 5, watch(&filters[at % 5]))).collect();
        let mut joined = HashSet::new();
        for (filter, watcher) in crowd.iter_mut().filter(|(filter, _)| *filter < 3) {
            let pieces = told(watcher, last).await;
            assert_eq!(text(&pieces), text(&alone[*filter]), "{filter}");
            assert!(pieces.iter().all(|piece| piece.bytes.len() < 2 * PIECE_BYTES), "{pieces:?}");
            joined.extend(pieces.iter().filter(|piece| piece.bytes.len() < 70_000).map(|piece| piece.bytes.as_ptr()));
        }
        // Those of one filter follow those of another here, so that each finds what the one before it joined, while it is kept.
        assert!(joined.len() < 30 * alone[0].len() / 2, "{} of {}", joined.len(), 30 * alone[0].len());

        // What comes later is not missing from a piece that was joined before it.
        let later = write(&cache, &slot, "d1", 10).await;
        for (filter, watcher) in crowd.iter_mut().filter(|(filter, _)| *filter < 2) {
            assert_eq!(told(watcher, later).await.len(), 1, "{filter}");
        }
        let seven = crowd.iter_mut().find(|(filter, _)| *filter == 3).unwrap().1.next_lines().await.unwrap();
        assert!(seven.bytes.windows(4).any(|word| word == b"\"c7\"") && seven.bytes.iter().filter(|byte| **byte == b'\n').count() == 1);
    }
}
