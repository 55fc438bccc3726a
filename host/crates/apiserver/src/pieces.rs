//! Bytes that go out one behind the other and are never put together first.
//!
//! Most of what a list costs is copying: its objects lie scattered over more memory than any processor keeps near. So a body hands the
//! connection the cache's own bytes, and the first copy is the one into the TLS record. Called by `body`, `packs` and the tables.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Shorter slices are copied: a part of its own costs more than that.
const SHARED_FROM_BYTES: usize = 256;

/// What a body gives the connection at a time.
#[derive(Clone, Debug)]
pub enum Pieces {
    One(Bytes),
    Many(Box<Row>),
}

/// Parts in their order.
#[derive(Clone, Debug, Default)]
pub struct Row {
    parts: VecDeque<Bytes>,
    left: usize,
}

/// Text that is being written, with slices of what the cache holds between.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub text: Vec<u8>,
    /// What stands before which byte of the text.
    shared: Vec<(usize, Bytes)>,
    shared_bytes: usize,
}

impl Row {
    pub fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.left += part.len();
            self.parts.push_back(part);
        }
    }
    pub fn left(&self) -> usize {
        self.left
    }
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter()
    }
}

impl Pieces {
    /// Together, for who needs them so.
    pub fn into_bytes(mut self) -> Bytes {
        self.copy_to_bytes(self.remaining())
    }
}

impl From<Row> for Pieces {
    fn from(row: Row) -> Self {
        Self::Many(Box::new(row))
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        Self::One(bytes)
    }
}

impl Draft {
    pub fn new(text: String) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
    pub fn share(&mut self, slice: Bytes) {
        if slice.len() < SHARED_FROM_BYTES {
            return self.text.extend_from_slice(&slice);
        }
        self.shared_bytes += slice.len();
        self.shared.push((self.text.len(), slice));
    }
    pub fn len(&self) -> usize {
        self.text.len() + self.shared_bytes
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// What was written, which is then gone from here.
    pub fn take(&mut self) -> Pieces {
        // What follows is about as long.
        let next = Self { text: Vec::with_capacity(self.text.len()), shared: Vec::with_capacity(self.shared.len()), shared_bytes: 0 };
        let Self { text, shared, .. } = std::mem::replace(self, next);
        let text = Bytes::from(text);
        if shared.is_empty() {
            return text.into();
        }
        let (mut row, mut done) = (Row::default(), 0);
        for (at, slice) in shared {
            row.push(text.slice(done..at));
            row.push(slice);
            done = at;
        }
        row.push(text.slice(done..));
        row.into()
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Many(row) => row.left,
        }
    }
    fn chunk(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(row) => row.parts.front().map_or(&[], |part| part),
        }
    }
    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::One(bytes) => bytes.chunks_vectored(slices),
            Self::Many(row) => slices.iter_mut().zip(&row.parts).map(|(slice, part)| *slice = IoSlice::new(part)).count(),
        }
    }
    fn advance(&mut self, mut count: usize) {
        let row = match self {
            Self::One(bytes) => return bytes.advance(count),
            Self::Many(row) => row,
        };
        assert!(count <= row.left, "cannot advance past what is left");
        row.left -= count;
        while let Some(part) = row.parts.front_mut().filter(|_| count > 0) {
            if count < part.len() {
                part.advance(count);
                return;
            }
            count -= part.len();
            row.parts.pop_front();
        }
    }
    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        match self {
            Self::One(bytes) => bytes.copy_to_bytes(length),
            Self::Many(row) if row.parts.front().is_some_and(|part| part.len() >= length) => {
                let taken = row.parts.front().map_or_else(Bytes::new, |part| part.slice(..length));
                self.advance(length);
                taken
            }
            Self::Many(_) => {
                let mut taken = Vec::with_capacity(length);
                while taken.len() < length {
                    let part = self.chunk();
                    let count = part.len().min(length - taken.len());
                    assert!(count > 0, "cannot copy more than is left");
                    taken.extend_from_slice(&part[..count]);
                    self.advance(count);
                }
                taken.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> Pieces {
        let mut row = Row::default();
        ["ab", "", "cde", "f"].into_iter().for_each(|part| row.push(Bytes::from_static(part.as_bytes())));
        row.into()
    }

    #[test]
    fn every_way_of_reading_gives_the_same() {
        for step in 1..=6 {
            let (mut advanced, mut copied) = (pieces(), pieces());
            let mut read = Vec::new();
            while advanced.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 2];
                let count = advanced.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                let taken = step.min(seen.len());
                read.extend_from_slice(&seen[..taken]);
                advanced.advance(taken);
            }
            assert_eq!(read, b"abcdef");
            let mut read = Vec::new();
            while copied.has_remaining() {
                let length = step.min(copied.remaining());
                read.extend_from_slice(&copied.copy_to_bytes(length));
            }
            assert_eq!(read, b"abcdef");
        }
    }

    #[test]
    fn a_draft_keeps_the_order_and_shares_what_is_long() {
        let long = Bytes::from(vec![b'x'; SHARED_FROM_BYTES]);
        let mut draft = Draft::new("a".to_owned());
        draft.share(Bytes::from_static(b"b"));
        draft.share(long.clone());
        draft.share(long.clone());
        draft.text.push(b'c');
        assert_eq!(draft.len(), 3 + 2 * long.len());
        let mut pieces = draft.take();
        assert!(draft.is_empty());
        let Pieces::Many(row) = &pieces else { panic!("one piece") };
        assert_eq!(row.parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, long.len(), long.len(), 1]);
        assert_eq!(row.parts[1].as_ptr(), long.as_ptr());
        assert_eq!(pieces.copy_to_bytes(pieces.remaining()), [b"ab", &long[..], &long[..], b"c"].concat());
    }
}
