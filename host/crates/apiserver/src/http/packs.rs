//! Gzipped lists, put together of blocks that are kept.
//!
//! Many ask for the same list packed (client-go's informers do, each time they begin), and packing costs more than all else about it.
//! So objects that follow one another are packed by themselves, and the blocks are kept for the next list with the same objects in the
//! same states. Where a block ends is decided by the names in it: a change of an object makes its block anew and no other.
//! Deflate lets such blocks follow one another, and their checksums combine. Called by `answer`; lists in other forms than the cache's
//! are packed by `body`, unkept.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress, Status as Progress};

use super::body::{BoxError, Item, ListBody};
use crate::cache::Stored;
use crate::pieces::{Pieces, Row};

/// All kept blocks together, packed.
const KEPT_BYTES: usize = 4 << 20;
/// What a block takes beside its bytes and members.
const OVERHEAD_BYTES: usize = 200;
/// Shorter blocks pack badly, and longer ones change too often.
const BLOCK_FROM_BYTES: usize = 32 << 10;
const MAX_BLOCK_BYTES: usize = 256 << 10;
/// Behind the least length one name in so many ends a block.
const ENDS_ONE_IN: u64 = 8;
/// What is handed over, or packed, at a time.
const CHUNK_BYTES: usize = 64 << 10;
const PACKED_AT_A_TIME_BYTES: usize = 512 << 10;

/// Deflate, no name, no time, fastest, of an unknown system.
const HEAD: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
/// An empty last block.
const END: [u8; 2] = [3, 0];

/// The blocks that are kept, for the whole server.
#[derive(Default)]
pub struct Packs(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    blocks: HashMap<u64, Arc<Block>>,
    order: VecDeque<u64>,
    bytes: usize,
}

struct Block {
    is: Identity,
    packed: Bytes,
    crc: Crc,
}

/// What a block was made of.
#[derive(PartialEq, Eq, Hash)]
struct Identity {
    /// The resource's serial.
    scope: u64,
    /// No comma follows the last object of a list.
    last: bool,
    objects: Box<[(Arc<str>, u64)]>,
}

/// A list on its way out.
pub struct PackedList {
    packs: Arc<Packs>,
    scope: u64,
    head: Option<Bytes>,
    items: VecDeque<Arc<Stored>>,
    tail: Bytes,
    crc: Crc,
    /// Made when there is something to pack.
    compress: Option<Compress>,
    over: bool,
}

impl Packs {
    fn get(&self, hash: u64, is: &Identity) -> Option<Arc<Block>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.blocks.get(&hash).filter(|block| block.is == *is).cloned()
    }
    fn keep(&self, hash: u64, block: Arc<Block>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if block.size() > KEPT_BYTES / 4 || kept.blocks.contains_key(&hash) {
            return;
        }
        kept.bytes += block.size();
        kept.order.push_back(hash);
        kept.blocks.insert(hash, block);
        while kept.bytes > KEPT_BYTES
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.bytes -= kept.blocks.remove(&oldest).map_or(0, |block| block.size());
        }
    }
}

impl Block {
    fn size(&self) -> usize {
        OVERHEAD_BYTES + self.packed.len() + size_of_val(&*self.is.objects)
    }
}

impl PackedList {
    pub fn new(packs: Arc<Packs>, scope: u64, head: Bytes, items: Vec<Arc<Stored>>, tail: Bytes) -> Self {
        Self { packs, scope, head: Some(head), items: items.into(), tail, crc: Crc::new(), compress: None, over: false }
    }
    pub fn is_over(&self) -> bool {
        self.over
    }
    /// What is packed, while nothing of it was sent.
    pub fn unpacked(&self) -> Option<Bytes> {
        let items = self.items.iter().cloned().map(Item::Shared).collect();
        Some(ListBody::json(self.head.clone()?, items, self.tail.clone()).collect())
    }

    pub fn next_pieces(&mut self) -> Option<Result<Pieces, BoxError>> {
        (!self.over).then(|| self.fill().map(Pieces::from).inspect_err(|_| self.over = true))
    }

    fn fill(&mut self) -> Result<Row, BoxError> {
        let (mut out, mut packed) = (Row::default(), 0);
        if let Some(head) = self.head.take() {
            out.push(Bytes::from_static(HEAD));
            out.push(self.loose(&head)?);
        }
        while out.left() < CHUNK_BYTES && packed < PACKED_AT_A_TIME_BYTES {
            let objects = self.take_block();
            if objects.is_empty() {
                let tail = std::mem::take(&mut self.tail);
                out.push(self.loose(&tail)?);
                let end = [&END[..], &self.crc.sum().to_le_bytes(), &self.crc.amount().to_le_bytes()].concat();
                out.push(end.into());
                self.over = true;
                break;
            }
            let is =
                Identity { scope: self.scope, last: self.items.is_empty(), objects: objects.iter().map(|o| (o.key.clone(), o.revision)).collect() };
            let hash = hash(&is);
            let block = match self.packs.get(hash, &is) {
                Some(kept) => kept,
                None => {
                    let text = joined(&objects, is.last);
                    packed += text.len();
                    let mut crc = Crc::new();
                    crc.update(&text);
                    let block = Arc::new(Block { is, packed: self.pack(&text)?, crc });
                    self.packs.keep(hash, block.clone());
                    block
                }
            };
            self.crc.combine(&block.crc);
            out.push(block.packed.clone());
        }
        Ok(out)
    }

    /// The objects up to where the next block ends.
    fn take_block(&mut self) -> Vec<Arc<Stored>> {
        let (mut objects, mut bytes) = (Vec::new(), 0);
        while let Some(object) = self.items.pop_front() {
            bytes += object.as_slice().len();
            let ends = bytes >= MAX_BLOCK_BYTES || bytes >= BLOCK_FROM_BYTES && hash(&object.key) % ENDS_ONE_IN == 0;
            objects.push(object);
            if ends {
                break;
            }
        }
        objects
    }

    /// Text that belongs to this list alone.
    fn loose(&mut self, text: &[u8]) -> Result<Bytes, BoxError> {
        self.crc.update(text);
        // A stored block: shorter than a packed one, as it is this short; `packed` where it is not.
        match u16::try_from(text.len()) {
            Ok(length) => Ok([&[0], &length.to_le_bytes()[..], &(!length).to_le_bytes(), text].concat().into()),
            Err(_) => self.pack(text),
        }
    }

    fn pack(&mut self, text: &[u8]) -> Result<Bytes, BoxError> {
        let compress = self.compress.get_or_insert_with(|| Compress::new(Compression::fast(), false));
        compress.reset();
        let mut packed = Vec::with_capacity(text.len() / 8 + 1024);
        loop {
            let rest = &text[compress.total_in() as usize..];
            let progress = compress.compress_vec(rest, &mut packed, FlushCompress::Sync)?;
            let room = packed.capacity() - packed.len();
            // All of it is out when room was left, or when there was nothing more to do.
            if compress.total_in() as usize == text.len() && (room > 0 || progress == Progress::BufError) {
                return Ok(packed.into_boxed_slice().into());
            }
            packed.reserve(text.len() / 4 + 1024);
        }
    }
}

fn hash(of: &(impl std::hash::Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn joined(objects: &[Arc<Stored>], last: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(objects.iter().map(|object| object.as_slice().len() + 1).sum());
    for object in objects {
        text.extend_from_slice(object.as_slice());
        text.push(b',');
    }
    if last {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use bytes::Buf as _;
    use serde_json::json;

    use super::*;

    fn object(name: usize, revision: u64, size: usize) -> Arc<Stored> {
        let data: String = (0..size).map(|at| char::from(b'a' + ((at * at + name * 31 + revision as usize) % 26) as u8)).collect();
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{name}"), "namespace": "n"}, "data": {"k": data}});
        Arc::new(Stored::new(
            format!("n/c{name}").into(),
            &crate::cache::stored::encode(&object),
            revision,
            true,
            crate::cache::stored::Index::default(),
        ))
    }

    /// What was sent, and how many blocks were packed for it.
    fn sent(packs: &Arc<Packs>, items: &[Arc<Stored>]) -> (Vec<u8>, usize) {
        let mut list = PackedList::new(packs.clone(), 1, Bytes::from_static(b"{\"items\":["), items.to_vec(), Bytes::from_static(b"]}\n"));
        let plain = list.unpacked().unwrap();
        let before = packs.0.lock().unwrap().blocks.len();
        let mut out = Vec::new();
        while let Some(chunk) = list.next_pieces() {
            let mut chunk = chunk.unwrap();
            out.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
        }
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&*out).read_to_end(&mut read).expect("valid gzip with its checksum");
        assert!(read == plain, "{} bytes for {}", read.len(), plain.len());
        (out, packs.0.lock().unwrap().blocks.len() - before)
    }

    #[test]
    fn lists_unpack_to_themselves_and_share_what_did_not_change() {
        let packs = Arc::<Packs>::default();
        let mut items: Vec<_> = (0..2000).map(|at| object(at, 1, 300)).collect();
        let (first, made) = sent(&packs, &items);
        assert!(made > 10, "{made}");
        assert_eq!(sent(&packs, &items), (first, 0));
        items[1000] = object(1000, 2, 300);
        assert_eq!(sent(&packs, &items).1, 1);
        // A removed object joins blocks for a while at most.
        items.remove(500);
        assert!((1..=4).contains(&sent(&packs, &items).1));
    }

    #[test]
    fn any_length_and_any_text_is_packed() {
        let packs = Arc::<Packs>::default();
        for count in [0, 1, 2, 3] {
            for size in [0, 1000, 70_000, 400_000] {
                let items: Vec<_> = (0..count).map(|at| object(at, size as u64, size)).collect();
                sent(&packs, &items);
            }
        }
        // Nothing in it packs: base64 of noise.
        let noise: String = std::iter::repeat_with(|| char::from(rand::random_range(b'0'..=b'z'))).filter(|c| *c != '\\').take(300_000).collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": noise}});
        let stored = Stored::new("s".into(), &crate::cache::stored::encode(&secret), 1, true, crate::cache::stored::Index::default());
        sent(&packs, &[Arc::new(stored)]);
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let packs = Arc::<Packs>::default();
        let noise = |at: usize| {
            let text: String = std::iter::repeat_with(|| char::from(rand::random_range(b'a'..=b'z'))).take(200_000).collect();
            let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("s{at}")}, "data": {"k": text}});
            Arc::new(Stored::new(format!("s{at}").into(), &crate::cache::stored::encode(&object), 1, true, crate::cache::stored::Index::default()))
        };
        sent(&packs, &(0..60).map(noise).collect::<Vec<_>>());
        let kept = packs.0.lock().unwrap();
        assert!(kept.bytes <= KEPT_BYTES && kept.bytes > KEPT_BYTES / 2, "{}", kept.bytes);
        assert_eq!(kept.blocks.len(), kept.order.len());
        assert_eq!(kept.blocks.values().map(|block| block.size()).sum::<usize>(), kept.bytes);
    }
}
