//! From an object's JSON text to the wire form, in one pass over the text and without a tree of values.
//!
//! The bytes are those of upstream's generated code: fields in the order of their numbers, maps in the order of their keys, single
//! fields that are no pointers always there. JSON has its members in another order, so each message's fields are first written
//! as they come, and put in order when the message ends. Members that the table does not know are left out; null is absence.

use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Error;
use super::layout::{Layout, Leaf, Node};
use super::messages::{Field, Kind, Messages};
use super::special::{self, Special};
use super::wire::{self, BYTES, FIXED64, VARINT};

/// Where a field's bytes lie; nothing was written where both are equal.
type Span = (usize, usize);

/// Of one entry of a map: itself, and its key within.
type Entry = (Span, Span);

/// The buffers that every message of an object, and every object of a list, is made in.
pub struct Writer {
    table: &'static Messages,
    out: Vec<u8>,
    /// Messages put in order, on their way back to `out`.
    ordered: Vec<u8>,
    /// Of the messages that are open, the innermost last.
    spans: Vec<Span>,
    entries: Vec<Entry>,
}

impl Writer {
    pub fn new(table: &'static Messages) -> Self {
        Self { table, out: Vec::new(), ordered: Vec::new(), spans: Vec::new(), entries: Vec::new() }
    }

    /// One message's fields, without key and length.
    pub fn message(&mut self, place: usize, json: &[u8]) -> Result<&[u8], Error> {
        self.out.clear();
        self.ordered.clear();
        self.spans.clear();
        self.entries.clear();
        let text = std::str::from_utf8(json).map_err(|_| Error::Text)?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let body = Body { writer: self, place, number: None };
        body.deserialize(&mut reader).map_err(|why| Error::Json(why.to_string()))?;
        Ok(&self.out)
    }

    /// Turns what was written since `start` into a field.
    fn wrap(&mut self, start: usize, number: u32) {
        let length = self.out.len() - start;
        let body_end = self.out.len();
        wire::key(&mut self.out, number, BYTES);
        wire::varint(&mut self.out, length as u64);
        let head = self.out.len() - body_end;
        self.out[start..].rotate_right(head);
    }

    /// Puts the fields of the message that began at `start` in order.
    fn close(&mut self, layout: &Layout, base: usize, start: usize, number: Option<u32>) {
        let from = self.ordered.len();
        let spans = &self.spans[base..];
        put(&layout.nodes, layout, spans, &self.out, &mut self.ordered);
        self.spans.truncate(base);
        self.out.truncate(start);
        if let Some(number) = number {
            wire::key(&mut self.out, number, BYTES);
            wire::varint(&mut self.out, (self.ordered.len() - from) as u64);
        }
        self.out.extend_from_slice(&self.ordered[from..]);
        self.ordered.truncate(from);
    }

    /// Puts the entries of the map that began at `start` in the order of their keys, if they are not.
    fn close_map(&mut self, base: usize, start: usize) {
        let out = &self.out;
        let key = |entry: &Entry| &out[entry.1.0..entry.1.1];
        if !self.entries[base..].is_sorted_by_key(key) {
            self.entries[base..].sort_by(|a, b| key(a).cmp(key(b)));
            let from = self.ordered.len();
            for ((begin, end), _) in &self.entries[base..] {
                self.ordered.extend_from_slice(&self.out[*begin..*end]);
            }
            self.out.truncate(start);
            self.out.extend_from_slice(&self.ordered[from..]);
            self.ordered.truncate(from);
        }
        self.entries.truncate(base);
    }
}

fn put(nodes: &[Node], layout: &Layout, spans: &[Span], from: &[u8], to: &mut Vec<u8>) {
    for node in nodes {
        match node {
            Node::Leaf(leaf) => to.extend_from_slice(bytes_of(*leaf, layout, spans, from)),
            Node::Group { number, nodes } => {
                wire::key(to, *number, BYTES);
                wire::varint(to, length(nodes, layout, spans, from) as u64);
                put(nodes, layout, spans, from, to);
            }
        }
    }
}

fn length(nodes: &[Node], layout: &Layout, spans: &[Span], from: &[u8]) -> usize {
    let of = |node: &Node| match node {
        Node::Leaf(leaf) => bytes_of(*leaf, layout, spans, from).len(),
        Node::Group { number, nodes } => {
            let inner = length(nodes, layout, spans, from);
            wire::varint_length(u64::from(*number) << 3) + wire::varint_length(inner as u64) + inner
        }
    };
    nodes.iter().map(of).sum()
}

fn bytes_of<'a>(leaf: usize, layout: &'a Layout, spans: &[Span], from: &'a [u8]) -> &'a [u8] {
    match spans[leaf] {
        (start, end) if start < end => &from[start..end],
        _ => &layout.leaves[leaf].absent,
    }
}

/// A message without a special form.
struct Body<'w> {
    writer: &'w mut Writer,
    place: usize,
    /// Of the field that it is; `None` for the outermost, which has no key.
    number: Option<u32>,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let writer = self.writer;
        let layout = writer.table.layout(self.place);
        let (base, start) = (writer.spans.len(), writer.out.len());
        writer.spans.resize(base + layout.leaves.len(), (0, 0));
        while let Some(found) = members.next_key_seed(Name(layout))? {
            let Some(leaf) = found else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            let Leaf { field, .. } = &layout.leaves[leaf];
            let begin = writer.out.len();
            members.next_value_seed(Slot { writer, field, number: field.number, one: false })?;
            writer.spans[base + leaf] = (begin, writer.out.len());
        }
        writer.close(layout, base, start, self.number);
        Ok(())
    }
}

/// A member's name, looked up.
struct Name(&'static Layout);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.leaf(name))
    }
}

/// A field's value, or one of its values.
struct Slot<'w> {
    writer: &'w mut Writer,
    field: &'static Field,
    /// The field's own, or 2 for the value of a map's entry.
    number: u32,
    /// One element of a repeated field, or one value of a map.
    one: bool,
}

impl Slot<'_> {
    fn special(&self) -> Option<Special> {
        match self.field.kind {
            Kind::Message(place) if self.one || !(self.field.map || self.field.repeated) => self.writer.table.at(place).special,
            _ => None,
        }
    }
    /// What Go's zero value gives: null stands for it in lists and maps.
    fn zero(&mut self) {
        let bytes = self.writer.table.zero(self.field, self.number);
        self.writer.out.extend_from_slice(&bytes);
    }
    fn text(&mut self, text: &str) {
        wire::bytes(&mut self.writer.out, self.number, text.as_bytes());
    }
    fn integer(&mut self, value: i64) {
        wire::key(&mut self.writer.out, self.number, VARINT);
        wire::varint(&mut self.writer.out, value.cast_unsigned());
    }
    fn double(&mut self, value: f64) {
        wire::key(&mut self.writer.out, self.number, FIXED64);
        self.writer.out.extend_from_slice(&value.to_le_bytes());
    }
    /// The only field of a wrapping message, made by `make`.
    fn wrapped<E>(self, make: impl FnOnce(&mut Writer) -> Result<(), E>) -> Result<(), E> {
        let start = self.writer.out.len();
        make(self.writer)?;
        self.writer.wrap(start, self.number);
        Ok(())
    }
    fn map<'de, A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Slot { writer, field, number, .. } = self;
        let (base, start) = (writer.entries.len(), writer.out.len());
        while members.next_key_seed(Key(writer))?.is_some() {
            let from = writer.entries.last().map_or(start, |entry| entry.0.0);
            let key = writer.entries.last().map_or((0, 0), |entry| entry.1);
            members.next_value_seed(Slot { writer, field, number: 2, one: true })?;
            let before = writer.out.len();
            writer.wrap(from, number);
            let head = writer.out.len() - before;
            if let Some(entry) = writer.entries.last_mut() {
                *entry = ((from, before + head), (key.0 + head, key.1 + head));
            }
        }
        writer.close_map(base, start);
        Ok(())
    }
    fn list<'de, A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Slot { writer, field, number, .. } = self;
        while elements.next_element_seed(Slot { writer, field, number, one: true })?.is_some() {}
        Ok(())
    }
}

/// A map's key: the first field of a new entry.
struct Key<'w>(&'w mut Writer);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<(), E> {
        let Writer { out, entries, .. } = self.0;
        let start = out.len();
        wire::bytes(out, 1, key.as_bytes());
        entries.push(((start, out.len()), (out.len() - key.len(), out.len())));
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<(), D::Error> {
        if self.special() != Some(Special::Embedded) {
            return deserializer.deserialize_any(self);
        }
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        match raw {
            "null" if self.one => self.zero(),
            "null" => {}
            _ => self.wrapped(|writer| {
                wire::bytes(&mut writer.out, 1, raw.as_bytes());
                Ok::<(), D::Error>(())
            })?,
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of {:?}", self.field.json)
    }
    fn visit_unit<E>(mut self) -> Result<(), E> {
        if self.one {
            self.zero();
        }
        Ok(())
    }
    fn visit_bool<E: serde::de::Error>(mut self, value: bool) -> Result<(), E> {
        match self.special() {
            Some(Special::SchemaOrBool) => {
                let body = [1 << 3, u8::from(value)];
                wire::bytes(&mut self.writer.out, self.number, &body);
            }
            None if self.field.kind == Kind::Boolean => self.integer(i64::from(value)),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
        Ok(())
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.visit_i64(value.cast_signed())
    }
    fn visit_i64<E: serde::de::Error>(mut self, value: i64) -> Result<(), E> {
        match (self.field.kind, self.special()) {
            (Kind::Integer, _) => self.integer(value),
            (Kind::Double, _) => self.double(value as f64),
            (_, Some(Special::IntOrString)) => special::put_int(&mut self.writer.out, self.number, value),
            (_, Some(Special::Quantity)) => special::put_quantity(&mut self.writer.out, self.number, &value.to_string()),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Signed(value), &self)),
        }
        Ok(())
    }
    fn visit_f64<E: serde::de::Error>(mut self, value: f64) -> Result<(), E> {
        match (self.field.kind, self.special()) {
            (Kind::Integer, _) if value.fract() == 0.0 => self.integer(value as i64),
            (Kind::Double, _) => self.double(value),
            (_, Some(Special::Quantity)) => special::put_quantity(&mut self.writer.out, self.number, &value.to_string()),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
        }
        Ok(())
    }
    fn visit_str<E: serde::de::Error>(mut self, text: &str) -> Result<(), E> {
        let special = self.special();
        let Slot { writer, field, number, .. } = &mut self;
        let fits = match (field.kind, special) {
            (Kind::Text, _) => {
                self.text(text);
                true
            }
            (Kind::Bytes, _) => special::put_base64(&mut writer.out, *number, text),
            (_, Some(special)) => special.put_text(&mut writer.out, *number, text),
            _ => false,
        };
        if fits { Ok(()) } else { Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)) }
    }
    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<(), A::Error> {
        if self.field.repeated && !self.one {
            return self.list(elements);
        }
        // Messages that stand for a list have it in their only repeated field.
        let Kind::Message(place) = self.field.kind else { return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self)) };
        let inner = match self.special() {
            Some(Special::Items | Special::SchemaOrArray | Special::SchemaOrStrings) => self.writer.table.layout(place).repeated(),
            _ => None,
        };
        let Some(field) = inner else { return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self)) };
        self.wrapped(|writer| Slot { writer, field, number: field.number, one: false }.list(elements))
    }
    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        if self.field.map && !self.one {
            return self.map(members);
        }
        let Kind::Message(place) = self.field.kind else { return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self)) };
        match self.special() {
            None => Body { writer: self.writer, place, number: Some(self.number) }.visit_map(members),
            Some(special @ (Special::SchemaOrArray | Special::SchemaOrBool | Special::SchemaOrStrings)) => {
                let Some((number, schema)) = self.writer.table.layout(place).message() else {
                    return Err(A::Error::custom("no schema in the table"));
                };
                let allows = special == Special::SchemaOrBool;
                self.wrapped(|writer| {
                    if allows {
                        writer.out.extend([1 << 3, 1]);
                    }
                    Body { writer, place: schema, number: Some(number) }.visit_map(members)
                })
            }
            Some(_) => Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self)),
        }
    }
}
