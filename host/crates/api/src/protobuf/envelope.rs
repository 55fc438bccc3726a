//! What stands around a message: the magic number and `runtime.Unknown` of an object, the parts of a list that is sent piece by
//! piece, and the frame of a watch event.

use serde_json::Value;

use super::encode::Writer;
use super::messages::{Kind, Messages};
use super::wire::{self, BYTES};
use super::{Error, MAGIC};

/// `contentEncoding` and `contentType` of `runtime.Unknown`, both empty and always there.
const TAIL: [u8; 4] = [3 << 3 | BYTES, 0, 4 << 3 | BYTES, 0];
const LENGTH_BYTES: usize = 4;

/// Writes objects of one kind. Keeps its buffers between objects.
pub struct Encoder {
    writer: Writer,
    place: usize,
    /// Up to the length of the raw message.
    head: Vec<u8>,
}

/// Writes the items of one kind of list, and what stands before and behind them.
pub struct ListEncoder {
    writer: Writer,
    items: u32,
    item: usize,
    metadata: u32,
    metadata_place: usize,
    head: Vec<u8>,
}

impl Encoder {
    /// `None`: the kind has no protobuf form.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let table = Messages::get();
        let place = table.of_kind(api_version, kind)?;
        Some(Self { writer: Writer::new(table), place, head: head(api_version, kind) })
    }

    /// Appends the object with its envelope.
    pub fn object(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let raw = self.writer.message(self.place, json)?;
        out.reserve(self.head.len() + raw.len() + TAIL.len() + wire::varint_length(raw.len() as u64));
        out.extend_from_slice(&self.head);
        wire::varint(out, raw.len() as u64);
        out.extend_from_slice(raw);
        out.extend(TAIL);
        Ok(())
    }
}

impl ListEncoder {
    pub fn of(api_version: &str, list_kind: &str) -> Option<Self> {
        let table = Messages::get();
        let list = table.at(table.of_kind(api_version, list_kind)?);
        let message = |name: &str| {
            let field = list.fields.iter().find(|field| field.json == name)?;
            match field.kind {
                Kind::Message(place) => Some((field.number, place)),
                _ => None,
            }
        };
        let ((items, item), (metadata, metadata_place)) = (message("items")?, message("metadata")?);
        Some(Self { writer: Writer::new(table), items, item, metadata, metadata_place, head: head(api_version, list_kind) })
    }

    /// Appends an item as the list holds it.
    pub fn item(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let raw = self.writer.message(self.item, json)?;
        wire::bytes(out, self.items, raw);
        Ok(())
    }

    /// What stands before and behind items of this many bytes.
    pub fn around(&mut self, metadata: &Value, items: u64) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let mut field = Vec::new();
        let raw = self.writer.message(self.metadata_place, metadata.to_string().as_bytes())?;
        wire::bytes(&mut field, self.metadata, raw);
        let mut head = self.head.clone();
        wire::varint(&mut head, items + field.len() as u64);
        let mut tail = Vec::new();
        if self.metadata < self.items {
            head.append(&mut field)
        } else {
            tail.append(&mut field)
        }
        tail.extend(TAIL);
        Ok((head, tail))
    }
}

/// One frame of a watch: its length, then a `WatchEvent` with the enveloped object.
pub fn watch_frame(event: &str, object: &[u8], out: &mut Vec<u8>) {
    let embedded = 1 + wire::varint_length(object.len() as u64) + object.len();
    let length = 1 + wire::varint_length(event.len() as u64) + event.len() + 1 + wire::varint_length(embedded as u64) + embedded;
    out.reserve(LENGTH_BYTES + length);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    wire::bytes(out, 1, event.as_bytes());
    wire::key(out, 2, BYTES);
    wire::varint(out, embedded as u64);
    wire::bytes(out, 1, object);
}

fn head(api_version: &str, kind: &str) -> Vec<u8> {
    let mut meta = Vec::new();
    wire::bytes(&mut meta, 1, api_version.as_bytes());
    wire::bytes(&mut meta, 2, kind.as_bytes());
    let mut head = MAGIC.to_vec();
    wire::bytes(&mut head, 1, &meta);
    wire::key(&mut head, 2, BYTES);
    head
}
