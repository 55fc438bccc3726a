//! The file: present values with the revision that wrote them, and the newest revision. Synchronous; the writer
//! thread applies groups of transactions, everyone else reads snapshots.
//!
//! A value is stored as its revision (8 bytes, big-endian) followed by its bytes.

use std::path::Path;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, Table, TableDefinition};

use super::format;
use crate::{Change, Entry, Error, Op, Range, Result, Revision, Transaction};

pub(super) const ENTRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("entries");
pub(super) const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
pub(super) const REVISION: &str = "revision";
/// Zero has a meaning of its own to clients, so the empty store stands at one, as etcd's does.
pub(super) const FIRST_REVISION: Revision = 1;
const HEADER_BYTES: usize = 8;
/// A page of a snapshot, or one entry.
const PAGE_BYTES: usize = 1 << 20;
/// Of the file that a backup is restored to.
const FILL_CACHE_BYTES: usize = 64 << 20;

pub(super) struct File {
    state: RwLock<State>,
}

enum State {
    Open(Database),
    /// Why nothing can be read or written any more.
    Stopped(String),
}

/// What became of a group of transactions.
pub(super) struct Applied {
    pub outcomes: Vec<Result<Revision>>,
    pub changes: Vec<Change>,
    pub newest: Revision,
}

impl File {
    /// A new file is made aside and renamed: a crash while it is made would leave one that cannot be opened.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self> {
        if !path.exists() {
            aside(path, |aside| Self::prepare(builder(cache_bytes).create(aside).map_err(opening)?).map(drop))?;
        }
        Self::prepare(builder(cache_bytes).open(path).map_err(opening)?)
    }

    /// Makes a new file that stands at the revision and has the entries of all pages. The last page is `None`.
    pub fn fill<E: From<Error>>(
        path: &Path,
        revision: Revision,
        mut next_page: impl FnMut() -> std::result::Result<Option<Vec<Entry>>, E>,
    ) -> std::result::Result<(), E> {
        if path.exists() {
            return Err(Error::Refused(format!("{} exists already", path.display())).into());
        }
        aside(path, |aside| {
            let database = builder(FILL_CACHE_BYTES).create(aside).map_err(opening)?;
            let file = Self::prepare(database)?;
            let write = file.with(|database| database.begin_write().map_err(unavailable))?;
            {
                let mut entries = write.open_table(ENTRIES).map_err(unavailable)?;
                while let Some(page) = next_page()? {
                    for entry in page {
                        put(&mut entries, &entry.key, &entry.value, entry.revision)?;
                    }
                }
                write.open_table(NUMBERS).map_err(unavailable)?.insert(REVISION, revision).map_err(unavailable)?;
            }
            write.commit().map_err(unavailable)?;
            Ok(())
        })
    }

    pub fn with_backend(backend: impl StorageBackend, cache_bytes: usize) -> Result<Self> {
        Self::prepare(builder(cache_bytes).create_with_backend(backend).map_err(opening)?)
    }

    fn prepare(database: Database) -> Result<Self> {
        format::prepare(&database)?;
        Ok(Self { state: RwLock::new(State::Open(database)) })
    }

    /// Everything as it is now, whatever is written meanwhile.
    pub fn freeze(&self) -> Result<Frozen> {
        self.snapshot().map(Frozen)
    }

    pub fn check(&self) -> Result<()> {
        self.with(|_| Ok(()))
    }

    pub fn revision(&self) -> Result<Revision> {
        revision_in(&self.snapshot()?)
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Entry>> {
        let entries = self.snapshot()?.open_table(ENTRIES).map_err(unavailable)?;
        let Some(stored) = entries.get(key).map_err(unavailable)? else { return Ok(None) };
        entry(key, stored.value()).map(Some)
    }

    pub fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Range> {
        let snapshot = self.snapshot()?;
        let mut range = Range { entries: Vec::new(), revision: revision_in(&snapshot)?, more: false };
        if !end.is_empty() && start >= end {
            return Ok(range);
        }
        let entries = snapshot.open_table(ENTRIES).map_err(unavailable)?;
        let found = if end.is_empty() { entries.range(start..) } else { entries.range(start..end) };
        for item in found.map_err(unavailable)? {
            if limit != 0 && range.entries.len() == limit {
                range.more = true;
                break;
            }
            let (key, stored) = item.map_err(unavailable)?;
            range.entries.push(entry(key.value(), stored.value())?);
        }
        Ok(range)
    }

    /// Applies transactions in order and makes them durable together. An error means that none may be acknowledged:
    /// `Unknown` where the disk may hold them nevertheless.
    pub fn apply(&self, transactions: &[&Transaction]) -> Result<Applied> {
        let mut write = self.with(|database| database.begin_write().map_err(unavailable))?;
        write.set_durability(Durability::Immediate).map_err(unavailable)?;
        let mut applied = Applied { outcomes: Vec::with_capacity(transactions.len()), changes: Vec::new(), newest: 0 };
        {
            let mut numbers = write.open_table(NUMBERS).map_err(unavailable)?;
            let mut entries = write.open_table(ENTRIES).map_err(unavailable)?;
            let before = newest(&numbers)?;
            applied.newest = before;
            for transaction in transactions {
                let outcome = apply_one(&mut entries, transaction, &mut applied)?;
                applied.outcomes.push(outcome);
            }
            if applied.newest != before {
                numbers.insert(REVISION, applied.newest).map_err(unavailable)?;
            }
        }
        if applied.changes.is_empty() {
            write.abort().map_err(unavailable)?;
        } else {
            write.commit().map_err(|error| Error::Unknown(error.to_string()))?;
        }
        Ok(applied)
    }

    /// Releases the file. Later calls get `Unavailable` with this reason. False: it was stopped before.
    pub fn stop(&self, why: &str) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let open = matches!(*state, State::Open(_));
        if open {
            *state = State::Stopped(why.to_owned());
        }
        open
    }

    fn snapshot(&self) -> Result<ReadTransaction> {
        self.with(|database| database.begin_read().map_err(unavailable))
    }

    /// The lock covers the start of a transaction only, never its work.
    fn with<T>(&self, f: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(database) => f(database),
            State::Stopped(why) => Err(Error::Unavailable(why.clone())),
        }
    }
}

pub(super) struct Frozen(ReadTransaction);

impl Frozen {
    pub fn revision(&self) -> Result<Revision> {
        revision_in(&self.0)
    }

    /// Hands over all entries, or an error, until nobody takes them any more.
    pub fn pages(&self, mut take: impl FnMut(Result<Vec<Entry>>) -> bool) {
        if let Err(error) = self.read_pages(&mut take) {
            take(Err(error));
        }
    }

    fn read_pages(&self, take: &mut impl FnMut(Result<Vec<Entry>>) -> bool) -> Result<()> {
        let entries = self.0.open_table(ENTRIES).map_err(unavailable)?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        for item in entries.iter().map_err(unavailable)? {
            let (key, stored) = item.map_err(unavailable)?;
            bytes += key.value().len() + stored.value().len();
            page.push(entry(key.value(), stored.value())?);
            if bytes >= PAGE_BYTES {
                if !take(Ok(std::mem::take(&mut page))) {
                    return Ok(());
                }
                bytes = 0;
            }
        }
        if !page.is_empty() {
            take(Ok(page));
        }
        Ok(())
    }
}

/// Makes a file beside its place and renames it when it is whole.
fn aside<E: From<Error>>(path: &Path, make: impl FnOnce(&Path) -> std::result::Result<(), E>) -> std::result::Result<(), E> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = Path::new(&aside);
    let in_context = |error: std::io::Error| Error::Unavailable(format!("{}: {error}", path.display()));
    match std::fs::remove_file(aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(in_context(error).into()),
        _ => {}
    }
    if let Err(error) = make(aside) {
        let _ = std::fs::remove_file(aside);
        return Err(error);
    }
    std::fs::rename(aside, path).map_err(in_context)?;
    Ok(sync_parent(path)?)
}

/// The outer result is the disk's, the inner one the caller's.
fn apply_one(entries: &mut Table<&[u8], &[u8]>, transaction: &Transaction, applied: &mut Applied) -> Result<Result<Revision>> {
    for (key, expected) in &transaction.expect {
        let found = match entries.get(key.as_ref()).map_err(unavailable)? {
            Some(stored) => Some(split(stored.value())?.0),
            None => None,
        };
        if !expected.holds(found) {
            let key = String::from_utf8_lossy(key).into_owned();
            return Ok(Err(Error::Conflict { key, expected: *expected, found }));
        }
    }
    let (revision, changes_before) = (applied.newest + 1, applied.changes.len());
    for op in &transaction.ops {
        let (key, value) = op.parts();
        let previous = match op {
            Op::Put { value, .. } => put(entries, key, value, revision)?,
            Op::Delete { .. } => match remove(entries, key)? {
                Some(previous) => Some(previous),
                None => continue,
            },
        };
        applied.changes.push(Change { revision, key: key.clone(), value: value.cloned(), previous });
    }
    if applied.changes.len() > changes_before {
        applied.newest = revision;
    }
    Ok(Ok(applied.newest))
}

/// Writes the value in place, without building it first. Returns the one before.
fn put(entries: &mut Table<&[u8], &[u8]>, key: &[u8], value: &[u8], revision: Revision) -> Result<Option<Bytes>> {
    let previous = match entries.get(key).map_err(unavailable)? {
        Some(stored) => Some(Bytes::copy_from_slice(split(stored.value())?.1)),
        None => None,
    };
    let mut room = entries.insert_reserve(key, HEADER_BYTES + value.len()).map_err(unavailable)?;
    let (header, body) = room.as_mut().split_at_mut(HEADER_BYTES);
    header.copy_from_slice(&revision.to_be_bytes());
    body.copy_from_slice(value);
    Ok(previous)
}

fn remove(entries: &mut Table<&[u8], &[u8]>, key: &[u8]) -> Result<Option<Bytes>> {
    match entries.remove(key).map_err(unavailable)? {
        Some(stored) => Ok(Some(Bytes::copy_from_slice(split(stored.value())?.1))),
        None => Ok(None),
    }
}

fn revision_in(snapshot: &ReadTransaction) -> Result<Revision> {
    newest(&snapshot.open_table(NUMBERS).map_err(unavailable)?)
}

fn newest(numbers: &impl ReadableTable<&'static str, u64>) -> Result<Revision> {
    let stored = numbers.get(REVISION).map_err(unavailable)?;
    stored.map(|n| n.value()).ok_or_else(|| Error::Corrupt("the revision is missing".into()))
}

fn entry(key: &[u8], stored: &[u8]) -> Result<Entry> {
    let (revision, value) = split(stored)?;
    Ok(Entry { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value), revision })
}

fn split(stored: &[u8]) -> Result<(Revision, &[u8])> {
    let (header, value) = stored.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| Error::Corrupt("an entry without its revision".into()))?;
    Ok((Revision::from_be_bytes(*header), value))
}

pub(super) fn builder(cache_bytes: usize) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    builder
}

fn opening(error: redb::DatabaseError) -> Error {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => Error::Unavailable("the file is in use by another process".into()),
        redb::DatabaseError::UpgradeRequired(_) | redb::DatabaseError::RepairAborted => Error::Corrupt(error.to_string()),
        other => unavailable(other),
    }
}

pub(super) fn unavailable(error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Corrupted(what) => Error::Corrupt(what),
        other => Error::Unavailable(other.to_string()),
    }
}

/// A new file's name is durable only when its directory is.
fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = std::fs::File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Error::Unavailable(format!("{}: {error}", parent.display())))
}
