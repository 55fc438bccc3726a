//! Compiled functions on disk, for the compiler's process: a component that differs from an earlier one in a few functions, or in its data
//! alone as an interpreter does from save to save, costs the compilation of those.
//!
//! Each compilation that made something new leaves a segment: an index and what it names. A segment is never written to again; those that no
//! compilation used for the longest time go first. Refuses what pintle did not write, and any entry whose checksum does not hold: that
//! function is compiled then, and nothing else happens. Called by `compiler`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::CacheStore;

use crate::engine::{hex, is_ours, write};

/// Segments that are kept, and their bytes: an interpreter's first compilation leaves some 10 to 100 MB, a save some kilobytes.
const MAX_SEGMENTS: usize = 64;
const MAX_BYTES: u64 = 512 << 20;
/// What one compilation leaves at most; what is more is compiled again.
const MAX_SEGMENT_BYTES: usize = 192 << 20;

const SEGMENT: &str = "functions";
/// The form of a segment; another number is another form.
const MAGIC: &[u8; 8] = b"pintlef1";
const KEY_BYTES: usize = 32;
const SUM_BYTES: usize = 32;
/// Magic, number of entries, checksum of the index.
const HEAD_BYTES: usize = MAGIC.len() + 4 + SUM_BYTES;
/// Key, place in the file, length, checksum.
const ENTRY_BYTES: usize = KEY_BYTES + 4 + 4 + SUM_BYTES;

type Key = [u8; KEY_BYTES];

/// The functions that earlier compilations made, and those that this one makes.
#[derive(Debug)]
pub struct Functions {
    folder: PathBuf,
    segments: Vec<Segment>,
    known: HashMap<Key, Place>,
    made: Mutex<Made>,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: File,
    used: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    segment: usize,
    start: u32,
    length: u32,
    sum: [u8; SUM_BYTES],
}

#[derive(Debug, Default)]
struct Made {
    functions: HashMap<Key, Vec<u8>>,
    bytes: usize,
}

impl Functions {
    /// Reads the indexes. The folder is made when it is missing.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut found = Self { folder: folder.to_owned(), segments: Vec::new(), known: HashMap::new(), made: Mutex::default() };
        for path in segments(folder) {
            let Some((file, places)) = read(&path, found.segments.len()) else { continue };
            found.known.extend(places);
            found.segments.push(Segment { path, file, used: AtomicBool::new(false) });
        }
        Ok(found)
    }

    /// Writes down what this compilation made, and drops what is beyond the limits.
    pub fn keep(&self) -> std::io::Result<()> {
        for segment in self.segments.iter().filter(|s| s.used.load(Ordering::Relaxed)) {
            let _ = File::options().write(true).open(&segment.path).and_then(|file| file.set_modified(SystemTime::now()));
        }
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(|e| e.into_inner()));
        if made.functions.is_empty() {
            return Ok(());
        }
        let bytes = segment_of(&made);
        write(&self.folder.join(&hex(&Sha256::digest(&bytes[..HEAD_BYTES]))[..32]).with_extension(SEGMENT), &bytes)?;
        prune(&self.folder, MAX_SEGMENTS, MAX_BYTES);
        Ok(())
    }
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let place = self.known.get(key)?;
        let segment = &self.segments[place.segment];
        let mut bytes = vec![0; place.length as usize];
        segment.file.read_exact_at(&mut bytes, place.start.into()).ok()?;
        if Sha256::digest(&bytes)[..] != place.sum {
            return None;
        }
        segment.used.store(true, Ordering::Relaxed);
        Some(bytes.into())
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let Ok(key) = Key::try_from(key) else { return false };
        let mut made = self.made.lock().unwrap_or_else(|e| e.into_inner());
        if made.bytes + ENTRY_BYTES + value.len() > MAX_SEGMENT_BYTES {
            return false;
        }
        made.bytes += ENTRY_BYTES + value.len();
        made.functions.insert(key, value);
        true
    }
}

/// Those that are there, the one that was used last first.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let ours = |path: &PathBuf| path.extension().is_some_and(|e| e == SEGMENT) && is_ours(path);
    let mut found: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(ours).filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path))).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

fn prune(folder: &Path, most: usize, most_bytes: u64) {
    let mut bytes = 0;
    for (at, path) in segments(folder).into_iter().enumerate() {
        bytes += path.metadata().map_or(0, |m| m.len());
        // The newest is what was just made.
        if at > 0 && (at >= most || bytes > most_bytes) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The index of a segment whose checksum holds.
fn read(path: &Path, segment: usize) -> Option<(File, Vec<(Key, Place)>)> {
    let file = File::open(path).ok()?;
    let mut head = [0; HEAD_BYTES];
    file.read_exact_at(&mut head, 0).ok()?;
    let (magic, rest) = head.split_first_chunk::<8>()?;
    let (count, sum) = rest.split_first_chunk::<4>()?;
    let length = (u32::from_le_bytes(*count) as usize).checked_mul(ENTRY_BYTES).filter(|l| *l <= MAX_SEGMENT_BYTES)?;
    let mut index = vec![0; length];
    file.read_exact_at(&mut index, HEAD_BYTES as u64).ok()?;
    if magic != MAGIC || Sha256::digest(&index)[..] != *sum {
        return None;
    }
    let places = index.chunks_exact(ENTRY_BYTES).filter_map(|entry| {
        let (key, entry) = entry.split_first_chunk::<KEY_BYTES>()?;
        let (start, entry) = entry.split_first_chunk::<4>()?;
        let (length, sum) = entry.split_first_chunk::<4>()?;
        Some((*key, Place { segment, start: u32::from_le_bytes(*start), length: u32::from_le_bytes(*length), sum: sum.try_into().ok()? }))
    });
    let places = places.filter(|(_, place)| place.length as usize <= MAX_SEGMENT_BYTES).collect();
    Some((file, places))
}

/// Head, index, functions.
fn segment_of(made: &Made) -> Vec<u8> {
    let mut index = Vec::with_capacity(made.functions.len() * ENTRY_BYTES);
    let mut start = HEAD_BYTES + made.functions.len() * ENTRY_BYTES;
    let mut functions = Vec::with_capacity(made.bytes);
    for (key, value) in &made.functions {
        index.extend_from_slice(key);
        // Both fit: a segment has fewer than 2^32 bytes.
        index.extend_from_slice(&(start as u32).to_le_bytes());
        index.extend_from_slice(&(value.len() as u32).to_le_bytes());
        index.extend_from_slice(&Sha256::digest(value));
        functions.extend_from_slice(value);
        start += value.len();
    }
    let count = (made.functions.len() as u32).to_le_bytes();
    [&MAGIC[..], &count, &Sha256::digest(&index), &index, &functions].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Key {
        [n; KEY_BYTES]
    }

    fn with(folder: &Path, keys: &[u8]) -> Functions {
        let functions = Functions::open(folder).expect("a folder");
        for n in keys {
            assert!(functions.insert(&key(*n), vec![*n; 100 + usize::from(*n)]));
        }
        functions.keep().expect("written");
        functions
    }

    fn has(functions: &Functions, n: u8) -> bool {
        functions.get(&key(n)).is_some_and(|found| *found == vec![n; 100 + usize::from(n)])
    }

    #[test]
    fn what_one_compilation_made_the_next_ones_find() {
        let folder = tempfile::tempdir().expect("a folder");
        let functions = with(folder.path(), &[1, 2]);
        assert!(!has(&functions, 1), "what this one made it does not ask for again");
        let functions = with(folder.path(), &[3]);
        assert_eq!([1, 2, 3].map(|n| has(&functions, n)), [true, true, false]);
        let functions = with(folder.path(), &[]);
        assert_eq!([1, 2, 3, 4].map(|n| has(&functions, n)), [true, true, true, false]);
        assert_eq!(segments(folder.path()).len(), 2, "nothing new, nothing written");
    }

    #[test]
    fn a_damaged_entry_is_not_there_and_the_others_are() {
        let folder = tempfile::tempdir().expect("a folder");
        with(folder.path(), &[1]);
        with(folder.path(), &[2]);
        let spoil = |path: &Path, at: usize| {
            let mut bytes = std::fs::read(path).expect("a segment");
            let at = if at < bytes.len() { at } else { bytes.len() - 1 };
            bytes[at] ^= 1;
            std::fs::write(path, bytes).expect("written");
        };
        let [newer, older] = segments(folder.path()).try_into().expect("two");
        spoil(&older, usize::MAX);
        let functions = Functions::open(folder.path()).expect("a folder");
        assert_eq!([1, 2].map(|n| has(&functions, n)), [false, true], "a function");
        for at in [0, MAGIC.len(), HEAD_BYTES + KEY_BYTES] {
            spoil(&newer, at);
            assert!(!has(&Functions::open(folder.path()).expect("a folder"), 2), "byte {at} of the index");
            spoil(&newer, at);
        }
        std::fs::write(&newer, &std::fs::read(&newer).expect("a segment")[..HEAD_BYTES + 10]).expect("cut off");
        assert!(!has(&Functions::open(folder.path()).expect("a folder"), 2));
        use std::os::unix::fs::PermissionsExt;
        with(folder.path(), &[5]);
        assert!(has(&Functions::open(folder.path()).expect("a folder"), 5));
        std::fs::set_permissions(&segments(folder.path())[0], std::fs::Permissions::from_mode(0o666)).expect("permissions");
        assert!(!has(&Functions::open(folder.path()).expect("a folder"), 5), "others may write to it");
    }

    #[test]
    fn segments_that_nobody_uses_go_first() {
        let folder = tempfile::tempdir().expect("a folder");
        for n in 1..=3 {
            with(folder.path(), &[n]);
            let age = std::time::Duration::from_secs(100 - u64::from(n));
            let newest = File::options().write(true).open(&segments(folder.path())[0]).expect("a segment");
            newest.set_modified(SystemTime::now() - age).expect("its time");
        }
        let functions = Functions::open(folder.path()).expect("a folder");
        assert!(has(&functions, 1));
        functions.keep().expect("its time is noted");
        prune(folder.path(), 2, u64::MAX);
        let functions = Functions::open(folder.path()).expect("a folder");
        assert_eq!([1, 2, 3].map(|n| has(&functions, n)), [true, false, true]);
        prune(folder.path(), 2, 0);
        assert_eq!(segments(folder.path()).len(), 1, "the newest stays whatever its size");
    }
}
