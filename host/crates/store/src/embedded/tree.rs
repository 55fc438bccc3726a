//! The tree: a redb file with each key's present value and the revision that wrote it, and the store's numbers.
//!
//! A value is stored as its revision (8 bytes, big-endian) followed by its bytes.

use std::path::Path;

use bytes::Bytes;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition};

use super::format::GENERATION;
use super::memtable::Checkpoint;
use crate::{Entry, Error, Result, Revision};

pub(super) const ENTRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("entries");
pub(super) const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
pub(super) const REVISION: &str = "revision";
const HEADER_BYTES: usize = 8;

pub(super) fn builder(cache_bytes: usize) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    builder
}

/// Makes the file at the path, empty.
pub(super) fn create(path: &Path, cache_bytes: usize) -> Result<Database> {
    builder(cache_bytes).create(path).map_err(opening)
}

pub(super) fn opening(error: redb::DatabaseError) -> Error {
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

pub(super) fn number(database: &Database, name: &str) -> Result<u64> {
    let numbers = snapshot(database)?.open_table(NUMBERS).map_err(unavailable)?;
    let found = numbers.get(name).map_err(unavailable)?;
    found.map(|n| n.value()).ok_or_else(|| Error::Corrupt(format!("the file does not tell its {name}")))
}

/// Everything as it is now, whatever is written meanwhile.
pub(super) fn snapshot(database: &Database) -> Result<ReadTransaction> {
    database.begin_read().map_err(unavailable)
}

pub(super) fn get(entries: &impl ReadableTable<&'static [u8], &'static [u8]>, key: &[u8]) -> Result<Option<Entry>> {
    match entries.get(key).map_err(unavailable)? {
        Some(stored) => entry(key, stored.value()).map(Some),
        None => Ok(None),
    }
}

/// From `start` to before `end` (empty: to the last).
pub(super) fn range(snapshot: &ReadTransaction, start: &[u8], end: &[u8]) -> Result<impl Iterator<Item = Result<Entry>> + use<>> {
    let entries = snapshot.open_table(ENTRIES).map_err(unavailable)?;
    let found = if end.is_empty() { entries.range(start..) } else { entries.range(start..end) };
    Ok(found.map_err(unavailable)?.map(|item| {
        let (key, stored) = item.map_err(unavailable)?;
        entry(key.value(), stored.value())
    }))
}

/// Writes the entries of all pages and the revision that the tree then has, whole or not at all. The last page is `None`.
pub(super) fn fill<E: From<Error>>(
    database: &Database,
    revision: Revision,
    mut next_page: impl FnMut() -> std::result::Result<Option<Vec<Entry>>, E>,
) -> std::result::Result<(), E> {
    let write = database.begin_write().map_err(unavailable)?;
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
}

/// Makes the checkpoint durable, whole or not at all.
pub(super) fn take(mut write: redb::WriteTransaction, checkpoint: &Checkpoint) -> Result<()> {
    write.set_durability(Durability::Immediate).map_err(unavailable)?;
    {
        let mut entries = write.open_table(ENTRIES).map_err(unavailable)?;
        for (key, written) in &checkpoint.layer {
            match &written.value {
                Some(value) => put(&mut entries, key, value, written.revision)?,
                None => drop(entries.remove(key.as_ref()).map_err(unavailable)?),
            }
        }
        let mut numbers = write.open_table(NUMBERS).map_err(unavailable)?;
        numbers.insert(REVISION, checkpoint.revision).map_err(unavailable)?;
        numbers.insert(GENERATION, checkpoint.next_generation).map_err(unavailable)?;
    }
    write.commit().map_err(unavailable)
}

/// Writes the value in place, without building it first.
fn put(entries: &mut Table<&[u8], &[u8]>, key: &[u8], value: &[u8], revision: Revision) -> Result<()> {
    let mut room = entries.insert_reserve(key, HEADER_BYTES + value.len()).map_err(unavailable)?;
    let (header, body) = room.as_mut().split_at_mut(HEADER_BYTES);
    header.copy_from_slice(&revision.to_be_bytes());
    body.copy_from_slice(value);
    Ok(())
}

fn entry(key: &[u8], stored: &[u8]) -> Result<Entry> {
    let (header, value) = stored.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| Error::Corrupt("an entry without its revision".into()))?;
    Ok(Entry { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value), revision: Revision::from_be_bytes(*header) })
}
