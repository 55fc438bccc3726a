//! The recent changes of the embedded engine, read by any number of watchers.
//!
//! One bounded ring holds the changes; a watcher is only a position in it and a signal that there is news. So a slow
//! watcher costs nothing but its place, there is no queue for each watcher, and one that falls out of the ring
//! gets [`Error::Compacted`]. History from before the process started is not here: it counts as compacted.
//! What every watcher has read is kept for those that come back, but no more of it than [`READ_BYTES`].

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::watch;

use crate::{Change, Error, Result, Revision};

/// Changes looked at under one hold of the lock, and so the size of a batch (whole revisions may exceed it).
const SCAN_CHANGES: usize = 1024;

/// Changes that all watchers have read, by the bytes of their keys and values: the API server keeps the history that its clients ask for itself.
const READ_BYTES: usize = 1 << 20;

pub(crate) struct WatchLog {
    ring: Mutex<Ring>,
    news: watch::Sender<Revision>,
    max_changes: usize,
    max_bytes: usize,
}

struct Ring {
    changes: VecDeque<Change>,
    bytes: usize,
    /// Every change after this revision is in the ring.
    floor: Revision,
    newest: Revision,
    /// Why no more changes will come.
    ended: Option<String>,
    /// How far each watcher has read.
    readers: HashMap<u64, Revision>,
    next_reader: u64,
}

struct Read {
    changes: Vec<Change>,
    /// The reader has now seen everything up to here.
    position: Revision,
}

impl WatchLog {
    pub fn new(newest: Revision, max_changes: usize, max_bytes: usize) -> Self {
        let ring = Ring { changes: VecDeque::new(), bytes: 0, floor: newest, newest, ended: None, readers: HashMap::new(), next_reader: 0 };
        Self { ring: Mutex::new(ring), news: watch::Sender::new(newest), max_changes, max_bytes }
    }

    pub fn newest(&self) -> Revision {
        *self.news.borrow()
    }

    /// Adds durable changes, in revision order, and wakes the watchers.
    pub fn append(&self, changes: Vec<Change>, newest: Revision) {
        {
            let mut ring = self.lock();
            ring.bytes += changes.iter().map(size).sum::<usize>();
            ring.changes.extend(changes);
            ring.newest = newest;
            while ring.changes.len() > self.max_changes || ring.bytes > self.max_bytes {
                ring.forget_first_revision();
            }
        }
        self.news.send_replace(newest);
    }

    /// Forgets changes before the revision.
    pub fn compact(&self, revision: Revision) {
        let mut ring = self.lock();
        while ring.changes.front().is_some_and(|change| change.revision < revision) {
            ring.forget_first_revision();
        }
        ring.floor = ring.floor.max(revision.saturating_sub(1));
    }

    /// Watchers get what the ring still has for them, then an error.
    pub fn end(&self, why: &str) {
        self.lock().ended.get_or_insert_with(|| why.to_owned());
        self.news.send_modify(|_| ());
    }

    pub fn watch(self: &Arc<Self>, prefix: Bytes, after: Revision) -> Result<BoxStream<'static, Result<Vec<Change>>>> {
        let mut ring = self.lock();
        ring.check(after)?;
        let reader = ring.next_reader;
        ring.next_reader += 1;
        ring.readers.insert(reader, after);
        drop(ring);
        let watcher = Watcher { news: self.news.subscribe(), log: self.clone(), reader, prefix, position: after, done: false };
        Ok(stream::unfold(watcher, Watcher::next).boxed())
    }

    fn read(&self, reader: u64, after: Revision, prefix: &[u8]) -> Result<Read> {
        let mut ring = self.lock();
        ring.check(after)?;
        let read = ring.read(after, prefix)?;
        ring.readers.insert(reader, read.position);
        ring.forget_what_all_have_read();
        Ok(read)
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn check(&self, after: Revision) -> Result<()> {
        if after < self.floor { Err(Error::Compacted { asked: after, oldest: self.floor + 1 }) } else { Ok(()) }
    }

    fn read(&self, after: Revision, prefix: &[u8]) -> Result<Read> {
        let start = self.changes.partition_point(|change| change.revision <= after);
        let mut read = Read { changes: Vec::new(), position: after };
        for (scanned, change) in self.changes.range(start..).enumerate() {
            if scanned >= SCAN_CHANGES && change.revision != read.position {
                return Ok(read);
            }
            read.position = change.revision;
            if change.key.starts_with(prefix) {
                read.changes.push(change.clone());
            }
        }
        read.position = read.position.max(self.newest);
        match &self.ended {
            Some(why) if read.changes.is_empty() => Err(Error::Unavailable(why.clone())),
            _ => Ok(read),
        }
    }

    /// With nobody who reads, the log's own limits are the only ones.
    fn forget_what_all_have_read(&mut self) {
        let Some(slowest) = self.readers.values().min().copied() else { return };
        while self.bytes > READ_BYTES && self.changes.front().is_some_and(|change| change.revision <= slowest) {
            self.forget_first_revision();
        }
    }

    fn forget_first_revision(&mut self) {
        let Some(revision) = self.changes.front().map(|change| change.revision) else { return };
        while let Some(change) = self.changes.pop_front_if(|change| change.revision == revision) {
            self.bytes -= size(&change);
        }
        self.floor = revision;
    }
}

struct Watcher {
    log: Arc<WatchLog>,
    reader: u64,
    news: watch::Receiver<Revision>,
    prefix: Bytes,
    position: Revision,
    done: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<Vec<Change>>, Self)> {
        while !self.done {
            // Marked before reading: a change that lands in between wakes us again.
            let newest = *self.news.borrow_and_update();
            match self.log.read(self.reader, self.position, &self.prefix) {
                Err(error) => {
                    self.done = true;
                    return Some((Err(error), self));
                }
                Ok(read) => {
                    self.position = self.position.max(read.position);
                    if !read.changes.is_empty() {
                        return Some((Ok(read.changes), self));
                    }
                }
            }
            if self.position >= newest && self.news.changed().await.is_err() {
                return None;
            }
        }
        None
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.log.lock().readers.remove(&self.reader);
    }
}

fn size(change: &Change) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    std::mem::size_of::<Change>() + change.key.len() + length(&change.value) + length(&change.previous)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn change(revision: Revision, key: &str) -> Change {
        Change { revision, key: key.to_owned().into(), value: Some(Bytes::from_static(b"v")), previous: None }
    }

    fn revisions(batch: Option<Option<Result<Vec<Change>>>>) -> String {
        match batch {
            None => "waits".into(),
            Some(None) => "ended".into(),
            Some(Some(Err(error))) => error.to_string(),
            Some(Some(Ok(changes))) => format!("{:?}", changes.iter().map(|c| c.revision).collect::<Vec<_>>()),
        }
    }

    #[test]
    fn a_watcher_reads_on_from_its_place_until_the_ring_forgets_it() {
        let log = Arc::new(WatchLog::new(10, 4, 1 << 20));
        let mut all = log.watch(Bytes::new(), 10).unwrap();
        let mut some = log.watch(Bytes::from_static(b"b/"), 10).unwrap();
        let mut slow = log.watch(Bytes::new(), 10).unwrap();
        assert_eq!(revisions(all.next().now_or_never()), "waits");

        log.append(vec![change(11, "a/1"), change(12, "b/1"), change(12, "b/2")], 12);
        assert_eq!(revisions(all.next().now_or_never()), "[11, 12, 12]");
        assert_eq!(revisions(some.next().now_or_never()), "[12, 12]");

        log.append(vec![change(13, "a/1"), change(14, "a/1")], 14);
        assert_eq!(revisions(some.next().now_or_never()), "waits");
        assert_eq!(revisions(all.next().now_or_never()), "[13, 14]");
        assert_eq!(revisions(slow.next().now_or_never()), "revision 10 was compacted; the oldest kept is 12");
        assert_eq!(revisions(slow.next().now_or_never()), "ended");

        log.compact(14);
        assert!(log.watch(Bytes::new(), 12).is_err());
        assert_eq!(revisions(log.watch(Bytes::new(), 13).unwrap().next().now_or_never()), "[14]");
        log.append(vec![change(15, "a/1")], 15);
        log.end("closed");
        assert_eq!(revisions(all.next().now_or_never()), "[15]");
        assert_eq!(revisions(all.next().now_or_never()), "storage unavailable: closed");
        assert_eq!(revisions(all.next().now_or_never()), "ended");
    }

    #[test]
    fn a_revision_is_never_split_even_where_the_ring_is_smaller() {
        let log = Arc::new(WatchLog::new(0, 3, 1 << 20));
        let mut watcher = log.watch(Bytes::new(), 0).unwrap();
        log.append((0..5).map(|n| change(1, &format!("k{n}"))).collect(), 1);
        assert_eq!(revisions(watcher.next().now_or_never()), "revision 0 was compacted; the oldest kept is 2");

        let log = Arc::new(WatchLog::new(0, 1 << 20, 1 << 20));
        let mut watcher = log.watch(Bytes::new(), 0).unwrap();
        log.append((0..2 * SCAN_CHANGES).map(|n| change(1 + n as u64 / 600, &format!("k{n}"))).collect(), 4);
        let first = watcher.next().now_or_never().unwrap().unwrap().unwrap();
        assert_eq!((first.len(), first.last().unwrap().revision), (1200, 2));
        let second = watcher.next().now_or_never().unwrap().unwrap().unwrap();
        assert_eq!(second.first().unwrap().revision, 3);
    }

    #[test]
    fn what_all_watchers_have_read_is_forgotten_beyond_a_megabyte() {
        let large = |revision| Change { value: Some(vec![0; READ_BYTES / 2].into()), ..change(revision, "a") };
        let log = Arc::new(WatchLog::new(0, 100, 100 * READ_BYTES));
        let mut fast = log.watch(Bytes::new(), 0).unwrap();
        let mut slow = log.watch(Bytes::new(), 0).unwrap();
        log.append((1..=4).map(large).collect(), 4);
        assert_eq!(revisions(fast.next().now_or_never()), "[1, 2, 3, 4]");
        assert!(log.watch(Bytes::new(), 0).is_ok(), "the slow one has not read them");
        assert_eq!(revisions(slow.next().now_or_never()), "[1, 2, 3, 4]");
        assert!(log.watch(Bytes::new(), 2).is_err());
        assert_eq!(revisions(log.watch(Bytes::new(), 3).unwrap().next().now_or_never()), "[4]");

        drop((fast, slow));
        log.append((5..=8).map(large).collect(), 8);
        assert_eq!(revisions(log.watch(Bytes::new(), 3).unwrap().next().now_or_never()), "[4, 5, 6, 7, 8]", "nobody reads: all of it is kept");
    }
}
