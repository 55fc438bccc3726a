//! The default engine: a tree and a journal before it, one process, many writes to one sync.
//!
//! Commits go through a bounded queue to one writer thread. It takes all that wait, judges them in order, each at a
//! revision of its own, appends what they change to the journal as one record, syncs it, tells the watchers, then answers the callers. So while
//! one sync runs the next group gathers, and the cost of the disk is shared by everyone who waits for it. What the journal has lies in memory over
//! the tree until a checkpoint brings it there, a mebibyte at a time in one transaction, on a thread beside the writer's.
//! Reads see the last durable state, tree and memory at one moment, and wait for nobody.
//!
//! It keeps present values only: history lives in memory ([`crate::watch_log`]), bounded, from the process's start.
//! After a failed write nobody knows what the disk holds, so the engine stops: commits, reads and watches end with
//! [`Error::Unavailable`] until the process opens the files again.
//!
//! The tree is a redb file. redb 4 was measured against fjall 3, without a journal (values of 2,000 bytes, groups of 30, one fsync a group,
//! previous value read):
//!
//! | | commits/s | CPU per commit | alone, CPU per commit | resident after 24,000 values |
//! |---|---|---|---|---|
//! | redb | 29,500 | 23 µs | 145 µs | 21 MiB |
//! | fjall | 84,000 | 7 µs | 58 µs | 48 MiB |
//!
//! redb was taken: one file, no threads and no memtables of its own when idle, and a storage back end that is a trait, so that
//! [`crate::faulty`] can test the whole engine under lost and torn writes. A redb commit writes five pages or more however little it
//! has, which the journal saves small groups: values of 1,000 to 2,000 bytes on a busy machine, before and with the journal, took 340 and
//! 172 µs of CPU for each commit alone, 146 and 96 with four callers, 54 and 42 with 32 (`examples/commit_cost.rs`, docs/performance.md).

mod apply;
mod aside;
mod file;
mod format;
mod journal;
mod memtable;
mod tree;
mod writer;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use redb::StorageBackend;
use tokio::sync::{mpsc, oneshot};

use crate::backup::{BackupError, Reader};
use crate::watch_log::WatchLog;
use crate::{BoxFuture, Change, Entry, Error, Range, Result, Revision, Snapshot, Store, Transaction, limits};
use file::File;
use writer::{Job, Writer};

/// Commits that wait for the writer. More callers wait for a place, which bounds memory at this many transactions.
const QUEUED_COMMITS: usize = 4096;

/// Ranges of up to this many entries are read on the caller's thread; longer ones on one that may block.
const INLINE_RANGE_ENTRIES: usize = 64;

/// Pages of a snapshot that wait for their reader, of about a megabyte each.
const QUEUED_PAGES: usize = 2;

/// What a restored store's revision is ahead of the backup's: whatever was written after the backup was taken stays below, so that
/// no revision that a client remembers comes again with another meaning. It gets 410, and lists again.
pub const RESTORE_GAP: Revision = 1_000_000_000;

#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the file's pages kept in memory, at most half of them not yet written. The API server has the objects in a cache of its own.
    pub cache_bytes: usize,
    /// Changes kept for watchers that resume, and the bytes of their keys and values.
    pub watch_changes: usize,
    pub watch_bytes: usize,
    /// Bytes of the journal that go to the tree at once. Until then they stay in memory, shared with whoever else holds the values.
    pub checkpoint_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 4 << 20, watch_changes: 8192, watch_bytes: 16 << 20, checkpoint_bytes: 1 << 20 }
    }
}

/// Opens the store, making it when it is absent: the tree at the path, and the journal beside it, with `.journal` behind its name.
/// Blocks: after a crash it first verifies the tree.
pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Arc<Embedded>> {
    Embedded::start(File::open(path.as_ref(), options.cache_bytes)?, options)
}

/// Makes the tree from a backup; it is there whole or not at all. Refuses to replace one. Blocks.
pub fn restore(path: impl AsRef<Path>, mut from: Reader<impl std::io::Read>) -> std::result::Result<Revision, BackupError> {
    let revision = from.revision() + RESTORE_GAP;
    File::fill(path.as_ref(), revision, || from.page())?;
    Ok(revision)
}

/// The same engine over memory, for tests.
pub fn memory() -> Arc<Embedded> {
    let options = Options::default();
    let memory = redb::backends::InMemoryBackend::new;
    open_backends(memory(), memory(), options).expect("an empty memory file opens")
}

pub(crate) fn open_backends(tree: impl StorageBackend, journal: impl StorageBackend, options: Options) -> Result<Arc<Embedded>> {
    Embedded::start(File::with_backends(tree, journal, options.cache_bytes)?, options)
}

pub struct Embedded {
    file: Arc<File>,
    log: Arc<WatchLog>,
    queue: mpsc::Sender<Job>,
}

impl Embedded {
    fn start(file: File, options: Options) -> Result<Arc<Self>> {
        let file = Arc::new(file);
        let log = Arc::new(WatchLog::new(file.revision()?, options.watch_changes, options.watch_bytes));
        let (queue, jobs) = mpsc::channel(QUEUED_COMMITS);
        let writer = Writer::new(file.clone(), log.clone(), options.checkpoint_bytes);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(jobs))
            .map_err(|error| Error::Unavailable(format!("no thread for the writer: {error}")))?;
        Ok(Arc::new(Self { file, log, queue }))
    }

    async fn submit<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T>>) -> Job) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(job(reply)).await.map_err(|_| Error::Unavailable("the store is closed".into()))?;
        // The writer answers every job it takes unless it panicked.
        answer.await.unwrap_or_else(|_| Err(Error::Unknown("the store's writer is gone".into())))
    }
}

impl Store for Embedded {
    fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async { self.file.revision() })
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(async move { self.file.get(key) })
    }

    fn range<'a>(&'a self, start: &'a [u8], end: &'a [u8], limit: usize) -> BoxFuture<'a, Result<Range>> {
        Box::pin(async move {
            if (1..=INLINE_RANGE_ENTRIES).contains(&limit) {
                return self.file.range(start, end, limit);
            }
            let (file, start, end) = (self.file.clone(), start.to_vec(), end.to_vec());
            tokio::task::spawn_blocking(move || file.range(&start, &end, limit))
                .await
                .unwrap_or_else(|error| Err(Error::Unavailable(format!("the read ended early: {error}"))))
        })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot>> {
        Box::pin(async move {
            let frozen = self.file.freeze()?;
            let revision = frozen.revision;
            let (send, pages) = mpsc::channel(QUEUED_PAGES);
            // A receiver that went away ends the thread's work at its next page.
            tokio::task::spawn_blocking(move || frozen.pages(|page| send.blocking_send(page).is_ok()));
            let pages = stream::unfold(pages, |mut pages| async { pages.recv().await.map(|page| (page, pages)) });
            Ok(Snapshot { revision, pages: pages.boxed() })
        })
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async move {
            limits::check(&transaction)?;
            self.submit(|reply| Job::Commit(transaction, reply)).await
        })
    }

    fn watch<'a>(&'a self, prefix: &'a [u8], after: Revision) -> BoxFuture<'a, Result<BoxStream<'static, Result<Vec<Change>>>>> {
        Box::pin(async move {
            self.file.check()?;
            // A range may have seen a commit that the log is told of in the next moment, so the file decides.
            if after > self.log.newest() {
                let newest = self.file.revision()?;
                if after > newest {
                    return Err(Error::Future { asked: after, newest });
                }
            }
            self.log.watch(Bytes::copy_from_slice(prefix), after)
        })
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let newest = self.file.revision()?;
            if revision > newest {
                return Err(Error::Future { asked: revision, newest });
            }
            self.log.compact(revision);
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match self.submit(Job::Close).await {
                Err(Error::Unavailable(_)) if self.queue.is_closed() => Ok(()),
                done => done,
            }
        })
    }
}
