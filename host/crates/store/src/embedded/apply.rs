//! What a group of transactions changes, in the order in which they came, each judged on what the ones before it left.

use std::collections::HashMap;

use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadableDatabase};

use super::memtable::{Memtable, Written};
use super::tree::{self, ENTRIES};
use crate::{Change, Error, Op, Result, Revision, Transaction};

/// What became of a group of transactions.
pub(super) struct Applied {
    pub outcomes: Vec<Result<Revision>>,
    pub changes: Vec<Change>,
    pub newest: Revision,
}

/// Writes nothing. An error is the disk's; a caller's is an outcome.
pub(super) fn apply(database: &Database, memtable: &Memtable, transactions: &[&Transaction]) -> Result<Applied> {
    let mut group = Group { database, memtable, tree: None, seen: HashMap::new() };
    let mut applied = Applied { outcomes: Vec::with_capacity(transactions.len()), changes: Vec::new(), newest: memtable.newest() };
    for transaction in transactions {
        let outcome = match group.conflict(transaction)? {
            Some(conflict) => Err(conflict),
            None => Ok(group.write(transaction, &mut applied)?),
        };
        applied.outcomes.push(outcome);
    }
    Ok(applied)
}

struct Group<'a> {
    database: &'a Database,
    memtable: &'a Memtable,
    /// Opened when a key is in no layer.
    tree: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
    /// Keys as the group found or left them.
    seen: HashMap<Bytes, Written>,
}

impl Group<'_> {
    fn conflict(&mut self, transaction: &Transaction) -> Result<Option<Error>> {
        for (key, expected) in &transaction.expect {
            let found = self.find(key)?;
            let found = found.value.is_some().then_some(found.revision);
            if !expected.holds(found) {
                let key = String::from_utf8_lossy(key).into_owned();
                return Ok(Some(Error::Conflict { key, expected: *expected, found }));
            }
        }
        Ok(None)
    }

    fn write(&mut self, transaction: &Transaction, applied: &mut Applied) -> Result<Revision> {
        let revision = applied.newest + 1;
        for op in &transaction.ops {
            let (key, value) = op.parts();
            let found = self.find(key)?;
            if matches!(op, Op::Delete { .. }) && found.value.is_none() {
                continue;
            }
            let previous = std::mem::replace(found, Written { revision, value: value.cloned() }).value;
            applied.changes.push(Change { revision, key: key.clone(), value: value.cloned(), previous });
            applied.newest = revision;
        }
        Ok(applied.newest)
    }

    fn find(&mut self, key: &Bytes) -> Result<&mut Written> {
        if !self.seen.contains_key(key) {
            let found = match self.memtable.find(key) {
                Some(written) => written.clone(),
                None => self.find_in_tree(key)?,
            };
            self.seen.insert(key.clone(), found);
        }
        self.seen.get_mut(key).ok_or_else(|| Error::Unavailable("a key that was just found is gone".into()))
    }

    fn find_in_tree(&mut self, key: &[u8]) -> Result<Written> {
        let tree = match &mut self.tree {
            Some(tree) => tree,
            None => {
                let read = self.database.begin_read().map_err(tree::unavailable)?;
                self.tree.insert(read.open_table(ENTRIES).map_err(tree::unavailable)?)
            }
        };
        Ok(match tree::get(tree, key)? {
            Some(entry) => Written { revision: entry.revision, value: Some(entry.value) },
            None => Written { revision: 0, value: None },
        })
    }
}
