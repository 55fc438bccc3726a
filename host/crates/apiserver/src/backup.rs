//! Backups: what a file of one holds, and stores made of it while no server serves (`http/backup.rs` makes them while one does).
//!
//! A backup has everything: Secrets, and the keys that the cluster's certificates and tokens are signed with. Only who may `get`
//! the path [`PATH`] gets one. The `pintle` binary verifies and restores files.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use pintle_store::backup::Reader;
use pintle_store::{Entry, Expect, MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS, Op, Transaction, embedded};

pub use pintle_store::backup::BackupError;

use crate::storage::{STORE_FILE, Storage, open_store};

pub const PATH: &str = "/pintle/backup";

/// What a whole backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    pub revision: u64,
    pub entries: u64,
}

/// Reads it to its checksum. Blocks.
pub fn verify(file: &Path) -> Result<Contents, BackupError> {
    let mut reader = open(file)?;
    let mut entries = 0;
    while let Some(page) = reader.page()? {
        entries += page.len() as u64;
    }
    Ok(Contents { revision: reader.revision(), entries })
}

/// Makes the store of a data folder that has none; the revision that it stands at. Blocks.
pub fn restore(file: &Path, data_dir: &Path) -> Result<u64, BackupError> {
    std::fs::create_dir_all(data_dir)?;
    embedded::restore(data_dir.join(STORE_FILE), open(file)?)
}

/// Fills a store that is empty, of any engine: also the way from one engine to another. What stops it half way leaves half of
/// it, and the store must be emptied before the next try.
pub async fn restore_into(file: &Path, storage: &Storage, data_dir: &Path) -> Result<u64, BackupError> {
    verify(file)?;
    let store = open_store(storage, data_dir).await?;
    if !store.range(b"", b"", 1).await?.entries.is_empty() {
        return Err(pintle_store::Error::Unusable("the store is not empty".into()).into());
    }
    let mut reader = open(file)?;
    while let Some(page) = reader.page()? {
        for transaction in transactions(page) {
            store.commit(transaction).await?;
        }
    }
    let revision = store.revision().await?;
    store.close().await?;
    Ok(revision)
}

fn open(file: &Path) -> Result<Reader<BufReader<File>>, BackupError> {
    Reader::open(BufReader::new(File::open(file)?))
}

/// The entries in as few transactions as hold them.
fn transactions(page: Vec<Entry>) -> Vec<Transaction> {
    let mut made: Vec<Transaction> = Vec::new();
    let mut bytes = 0;
    for Entry { key, value, .. } in page {
        bytes += key.len() + value.len();
        let full = made.last().is_none_or(|last| last.ops.len() == MAX_TRANSACTION_OPS) || bytes > MAX_TRANSACTION_BYTES;
        if full {
            made.push(Transaction::default());
            bytes = key.len() + value.len();
        }
        if let Some(last) = made.last_mut() {
            last.expect.push((key.clone(), Expect::Absent));
            last.ops.push(Op::Put { key, value });
        }
    }
    made
}
