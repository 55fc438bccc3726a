//! Bodies of answers: whole, a list put together while it is sent, or a stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream::BoxStream;
use http_body::{Frame, SizeHint};
use pintle_api::Status;

use super::packs::PackedList;
use crate::audit::Pending;
use crate::cache::Stored;
use crate::pieces::{Draft, Pieces, Row};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is written of a list at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// What is handed over at a time where most is the cache's own bytes: little is made for it, so that it may be more.
const SHARED_CHUNK_BYTES: usize = 256 << 10;
/// What stands between the items of a list.
const COMMA: &[u8] = b",";

pub enum Body {
    Full(Bytes),
    List(ListBody),
    Made(MadeList),
    Gzip(Box<GzipList>),
    Packed(Box<PackedList>),
    Stream(BoxStream<'static, Result<Bytes, BoxError>>),
    Proxied(hyper::body::Incoming),
    /// A stream whose audit event completes with it.
    Audited(Box<Body>, Option<Pending>),
}

/// `head` item item ... `tail`, with commas between items where the form has them, without a copy of the whole.
#[derive(Clone)]
pub struct ListBody {
    head: Bytes,
    items: VecDeque<Item>,
    tail: Bytes,
    left: u64,
    first: bool,
    commas: bool,
}

/// An object as the cache holds it, or bytes made for this answer.
#[derive(Clone)]
pub enum Item {
    Shared(Arc<Stored>),
    Made(Bytes),
}

/// Writes one object in the form that a list was asked in.
pub type Write = Arc<dyn Fn(&Stored, &mut Draft) -> Result<(), Status> + Send + Sync>;

/// The same of objects in another form than the cache's: each is written when its chunk is due, so that only a chunk exists at a time.
#[derive(Clone)]
pub struct MadeList {
    /// What is written already.
    begin: Draft,
    items: std::vec::IntoIter<Arc<Stored>>,
    write: Write,
    tail: Option<Bytes>,
    first: bool,
}

pub struct GzipList {
    chunks: Chunks,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

#[derive(Clone)]
enum Chunks {
    Shared(ListBody),
    Made(MadeList),
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Self::Shared(stored) => stored.as_slice().len(),
            Self::Made(bytes) => bytes.len(),
        }
    }
    fn into_bytes(self) -> Bytes {
        match self {
            Self::Shared(stored) => stored.json(),
            Self::Made(bytes) => bytes,
        }
    }
}

impl ListBody {
    pub fn json(head: Bytes, items: VecDeque<Item>, tail: Bytes) -> Self {
        Self::new(head, items, tail, true)
    }
    /// Parts that follow one another.
    pub fn parts(head: Bytes, parts: impl IntoIterator<Item = Bytes>, tail: Bytes) -> Self {
        Self::new(head, parts.into_iter().map(Item::Made).collect(), tail, false)
    }
    fn new(head: Bytes, items: VecDeque<Item>, tail: Bytes, with_commas: bool) -> Self {
        let commas = if with_commas { items.len().saturating_sub(1) } else { 0 };
        let left = head.len() + tail.len() + commas + items.iter().map(Item::len).sum::<usize>();
        Self { head, items, tail, left: left as u64, first: true, commas: with_commas }
    }
    pub fn len(&self) -> u64 {
        self.left
    }
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
    /// The whole, for the forms that are made from it.
    pub fn collect(mut self) -> Bytes {
        let mut out = Vec::with_capacity(self.left as usize);
        while let Some(chunk) = self.next() {
            chunk.iter().for_each(|part| out.extend_from_slice(part));
        }
        out.into()
    }
    pub fn gzip(self) -> Body {
        GzipList::of(Chunks::Shared(self))
    }

    fn next(&mut self) -> Option<Row> {
        if self.left == 0 {
            return None;
        }
        let mut out = Row::default();
        out.push(std::mem::take(&mut self.head));
        while out.left() < SHARED_CHUNK_BYTES {
            let Some(item) = self.items.pop_front() else {
                out.push(std::mem::take(&mut self.tail));
                break;
            };
            if !std::mem::take(&mut self.first) && self.commas {
                out.push(Bytes::from_static(COMMA));
            }
            out.push(item.into_bytes());
        }
        self.left = self.left.saturating_sub(out.left() as u64);
        Some(out)
    }
}

impl MadeList {
    pub fn new(head: String, items: Vec<Arc<Stored>>, write: Write, tail: &'static str) -> Self {
        Self { begin: Draft::new(head), items: items.into_iter(), write, tail: Some(Bytes::from_static(tail.as_bytes())), first: true }
    }
    /// Writes about so many bytes now. True: there is more.
    pub fn begin(&mut self, bytes: usize) -> Result<bool, Status> {
        self.fill(bytes, bytes)?;
        Ok(self.tail.is_some())
    }
    pub fn collect(mut self) -> Result<Bytes, Status> {
        self.fill(usize::MAX, usize::MAX)?;
        Ok(self.begin.take().into_bytes())
    }
    pub fn gzip(self) -> Body {
        GzipList::of(Chunks::Made(self))
    }

    /// `made`: how much of it may be text that was made for this answer.
    fn fill(&mut self, bytes: usize, made: usize) -> Result<(), Status> {
        while self.begin.len() < bytes && self.begin.text.len() < made {
            let Some(item) = self.items.next() else {
                self.begin.text.extend_from_slice(&self.tail.take().unwrap_or_default());
                break;
            };
            if !std::mem::take(&mut self.first) {
                self.begin.text.push(b',');
            }
            (self.write)(&item, &mut self.begin)?;
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Result<Pieces, BoxError>> {
        if let Err(why) = self.fill(SHARED_CHUNK_BYTES, CHUNK_BYTES) {
            return Some(Err(why.message.into()));
        }
        (!self.begin.is_empty()).then(|| Ok(self.begin.take()))
    }
}

impl Chunks {
    fn next(&mut self) -> Option<Result<Pieces, BoxError>> {
        match self {
            Self::Shared(list) => list.next().map(|row| Ok(row.into())),
            Self::Made(list) => list.next(),
        }
    }
}

impl GzipList {
    fn of(chunks: Chunks) -> Body {
        let encoder = GzEncoder::new(Vec::with_capacity(CHUNK_BYTES), Compression::fast());
        Body::Gzip(Box::new(Self { chunks, encoder: Some(encoder) }))
    }

    fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        let mut encoder = self.encoder.take()?;
        let done = loop {
            let Some(chunk) = self.chunks.next() else { break true };
            if let Err(why) = chunk.and_then(|chunk| Ok(std::io::copy(&mut chunk.reader(), &mut encoder)?)) {
                return Some(Err(why));
            }
            if encoder.get_ref().len() >= CHUNK_BYTES / 2 {
                break false;
            }
        };
        if done {
            return Some(encoder.finish().map(Bytes::from).map_err(Into::into));
        }
        let out = std::mem::replace(encoder.get_mut(), Vec::with_capacity(CHUNK_BYTES));
        self.encoder = Some(encoder);
        Some(Ok(out.into()))
    }
}

impl Body {
    /// The whole, unpacked, while nothing of it was sent. `None`: it is not known yet.
    pub fn peek(&self) -> Option<Bytes> {
        match self {
            Self::Full(bytes) => Some(bytes.clone()),
            Self::List(list) => Some(list.clone().collect()),
            Self::Made(list) => list.clone().collect().ok(),
            Self::Gzip(gzip) => match gzip.chunks.clone() {
                Chunks::Shared(list) => Some(list.collect()),
                Chunks::Made(list) => list.collect().ok(),
            },
            Self::Packed(list) => list.unpacked(),
            Self::Stream(_) | Self::Proxied(_) | Self::Audited(..) => None,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Full(bytes)
    }
}

impl http_body::Body for Body {
    type Data = Pieces;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Pieces>, BoxError>>> {
        let next = match &mut *self {
            Self::Full(bytes) => (!bytes.is_empty()).then(|| Ok(std::mem::take(bytes).into())),
            Self::List(list) => list.next().map(|row| Ok(row.into())),
            Self::Made(list) => list.next(),
            Self::Gzip(list) => list.next().map(|chunk| chunk.map(Pieces::from)),
            Self::Packed(list) => list.next_pieces(),
            Self::Stream(stream) => return stream.as_mut().poll_next(cx).map(|next| next.map(|chunk| chunk.map(|chunk| Frame::data(chunk.into())))),
            Self::Proxied(body) => {
                return Pin::new(body)
                    .poll_frame(cx)
                    .map(|next| next.map(|frame| frame.map(|frame| frame.map_data(Pieces::from)).map_err(Into::into)));
            }
            Self::Audited(body, pending) => {
                let frame = Pin::new(&mut **body).poll_frame(cx);
                if matches!(frame, Poll::Ready(None)) {
                    pending.take();
                }
                return frame;
            }
        };
        Poll::Ready(next.map(|chunk| chunk.map(Frame::data)))
    }
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Made(list) => list.tail.is_none() && list.begin.is_empty(),
            Self::Gzip(list) => list.encoder.is_none(),
            Self::Packed(list) => list.is_over(),
            Self::Stream(_) => false,
            Self::Proxied(body) => body.is_end_stream(),
            Self::Audited(body, _) => body.is_end_stream(),
        }
    }
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::List(list) => SizeHint::with_exact(list.len()),
            Self::Made(_) | Self::Gzip(_) | Self::Packed(_) | Self::Stream(_) => SizeHint::default(),
            Self::Audited(body, _) => body.size_hint(),
            Self::Proxied(body) => body.size_hint(),
        }
    }
}
