//! Feeds the cache from the store: everything once, then each change in revision order.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures::StreamExt;
use pintle_store::{Change, Error, Revision};

use crate::encryption;
use crate::storage::ROOT;

use super::stored::{Index, Stored};
use super::{Cache, Prepared, guards, lock};

/// Pause before the store is watched again after its watch broke.
const RETRY: Duration = Duration::from_millis(200);
/// History ages even when nothing is written.
const TRIM_EVERY: Duration = Duration::from_secs(10);
/// Objects read from the store at a time while loading.
const LOAD_PAGE: usize = 2000;

/// Reads every object; returns the revision to follow from.
pub(super) async fn load(cache: &Cache) -> Result<Revision, pintle_store::Error> {
    let end = prefix_end(ROOT);
    let mut start = ROOT.as_bytes().to_vec();
    let mut objects = Vec::new();
    let mut revision = 0;
    loop {
        let range = cache.store.range(&start, &end, LOAD_PAGE).await?;
        if revision == 0 {
            // Later pages may be newer; following from the first page's revision repeats, and never skips, a change.
            revision = range.revision;
        }
        if let Some(last) = range.entries.last() {
            start = last.key.to_vec();
            start.push(0);
        }
        for entry in &range.entries {
            encryption::refuse_sealed(entry)?;
            if let Some((prefix, key)) = split(&entry.key) {
                let index = index_of(cache, prefix, &entry.value);
                objects.push((prefix.to_owned(), Arc::new(Stored::new(key.into(), &entry.value, entry.revision, true, index))));
            }
        }
        if !range.more {
            break;
        }
    }
    load_guards(cache).await?;
    cache.write_state().reset(objects, revision);
    cache.wake(revision);
    Ok(revision)
}

async fn load_guards(cache: &Cache) -> Result<(), Error> {
    let range = cache.store.range(guards::ROOT.as_bytes(), &prefix_end(guards::ROOT), 0).await?;
    let mut guards = lock(&cache.guards);
    guards.clear();
    guards.extend(range.entries.into_iter().map(|entry| (entry.key, entry.revision)));
    Ok(())
}

/// Follows the store until the cache is dropped. A watch that broke is resumed where it was, so watchers notice nothing;
/// only where the store has forgotten that place is everything loaded again.
pub(super) fn follow(cache: &Arc<Cache>, revision: Revision) {
    let weak = Arc::downgrade(cache);
    let store = cache.store.clone();
    tokio::spawn(async move {
        let mut after = revision;
        loop {
            let why = match store.watch(b"", after).await {
                Ok(mut changes) => {
                    let Some(cache) = weak.upgrade() else { return };
                    cache.follows.store(true, Ordering::Relaxed);
                    drop(cache);
                    match drain(&weak, &mut changes).await {
                        Some(why) => why,
                        None => return,
                    }
                }
                Err(why) => why,
            };
            let Some(cache) = weak.upgrade() else { return };
            let lost = matches!(why, Error::Compacted { .. } | Error::Future { .. });
            if cache.follows.swap(false, Ordering::Relaxed) || lost {
                tracing::warn!(%why, "the store's watch ended");
            }
            after = cache.revision();
            if lost {
                match load(&cache).await {
                    Ok(revision) => after = revision,
                    Err(why) => tracing::error!(%why, "cannot load from the store"),
                }
            }
            drop(cache);
            tokio::time::sleep(RETRY).await;
        }
    });
}

type Changes = futures::stream::BoxStream<'static, pintle_store::Result<Vec<Change>>>;

/// Why the watch ended. `None`: the cache is gone.
async fn drain(weak: &Weak<Cache>, changes: &mut Changes) -> Option<Error> {
    loop {
        let next = tokio::time::timeout(TRIM_EVERY, changes.next()).await;
        let cache = weak.upgrade()?;
        match next {
            Ok(Some(Ok(batch))) => apply(&cache, &batch),
            Ok(Some(Err(why))) => return Some(why),
            Ok(None) => return Some(Error::Unavailable("the stream ended".to_owned())),
            Err(_) => cache.write_state().rest(&cache.limits, Instant::now()),
        }
    }
}

fn apply(cache: &Cache, batch: &[Change]) {
    cache.note_guards(batch);
    let now = Instant::now();
    let mut ready = Vec::with_capacity(batch.len());
    for change in batch {
        let Some((prefix, key)) = split(&change.key) else { continue };
        let (index, object) = match &change.value {
            None => (None, None),
            Some(value) => match prepared(cache, value) {
                Some(Prepared { index, object, .. }) => (Some(index), Some(object)),
                None => (Some(index_of(cache, prefix, value)), None),
            },
        };
        ready.push((prefix, key, change, index, object));
    }
    let Some(revision) = batch.last().map(|c| c.revision) else { return };
    let mut touched = Vec::new();
    let mut state = cache.write_state();
    for (prefix, key, change, index, object) in ready {
        let slot = state.slot(prefix, None);
        // Loading and following overlap: what was loaded already is not applied twice.
        if change.revision <= state.revision {
            continue;
        }
        let created = !state.slots[slot.id].map.contains_key(key);
        let stored = change.value.as_ref().zip(index).map(|(value, index)| Arc::new(Stored::new(key.into(), value, change.revision, created, index)));
        state.apply(slot.id, change.revision, key, stored, now);
        state.inform(slot.id, key, object.as_deref());
        if !touched.contains(&slot.id) {
            touched.push(slot.id);
        }
    }
    state.revision = state.revision.max(revision);
    let revision = state.revision;
    state.trim(&cache.limits, now);
    let notify: Vec<_> = touched.iter().map(|id| (state.slots[*id].slot.clone(), state.slots[*id].next)).collect();
    drop(state);
    for (slot, next) in notify {
        slot.wakes.tell(next);
    }
    cache.wake(revision);
}

fn prepared(cache: &Cache, value: &bytes::Bytes) -> Option<Prepared> {
    let prepared = lock(&cache.prepared);
    prepared.get(&(value.as_ptr() as usize)).filter(|known| known.bytes.len() == value.len()).cloned()
}

fn index_of(cache: &Cache, prefix: &str, value: &[u8]) -> Index {
    let slot = cache.write_state().slot(prefix, None);
    slot.index_of(value).unwrap_or_default()
}

/// `/registry/apps/deployments/` and `ns/name`.
fn split(key: &[u8]) -> Option<(&str, &str)> {
    let key = std::str::from_utf8(key).ok()?;
    let mut slashes = key.strip_prefix(ROOT)?.match_indices('/').map(|(at, _)| at + ROOT.len() + 1);
    slashes.next()?;
    let cut = slashes.next()?;
    Some((&key[..cut], &key[cut..])).filter(|(_, rest)| !rest.is_empty())
}

fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
