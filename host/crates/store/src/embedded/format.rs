//! Which format the file has, and how an older one becomes the present one: whole or not at all, in one transaction.
//!
//! A file of a newer format is refused: what it means, only the newer version knows.

use redb::{Database, ReadableDatabase, WriteTransaction};

use super::tree::{ENTRIES, NUMBERS, REVISION, unavailable};
use crate::{Error, Result, Revision};

/// Zero has a meaning of its own to clients, so the empty store stands at one, as etcd's does.
const FIRST_REVISION: Revision = 1;
const FORMAT: &str = "format";
/// Which journal is this file's: a random number that every record of it has.
pub(super) const IDENTITY: &str = "journal";
/// The first generation of the journal that this file has not.
pub(super) const GENERATION: &str = "generation";
/// Of a tree that has taken nothing from its journal yet.
const FIRST_GENERATION: u64 = 1;
/// Files of older formats have no journal.
const FIRST_WITH_JOURNAL: u64 = 2;
/// Of what [`super::tree`] and [`super::journal`] write. One more with each change of what is in the files, and a step in [`MIGRATIONS`].
const FORMAT_VERSION: u64 = 2;
/// What makes format 2 of format 1, 3 of 2, and so on.
const MIGRATIONS: &[Migration] = &[begin_journal];
type Migration = fn(&WriteTransaction) -> Result<()>;

/// Makes the tables of a new file, or brings an older one up to date.
pub(super) fn prepare(database: &Database) -> Result<()> {
    bring_to(database, FORMAT_VERSION, MIGRATIONS)
}

/// Whether the file had a journal when it was written to last.
pub(super) fn has_journal(database: &Database) -> Result<bool> {
    Ok(found(database)?.is_some_and(|format| format >= FIRST_WITH_JOURNAL))
}

/// Makes the tables of a new file, or brings an older format up to `known`, all or nothing. Refuses a newer one.
fn bring_to(database: &Database, known: u64, migrations: &[Migration]) -> Result<()> {
    let found = found(database)?;
    match found {
        Some(found) if found == known => return Ok(()),
        Some(found) if found > known => {
            let why = format!("the file has format {found}, this pintle knows up to {known}: a newer one wrote it");
            return Err(Error::Unusable(why));
        }
        Some(0) => return Err(Error::Corrupt("the file has format 0, which never was".into())),
        _ => {}
    }
    let write = database.begin_write().map_err(unavailable)?;
    match found {
        None => {
            write.open_table(ENTRIES).map_err(unavailable)?;
            write.open_table(NUMBERS).map_err(unavailable)?.insert(REVISION, FIRST_REVISION).map_err(unavailable)?;
            begin_journal(&write)?;
        }
        Some(found) => {
            let lacking = usize::try_from(found - 1).ok().and_then(|made| migrations.get(made..));
            for migrate in lacking.ok_or_else(|| Error::Corrupt(format!("no way from format {found} to {known}")))? {
                migrate(&write)?;
            }
            tracing::info!(from = found, to = known, "the store's file was brought to a newer format");
        }
    }
    write.open_table(NUMBERS).map_err(unavailable)?.insert(FORMAT, known).map_err(unavailable)?;
    write.commit().map_err(unavailable)
}

/// Format 1 had no journal.
fn begin_journal(write: &WriteTransaction) -> Result<()> {
    let mut numbers = write.open_table(NUMBERS).map_err(unavailable)?;
    numbers.insert(IDENTITY, rand::random::<u64>()).map_err(unavailable)?;
    numbers.insert(GENERATION, FIRST_GENERATION).map_err(unavailable)?;
    Ok(())
}

/// `None`: an empty file.
fn found(database: &Database) -> Result<Option<u64>> {
    let read = database.begin_read().map_err(unavailable)?;
    match read.open_table(NUMBERS) {
        Ok(numbers) => match numbers.get(FORMAT).map_err(unavailable)?.map(|n| n.value()) {
            Some(format) => Ok(Some(format)),
            None => Err(Error::Corrupt("the file does not tell its format".into())),
        },
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(unavailable(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use redb::ReadableTable;

    use super::super::file::File;
    use super::super::tree::{self, builder};
    use super::*;
    use crate::{Entry, Op, Transaction};

    fn database(path: &Path) -> Database {
        builder(1 << 20).create(path).unwrap()
    }

    /// Values begin with a byte that the format before did not have.
    fn mark_values(write: &WriteTransaction) -> Result<()> {
        let mut entries = write.open_table(ENTRIES).map_err(unavailable)?;
        let old: Vec<(Vec<u8>, Vec<u8>)> = entries
            .iter()
            .map_err(unavailable)?
            .map(|item| item.map(|(k, v)| (k.value().to_vec(), v.value().to_vec())))
            .collect::<std::result::Result<_, _>>()
            .map_err(unavailable)?;
        for (key, value) in old {
            entries.insert(key.as_slice(), [b"2", value.as_slice()].concat().as_slice()).map_err(unavailable)?;
        }
        Ok(())
    }

    fn rename_number(write: &WriteTransaction) -> Result<()> {
        let mut numbers = write.open_table(NUMBERS).map_err(unavailable)?;
        numbers.insert("third", 3).map_err(unavailable)?;
        Ok(())
    }

    fn fails(_: &WriteTransaction) -> Result<()> {
        Err(Error::Corrupt("a migration that fails".into()))
    }

    fn value(database: &Database) -> Vec<u8> {
        let entries = database.begin_read().unwrap().open_table(ENTRIES).unwrap();
        entries.get(b"/a".as_slice()).unwrap().unwrap().value().to_vec()
    }

    fn put(value: &'static str) -> Transaction {
        Transaction { expect: Vec::new(), ops: vec![Op::Put { key: "/a".into(), value: value.into() }] }
    }

    #[test]
    fn an_older_format_is_migrated_whole_and_a_newer_one_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let file = File::open(&path, 1 << 20).unwrap();
        file.apply(&[&put("x")]).unwrap();
        file.turn().unwrap();
        file.checkpoint().unwrap();
        drop(file);

        let database = database(&path);
        let before = value(&database);
        let (whole, broken): (&[Migration], &[Migration]) = (&[begin_journal, mark_values, rename_number], &[begin_journal, mark_values, fails]);
        assert!(bring_to(&database, 4, broken).is_err());
        assert_eq!((found(&database).unwrap(), value(&database)), (Some(2), before.clone()), "half a migration is none");
        bring_to(&database, 4, whole).unwrap();
        bring_to(&database, 4, broken).unwrap();
        assert_eq!((found(&database).unwrap(), value(&database)), (Some(4), [b"2", before.as_slice()].concat()));
        drop(database);

        match File::open(&path, 1 << 20) {
            Err(Error::Unusable(why)) => assert_eq!(why, "the file has format 4, this pintle knows up to 2: a newer one wrote it"),
            other => panic!("{:?}", other.map(drop)),
        }
    }

    #[test]
    fn a_file_of_before_the_journal_gets_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let old = database(&path);
        let mut page = Some(vec![Entry { key: "/a".into(), value: "old".into(), revision: 7 }]);
        tree::fill(&old, 7, || Ok::<_, Error>(page.take())).unwrap();
        let write = old.begin_write().unwrap();
        write.open_table(NUMBERS).unwrap().insert(FORMAT, 1).unwrap();
        write.commit().unwrap();
        drop(old);

        for written in ["new", "newer"] {
            let file = File::open(&path, 1 << 20).unwrap();
            file.checkpoint().unwrap();
            let applied = file.apply(&[&put(written)]).unwrap();
            assert_eq!(applied.changes[0].previous.as_deref(), Some(if written == "new" { b"old".as_slice() } else { b"new" }));
        }
        let file = File::open(&path, 1 << 20).unwrap();
        assert_eq!(file.get(b"/a").unwrap().map(|entry| (entry.value, entry.revision)), Some(("newer".into(), 9)));
    }
}
