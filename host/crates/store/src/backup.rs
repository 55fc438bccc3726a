//! The file that a backup is: everything in a store at one revision, with a version and a checksum. Any engine's, for any engine.
//!
//! `PNTLBKUP`, the version (4 bytes), the revision (8); then for each entry a 1, the lengths of key and value (4 each), the
//! revision that wrote it (8), key and value; at the end a 0, the number of entries (8), and the SHA-256 of all before. Numbers are
//! little-endian. It refuses versions that it does not know, and gives entries before the checksum is known: who takes them
//! must not keep them when the last page is an error.

use std::io::{self, Read};

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::{Entry, Error, MAX_TRANSACTION_BYTES, Revision};

const MAGIC: &[u8; 8] = b"PNTLBKUP";
const VERSION: u32 = 1;
const ENTRY: u8 = 1;
const END: u8 = 0;
/// Entries of a page are gathered up to this many bytes, or one entry.
const PAGE_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("this is no backup of pintle's")]
    Foreign,
    #[error("the backup has version {0}, this pintle reads up to {VERSION}: a newer one wrote it")]
    Newer(u32),
    #[error("the backup is damaged: {0}")]
    Damaged(&'static str),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("storage: {0}")]
    Store(#[from] Error),
}

pub struct Writer {
    hash: Sha256,
    entries: u64,
}

impl Writer {
    /// The writer and the first bytes.
    pub fn begin(revision: Revision) -> (Self, Bytes) {
        let mut writer = Self { hash: Sha256::new(), entries: 0 };
        let mut out = BytesMut::new();
        out.put_slice(MAGIC);
        out.put_u32_le(VERSION);
        out.put_u64_le(revision);
        let first = writer.hashed(out);
        (writer, first)
    }

    pub fn entries(&mut self, entries: &[Entry]) -> Bytes {
        let mut out = BytesMut::with_capacity(entries.iter().map(|e| 17 + e.key.len() + e.value.len()).sum());
        for entry in entries {
            out.put_u8(ENTRY);
            // Keys and values are far below 4 GiB: see `MAX_TRANSACTION_BYTES`.
            out.put_u32_le(entry.key.len() as u32);
            out.put_u32_le(entry.value.len() as u32);
            out.put_u64_le(entry.revision);
            out.put_slice(&entry.key);
            out.put_slice(&entry.value);
        }
        self.entries += entries.len() as u64;
        self.hashed(out)
    }

    pub fn end(mut self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(END);
        out.put_u64_le(self.entries);
        let end = self.hashed(out);
        [&end[..], &self.hash.finalize()[..]].concat().into()
    }

    fn hashed(&mut self, out: BytesMut) -> Bytes {
        self.hash.update(&out);
        out.freeze()
    }
}

pub struct Reader<R> {
    from: R,
    hash: Sha256,
    entries: u64,
    revision: Revision,
    ended: bool,
}

impl<R: Read> Reader<R> {
    pub fn open(from: R) -> Result<Self, BackupError> {
        let mut reader = Self { from, hash: Sha256::new(), entries: 0, revision: 0, ended: false };
        let magic: [u8; 8] = reader.take().map_err(|_| BackupError::Foreign)?;
        if magic != *MAGIC {
            return Err(BackupError::Foreign);
        }
        match u32::from_le_bytes(reader.take()?) {
            VERSION => {}
            other => return Err(BackupError::Newer(other)),
        }
        reader.revision = Revision::from_le_bytes(reader.take()?);
        Ok(reader)
    }

    /// The revision that the store stood at.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The next entries, in key order. `None`: that was all, and the checksum is right.
    pub fn page(&mut self) -> Result<Option<Vec<Entry>>, BackupError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        while !self.ended && bytes < PAGE_BYTES {
            match self.take::<1>()?[0] {
                ENTRY => {
                    let entry = self.entry()?;
                    bytes += entry.key.len() + entry.value.len();
                    page.push(entry);
                }
                END => self.check()?,
                _ => return Err(BackupError::Damaged("neither an entry nor the end")),
            }
        }
        Ok(Some(page).filter(|page| !page.is_empty()))
    }

    fn entry(&mut self) -> Result<Entry, BackupError> {
        let key = u32::from_le_bytes(self.take()?) as usize;
        let value = u32::from_le_bytes(self.take()?) as usize;
        let revision = Revision::from_le_bytes(self.take()?);
        if key.saturating_add(value) > MAX_TRANSACTION_BYTES || key == 0 {
            return Err(BackupError::Damaged("an entry of an impossible size"));
        }
        let mut bytes = vec![0; key + value];
        self.fill(&mut bytes)?;
        let mut key_and_value = Bytes::from(bytes);
        let value = key_and_value.split_off(key);
        self.entries += 1;
        Ok(Entry { key: key_and_value, value, revision })
    }

    fn check(&mut self) -> Result<(), BackupError> {
        if u64::from_le_bytes(self.take()?) != self.entries {
            return Err(BackupError::Damaged("entries are missing"));
        }
        let wanted = self.hash.finalize_reset();
        let mut found = [0; 32];
        self.from.read_exact(&mut found).map_err(torn)?;
        if found != wanted[..] {
            return Err(BackupError::Damaged("the checksum is wrong"));
        }
        self.ended = true;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        self.from.read_exact(bytes).map_err(torn)?;
        self.hash.update(&*bytes);
        Ok(())
    }
}

fn torn(error: io::Error) -> BackupError {
    if error.kind() == io::ErrorKind::UnexpectedEof { BackupError::Damaged("it ends early") } else { BackupError::Io(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> Entry {
        Entry { key: format!("/k{n}").into(), value: vec![n as u8; n as usize * 10].into(), revision: n }
    }

    fn backup() -> Vec<u8> {
        let (mut writer, first) = Writer::begin(77);
        let entries: Vec<Entry> = (0..100).map(entry).collect();
        let pages = [writer.entries(&entries[..40]), writer.entries(&[]), writer.entries(&entries[40..])];
        [&[first][..], &pages, &[writer.end()]].concat().concat()
    }

    fn read(bytes: &[u8]) -> Result<(Revision, Vec<Entry>), BackupError> {
        let mut reader = Reader::open(bytes)?;
        let mut entries = Vec::new();
        while let Some(page) = reader.page()? {
            entries.extend(page);
        }
        assert!(reader.page()?.is_none());
        Ok((reader.revision(), entries))
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(read(&backup()).unwrap(), (77, (0..100).map(entry).collect()));
    }

    #[test]
    fn damage_anywhere_is_found() {
        let good = backup();
        for at in (0..good.len()).step_by(97).chain(good.len() - 60..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert!(read(&bad).is_err(), "a bit at {at}");
            assert!(read(&good[..at]).is_err(), "cut at {at}");
        }
        assert!(matches!(read(b"PNTLBKUP\x02\0\0\0--------"), Err(BackupError::Newer(2))));
        assert!(matches!(read(b"{}"), Err(BackupError::Foreign)));
    }
}
