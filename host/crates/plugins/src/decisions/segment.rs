//! The file of a segment: a header, then blocks of compressed records, each with the keys under which its decisions are found, so that a
//! search reads the keys and unpacks only what holds an answer.
//!
//! A block that was torn by a crash ends the segment for its readers. Refuses files of another format. Called by the writer and by all
//! who read the log.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::record::{FORMAT, Record};

const MAGIC: &[u8; 8] = b"PINTLEDL";
const HEADER_BYTES: u64 = 16;
const BLOCK_HEADER_BYTES: usize = 24;
/// No block is larger, packed or unpacked: a file of somebody else must not make a reader take all memory.
const MAX_BLOCK_BYTES: u32 = 256 << 20;
const MAX_BLOCK_KEYS: u32 = 1 << 20;
/// Before each record of an unpacked block: its length, so that readers can pass over those that they do not want.
const LENGTH_BYTES: usize = 4;
/// What a [`Record::Fed`] begins with.
const FED: u8 = 2;
pub const EXTENSION: &str = "decisions";

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    #[error("{0}: not a decision log")]
    NotALog(PathBuf),
    #[error("{0}: a decision log of format {1}; this pintle reads format {FORMAT}")]
    Format(PathBuf, u16),
    #[error("{0}: no decisions there")]
    Empty(PathBuf),
    #[error("a record cannot be read: {0}")]
    Record(#[from] postcard::Error),
}

/// What a block's records are, without unpacking them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Of the packed bytes.
    offset: u64,
    packed: u32,
    unpacked: u32,
    sum: u32,
    pub has_sessions: bool,
    pub decisions: u32,
    pub keys: Vec<u64>,
}

/// A block that is being filled.
#[derive(Default)]
pub struct Draft {
    pub raw: Vec<u8>,
    pub keys: Vec<u64>,
    pub decisions: u32,
    pub has_sessions: bool,
    /// The last block's packed bytes: the next one's come to the same place.
    packed: Vec<u8>,
}

pub struct SegmentReader {
    file: BufReader<File>,
    at: u64,
}

pub fn write_header(file: &mut impl Write) -> io::Result<u64> {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..10].copy_from_slice(&FORMAT.to_le_bytes());
    file.write_all(&header)?;
    Ok(HEADER_BYTES)
}

impl Draft {
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    pub fn push(&mut self, record: &Record) -> Result<(), postcard::Error> {
        let mut raw = std::mem::take(&mut self.raw);
        let at = raw.len();
        raw.extend([0; LENGTH_BYTES]);
        self.raw = postcard::to_extend(record, raw)?;
        let length = u32::try_from(self.raw.len() - at - LENGTH_BYTES).unwrap_or(u32::MAX);
        self.raw[at..at + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        match record {
            Record::Session(_) => self.has_sessions = true,
            Record::Decision(decision) => {
                self.decisions += 1;
                self.keys.extend(decision.keys());
            }
            Record::Content(_) | Record::Fed(_) => {}
        }
        Ok(())
    }

    /// Packs and writes what was gathered, and begins anew. Returns the bytes written.
    pub fn flush(&mut self, file: &mut impl Write) -> io::Result<u64> {
        if self.is_empty() {
            return Ok(0);
        }
        self.keys.sort_unstable();
        self.keys.dedup();
        self.packed.resize(lz4_flex::block::get_maximum_output_size(self.raw.len()), 0);
        let length = lz4_flex::block::compress_into(&self.raw, &mut self.packed).map_err(io::Error::other)?;
        let packed = &self.packed[..length];
        let mut head = Vec::with_capacity(BLOCK_HEADER_BYTES + self.keys.len() * 8);
        let size = |n: usize| u32::try_from(n).map_err(|_| io::Error::other("a block of more than 4 GiB"));
        for number in [
            size(packed.len())?,
            size(self.raw.len())?,
            crc32fast::hash(packed),
            u32::from(self.has_sessions),
            size(self.keys.len())?,
            self.decisions,
        ] {
            head.extend(number.to_le_bytes());
        }
        self.keys.iter().for_each(|key| head.extend(key.to_le_bytes()));
        file.write_all(&head)?;
        file.write_all(packed)?;
        let written = (head.len() + packed.len()) as u64;
        self.raw.clear();
        self.keys.clear();
        (self.decisions, self.has_sessions) = (0, false);
        Ok(written)
    }
}

impl SegmentReader {
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let fault = |e| LogError::Io(path.to_owned(), e);
        let mut file = BufReader::new(File::open(path).map_err(fault)?);
        let mut header = [0; HEADER_BYTES as usize];
        file.read_exact(&mut header).map_err(|_| LogError::NotALog(path.to_owned()))?;
        let found = u16::from_le_bytes([header[8], header[9]]);
        match (&header[..8] == MAGIC, found) {
            (false, _) => Err(LogError::NotALog(path.to_owned())),
            (true, FORMAT) => Ok(Self { file, at: HEADER_BYTES }),
            (true, other) => Err(LogError::Format(path.to_owned(), other)),
        }
    }

    /// The next block's description; `None` at the end, or where a crash tore the file.
    pub fn next_block(&mut self) -> Option<Block> {
        self.file.seek(SeekFrom::Start(self.at)).ok()?;
        let mut head = [0; BLOCK_HEADER_BYTES];
        self.file.read_exact(&mut head).ok()?;
        let mut numbers = head.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let mut number = || numbers.next().unwrap_or_default();
        let (packed, unpacked, sum, sessions, keys, decisions) = (number(), number(), number(), number(), number(), number());
        if packed > MAX_BLOCK_BYTES || unpacked > MAX_BLOCK_BYTES || keys > MAX_BLOCK_KEYS {
            return None;
        }
        let mut bytes = vec![0; keys as usize * 8];
        self.file.read_exact(&mut bytes).ok()?;
        let keys = bytes.chunks_exact(8).map(|b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])).collect();
        let offset = self.at + (BLOCK_HEADER_BYTES + bytes.len()) as u64;
        self.at = offset + u64::from(packed);
        Some(Block { offset, packed, unpacked, sum, has_sessions: sessions != 0, decisions, keys })
    }

    pub fn blocks(&mut self) -> Vec<Block> {
        std::iter::from_fn(|| self.next_block()).collect()
    }

    /// The records of a block, in order; none when it was torn.
    pub fn records(&mut self, block: &Block) -> Result<Vec<Record>, LogError> {
        self.records_where(block, |_, _| true)
    }

    /// The same of what these sessions were fed; decisions and what others were fed, which are most of a block, are not read.
    pub fn feeds(&mut self, block: &Block, wanted: impl Fn(u64) -> bool) -> Result<Vec<Record>, LogError> {
        // A record of a feed goes on with its session.
        let session = |record: &[u8]| postcard::take_from_bytes::<u64>(record).ok().map(|(session, _)| session);
        self.records_where(block, |kind, rest| kind == FED && session(rest).is_some_and(&wanted))
    }

    fn records_where(&mut self, block: &Block, wanted: impl Fn(u8, &[u8]) -> bool) -> Result<Vec<Record>, LogError> {
        let mut packed = vec![0; block.packed as usize];
        let read = self.file.seek(SeekFrom::Start(block.offset)).and_then(|_| self.file.read_exact(&mut packed));
        if read.is_err() || crc32fast::hash(&packed) != block.sum {
            return Ok(Vec::new());
        }
        let Ok(raw) = lz4_flex::block::decompress(&packed, block.unpacked as usize) else { return Ok(Vec::new()) };
        let (mut rest, mut records) = (raw.as_slice(), Vec::new());
        while let Some((length, after)) = rest.split_first_chunk::<LENGTH_BYTES>() {
            let length = u32::from_le_bytes(*length) as usize;
            let (record, after) = after.split_at_checked(length).ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
            if record.split_first().is_some_and(|(kind, rest)| wanted(*kind, rest)) {
                records.push(postcard::from_bytes(record)?);
            }
            rest = after;
        }
        Ok(records)
    }
}

/// The segments of a folder, oldest first; or the one file that the path names.
pub fn segments(path: &Path) -> Result<Vec<PathBuf>, LogError> {
    let fault = |e| LogError::Io(path.to_owned(), e);
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fault)? {
        let file = entry.map_err(fault)?.path();
        if file.extension().is_some_and(|e| e == EXTENSION) {
            found.push(file);
        }
    }
    // Their names are numbers of the same width.
    found.sort();
    Ok(found)
}
