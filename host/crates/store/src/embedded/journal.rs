//! The journal: a file beside the tree that a group of transactions is appended to, in one write and one sync. It is as long as it
//! will ever be from the start, so that a sync writes data alone.
//!
//! It has two halves, for a generation each. While the tree takes what one half has, the next generation fills the other. The tree
//! tells the first generation that it has not ([`super::format::GENERATION`]), and whose journal it wants: another file's is empty to it.
//!
//! A record begins at a sector of its own, so that a torn write spoils no record before it: CRC-32 of all that follows (4 bytes), the
//! length of what comes after the header (4), the tree's identity (8), the generation (8), the first revision (8). Then, for each change,
//! the revision (8), the lengths of key and value (4 each; `u32::MAX`: deleted), key and value. Numbers are little-endian.
//!
//! The first record that is not whole ends a generation: the one that was being written when the power went. But each is synced before
//! the next is written, and revisions have no gaps. So a whole record behind one that is not, or one that does not go on where
//! the last one ended, means that something acknowledged is lost, and that is [`Error::Corrupt`]. Damage to the very last record
//! cannot be told from a torn write.

use std::io;

use bytes::{Buf, BufMut, Bytes};
use redb::StorageBackend;

use super::memtable::Written;
use crate::{Change, Error, Result, Revision};

/// Of one generation: room for the largest group of transactions, which [`super::writer`] bounds.
pub(super) const HALF_BYTES: usize = 2 << 20;
/// What is spent on a change besides its key and value, and on a record besides its changes.
pub(super) const CHANGE_HEADER_BYTES: usize = 16;
pub(super) const RECORD_HEADER_BYTES: usize = 32;
const JOURNAL_BYTES: usize = 2 * HALF_BYTES;
const SECTOR_BYTES: usize = 512;
const CRC_BYTES: usize = 4;
const DELETED: u32 = u32::MAX;
/// The buffer that records are put together in is kept up to this size.
const KEPT_BUFFER_BYTES: usize = 128 << 10;
/// A new journal is written in pieces of this size.
const ZEROS_BYTES: usize = 1 << 20;

pub(super) struct Journal {
    disk: Box<dyn StorageBackend>,
    identity: u64,
    generation: u64,
    /// Bytes of the generation's half.
    used: usize,
    buffer: Vec<u8>,
}

/// What a journal has that the tree has not.
pub(super) struct Recovered {
    /// In the order in which it was written.
    pub changes: Vec<(Bytes, Written)>,
    pub newest: Revision,
}

impl Journal {
    /// Makes the file whole where it is not, and reads what follows the tree's revision in this generation and the next. Where there
    /// is something, no record may be appended until the tree has it.
    pub fn open(disk: Box<dyn StorageBackend>, identity: u64, generation: u64, newest: Revision) -> Result<(Self, Recovered)> {
        let mut journal = Self { disk, identity, generation, used: 0, buffer: Vec::new() };
        journal.fill_up().map_err(unavailable)?;
        let mut recovered = Recovered { changes: Vec::new(), newest };
        // All of both, also where they seem empty: what stands behind a damaged record tells that it was one.
        let mut half = vec![0; HALF_BYTES];
        for generation in [generation, generation + 1] {
            journal.read(generation, &mut half, &mut recovered)?;
        }
        if !recovered.changes.is_empty() {
            // A process that ended may have left more to the kernel than to the disk, and readers are about to see it. The records were written again
            // where they were found: after a sync that failed the kernel may take pages for written that are not.
            journal.disk.sync_data().map_err(unavailable)?;
            journal.begin(generation + 2);
        }
        Ok((journal, recovered))
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn used(&self) -> usize {
        self.used
    }

    /// The generation before must be in the tree, but for one.
    pub fn begin(&mut self, generation: u64) {
        (self.generation, self.used) = (generation, 0);
    }

    /// Returns when the changes are on disk. After an error nobody knows whether they are.
    pub fn append(&mut self, changes: &[Change]) -> io::Result<()> {
        self.buffer.clear();
        encode(&mut self.buffer, self.identity, self.generation, changes)?;
        if self.used + self.buffer.len() > HALF_BYTES {
            return Err(io::Error::other("the journal has no room for the group"));
        }
        self.disk.write(offset(self.generation, self.used), &self.buffer)?;
        self.disk.sync_data()?;
        self.used = (self.used + self.buffer.len()).next_multiple_of(SECTOR_BYTES);
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
        Ok(())
    }

    /// Zeros are written, not only promised: blocks that the file system has yet to give would be metadata in a sync.
    fn fill_up(&self) -> io::Result<()> {
        let mut length = usize::try_from(self.disk.len()?).map_err(io::Error::other)?;
        if length >= JOURNAL_BYTES {
            return Ok(());
        }
        let zeros = vec![0; ZEROS_BYTES];
        while length < JOURNAL_BYTES {
            let piece = ZEROS_BYTES.min(JOURNAL_BYTES - length);
            self.disk.set_len((length + piece) as u64)?;
            self.disk.write(length as u64, &zeros[..piece])?;
            length += piece;
        }
        self.disk.sync_data()
    }

    /// Into a buffer that takes a half.
    fn read(&self, generation: u64, half: &mut [u8], recovered: &mut Recovered) -> Result<()> {
        self.disk.read(offset(generation, 0), half).map_err(unavailable)?;
        let mut at = 0;
        while let Some(record) = record_at(half, at, self.identity, generation) {
            if record.first != recovered.newest + 1 {
                let why = format!("the journal goes on at revision {}, not after {}: something is lost", record.first, recovered.newest);
                return Err(Error::Corrupt(why));
            }
            // A copy, so that what stays of it is not the whole half.
            let changes = decode(Bytes::copy_from_slice(record.changes)).ok_or_else(|| Error::Corrupt("a record of another form".into()))?;
            recovered.newest = changes.last().map_or(recovered.newest, |(_, written)| written.revision);
            recovered.changes.extend(changes);
            at = (at + RECORD_HEADER_BYTES + record.changes.len()).next_multiple_of(SECTOR_BYTES);
        }
        let mut behind = (at..HALF_BYTES).step_by(SECTOR_BYTES).skip(1);
        match behind.find_map(|at| record_at(half, at, self.identity, generation)) {
            Some(record) => Err(Error::Corrupt(format!("the journal is damaged between revisions {} and {}", recovered.newest, record.first))),
            None => {
                if let Err(why) = self.disk.write(offset(generation, 0), &half[..at.min(HALF_BYTES)]) {
                    tracing::warn!(%why, "what the journal has was not written again");
                }
                Ok(())
            }
        }
    }
}

struct Record<'a> {
    first: Revision,
    changes: &'a [u8],
}

fn offset(generation: u64, within: usize) -> u64 {
    (generation % 2) * HALF_BYTES as u64 + within as u64
}

fn encode(out: &mut Vec<u8>, identity: u64, generation: u64, changes: &[Change]) -> io::Result<()> {
    let first = changes.first().ok_or(io::ErrorKind::InvalidInput)?.revision;
    out.put_bytes(0, CRC_BYTES);
    out.put_u32_le(0);
    out.put_u64_le(identity);
    out.put_u64_le(generation);
    out.put_u64_le(first);
    for change in changes {
        out.put_u64_le(change.revision);
        // Keys and values are far below 4 GiB: see `MAX_TRANSACTION_BYTES`.
        out.put_u32_le(change.key.len() as u32);
        out.put_u32_le(change.value.as_ref().map_or(DELETED, |value| value.len() as u32));
        out.put_slice(&change.key);
        out.put_slice(change.value.as_deref().unwrap_or_default());
    }
    let length = (out.len() - RECORD_HEADER_BYTES) as u32;
    out[CRC_BYTES..][..4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32fast::hash(&out[CRC_BYTES..]);
    out[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// A whole record of the generation. `None`: there is none.
fn record_at(half: &[u8], at: usize, identity: u64, generation: u64) -> Option<Record<'_>> {
    let found = half.get(at..)?;
    let (mut header, body) = (found.get(..RECORD_HEADER_BYTES)?, &found[RECORD_HEADER_BYTES..]);
    let (crc, length) = (header.get_u32_le(), header.get_u32_le() as usize);
    if (header.get_u64_le(), header.get_u64_le()) != (identity, generation) {
        return None;
    }
    let first = header.get_u64_le();
    let changes = body.get(..length)?;
    (crc32fast::hash(&found[CRC_BYTES..RECORD_HEADER_BYTES + length]) == crc).then_some(Record { first, changes })
}

/// `None`: this is not what [`encode`] writes.
fn decode(mut changes: Bytes) -> Option<Vec<(Bytes, Written)>> {
    let mut decoded = Vec::new();
    while changes.has_remaining() {
        let revision = changes.try_get_u64_le().ok()?;
        let (key, value) = (changes.try_get_u32_le().ok()?, changes.try_get_u32_le().ok()?);
        let key = take(&mut changes, key)?;
        let value = if value == DELETED { None } else { Some(take(&mut changes, value)?) };
        decoded.push((key, Written { revision, value }));
    }
    Some(decoded)
}

fn take(from: &mut Bytes, length: u32) -> Option<Bytes> {
    let length = length as usize;
    (length <= from.len()).then(|| from.split_to(length))
}

fn unavailable(error: io::Error) -> Error {
    Error::Unavailable(format!("the journal: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redb::backends::InMemoryBackend;

    use super::*;

    const IDENTITY: u64 = 0x1234_5678_9abc_def0;

    #[derive(Clone, Debug)]
    struct Disk(Arc<InMemoryBackend>);

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
    }

    impl Disk {
        fn new() -> Self {
            Self(Arc::new(InMemoryBackend::new()))
        }

        fn open(&self, generation: u64, newest: Revision) -> Result<(Journal, Recovered)> {
            Journal::open(Box::new(self.clone()), IDENTITY, generation, newest)
        }

        fn recovered(&self, generation: u64, newest: Revision) -> Result<Vec<(Bytes, Written)>> {
            self.open(generation, newest).map(|(_, recovered)| recovered.changes)
        }

        /// Of the first generation. Gives what the bytes were.
        fn overwrite(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
            let mut before = vec![0; bytes.len()];
            self.read(offset(1, at), &mut before).unwrap();
            self.write(offset(1, at), bytes).unwrap();
            before
        }
    }

    fn change(revision: Revision, value: Option<usize>) -> Change {
        let value = value.map(|length| vec![revision as u8; length].into());
        Change { revision, key: format!("/k{revision}").into(), value, previous: None }
    }

    fn written(changes: &[Change]) -> Vec<(Bytes, Written)> {
        changes.iter().map(|change| (change.key.clone(), Written { revision: change.revision, value: change.value.clone() })).collect()
    }

    /// Three records from revision 2 on, of two, one and three sectors, the last with two revisions.
    fn three() -> [Vec<Change>; 3] {
        [vec![change(2, Some(600)), change(2, None)], vec![change(3, Some(0))], vec![change(4, Some(900)), change(5, Some(300))]]
    }

    fn write(disk: &Disk, generation: u64, records: &[Vec<Change>]) {
        let (mut journal, _) = disk.open(generation, 1).unwrap();
        records.iter().for_each(|record| journal.append(record).unwrap());
    }

    #[test]
    fn what_was_appended_is_read_again_until_the_tree_has_it() {
        let (disk, records) = (Disk::new(), three());
        let (mut journal, recovered) = disk.open(1, 1).unwrap();
        assert!(recovered.changes.is_empty() && journal.generation() == 1);
        journal.append(&records[0]).unwrap();
        journal.begin(2);
        journal.append(&records[1]).unwrap();
        journal.append(&records[2]).unwrap();
        let (after, recovered) = disk.open(1, 1).unwrap();
        assert_eq!((recovered.changes, recovered.newest), (written(&records.concat()), 5));
        assert_eq!((after.generation(), after.used()), (3, 0), "both halves are in use");
        assert_eq!(disk.recovered(2, 2).unwrap(), written(&records[1..].concat()), "the tree has the first generation");
        assert_eq!(disk.recovered(3, 5).unwrap(), []);
    }

    #[test]
    fn another_files_journal_is_empty() {
        let disk = Disk::new();
        write(&disk, 1, &three());
        let (_, recovered) = Journal::open(Box::new(disk), IDENTITY + 1, 1, 1).unwrap();
        assert!(recovered.changes.is_empty());
    }

    #[test]
    fn what_an_older_generation_left_behind_is_not_read() {
        let disk = Disk::new();
        write(&disk, 1, &three());
        write(&disk, 3, &three()[..1]);
        assert_eq!(disk.recovered(3, 1).unwrap(), written(&three()[0]));
    }

    #[test]
    fn a_torn_record_is_the_end_and_damage_before_it_is_told() {
        let disk = Disk::new();
        write(&disk, 1, &three());
        let records = [0..1024, 1024..1536, 1536..3072];
        for at in (0..3072).step_by(SECTOR_BYTES) {
            let before = disk.overwrite(at, &[0; SECTOR_BYTES]);
            match disk.recovered(1, 1) {
                Ok(changes) => assert!(records[2].contains(&at) && changes == written(&three()[..2].concat()), "sector at {at}"),
                Err(error) => assert!(matches!(error, Error::Corrupt(_)) && !records[2].contains(&at), "sector at {at}: {error}"),
            }
            disk.overwrite(at, &before);
        }
        // The end of a generation that another one follows.
        let (mut journal, recovered) = disk.open(1, 1).unwrap();
        journal.begin(2);
        journal.append(&[change(recovered.newest + 1, Some(1))]).unwrap();
        disk.overwrite(records[2].start, &[0; SECTOR_BYTES]);
        assert!(matches!(disk.recovered(1, 1), Err(Error::Corrupt(_))));
    }

    #[test]
    fn a_bit_anywhere_in_a_record_is_told() {
        let disk = Disk::new();
        write(&disk, 1, &three()[1..2]);
        let length = RECORD_HEADER_BYTES + CHANGE_HEADER_BYTES + "/k3".len();
        for at in 0..length {
            let before = disk.overwrite(at, &[0]);
            disk.overwrite(at, &[before[0] ^ 4]);
            assert_eq!(disk.recovered(1, 2).unwrap(), [], "a bit at {at}");
            disk.overwrite(at, &before);
        }
        assert_eq!(disk.recovered(1, 2).unwrap().len(), 1);
    }

    #[test]
    fn a_group_that_does_not_fit_is_refused_before_it_is_written() {
        let disk = Disk::new();
        let (mut journal, _) = disk.open(1, 1).unwrap();
        assert!(journal.append(&[change(2, Some(HALF_BYTES))]).is_err());
        assert_eq!(disk.recovered(1, 1).unwrap(), []);
    }
}
