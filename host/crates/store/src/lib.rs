//! A revisioned key-value store behind one trait: what etcd gives an API server, and no more.
//!
//! Engines: `embedded` (a journal before a tree, one process, many writes to one sync), `etcd` (through etcd-client, for several API
//! servers) and, for tests, `faulty` (injects torn writes, slow and failing syncs). One suite runs against all of them.
//! It knows keys and bytes; what an object is, the API server knows. Only the API server imports it.
//!
//! An acknowledged commit is on disk. A watcher gets every change after its revision once, in order, or
//! [`Error::Compacted`].

pub mod backup;
pub mod embedded;
pub mod etcd;
pub mod faulty;
mod limits;
mod watch_log;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures::stream::BoxStream;

/// One counter for the whole store: each commit takes the next. The first commit is 1 or later.
pub type Revision = u64;

pub use limits::{MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS, prefix_end};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A condition did not hold; nothing was written.
    #[error("conflict on {key}: expected {expected:?}, found {found:?}")]
    Conflict { key: String, expected: Expect, found: Option<Revision> },
    #[error("revision {asked} was compacted; the oldest kept is {oldest}")]
    Compacted { asked: Revision, oldest: Revision },
    #[error("revision {asked} is not here yet; the newest is {newest}")]
    Future { asked: Revision, newest: Revision },
    /// The outcome is unknown (time-out, lost connection): the write may or may not have happened.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    #[error("storage unavailable: {0}")]
    Unavailable(String),
    #[error("storage damaged: {0}")]
    Corrupt(String),
    #[error("value of {size} bytes exceeds the limit of {limit} bytes")]
    TooLarge { size: usize, limit: usize },
    /// The caller's mistake: an empty key, a key twice, too many operations. Nothing was written.
    #[error("transaction refused: {0}")]
    Refused(String),
    /// The store is not to be opened, made or filled as it was asked for, until somebody has seen to it. Nothing was changed.
    #[error("{0}")]
    Unusable(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Bytes,
    pub value: Bytes,
    /// The commit that wrote this value.
    pub revision: Revision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Absent,
    /// The key's value was last written at this revision.
    At(Revision),
    Present,
}

#[derive(Clone, Debug)]
pub enum Op {
    Put { key: Bytes, value: Bytes },
    Delete { key: Bytes },
}

/// All or nothing, at one revision. A key may stand in `ops` once.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    pub expect: Vec<(Bytes, Expect)>,
    pub ops: Vec<Op>,
}

/// One key's change. `value: None` is a deletion. `previous` is the value before, where the engine has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub revision: Revision,
    pub key: Bytes,
    pub value: Option<Bytes>,
    pub previous: Option<Bytes>,
}

#[derive(Clone, Debug)]
pub struct Range {
    pub entries: Vec<Entry>,
    /// The store's revision that the range was read at.
    pub revision: Revision,
    /// More keys follow the last entry.
    pub more: bool,
}

/// Everything in the store at one revision, while writes go on.
pub struct Snapshot {
    pub revision: Revision,
    /// Pages of entries in key order. An error ends them.
    pub pages: BoxStream<'static, Result<Vec<Entry>>>,
}

pub trait Store: Send + Sync + 'static {
    /// Whether other processes write to the same store: what one of them has heard of it may then be old.
    fn is_shared(&self) -> bool {
        false
    }
    /// The newest committed revision.
    fn revision(&self) -> BoxFuture<'_, Result<Revision>>;
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Entry>>>;
    /// Keys in `start..end`, in order, at most `limit` (0: all), as of now.
    fn range<'a>(&'a self, start: &'a [u8], end: &'a [u8], limit: usize) -> BoxFuture<'a, Result<Range>>;
    /// Everything as of now.
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot>>;
    /// Applies the transaction and returns its revision once it is durable. A transaction of no ops returns the present revision.
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Revision>>;
    /// Every change with a revision greater than `after`, in revision order, under keys with the prefix. A batch holds
    /// whole revisions. The stream yields an error item and ends when it falls behind or the store stops.
    fn watch<'a>(&'a self, prefix: &'a [u8], after: Revision) -> BoxFuture<'a, Result<BoxStream<'static, Result<Vec<Change>>>>>;
    /// Forgets history before the revision; present values stay.
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>>;
    /// Whether the key's value lies in another form than it would be written in now, so that it is worth writing again unchanged.
    fn is_stale<'a>(&'a self, _key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { Ok(false) })
    }
    /// Ends background work after all accepted commits are durable.
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}
