//! One object as the cache holds it: wire bytes made once, and the few values that selectors ask for.
//!
//! In the store an object's JSON has no `resourceVersion` (a commit's revision is known only afterwards) and begins with
//! `apiVersion`, `kind`, `metadata`, so that the revision is spliced in with one copy and no parse. The copy is
//! at the same time the line that watchers get: the object's bytes are a slice of it.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use pintle_api::{Object, Status, object::ObjectExt};
use serde_json::Value;

use super::forms::Forms;

const MANAGERS: &str = "managedFields";
const METADATA: &[u8] = b"\"metadata\":{";
const VERSION: &[u8] = b"\"resourceVersion\":\"";
const LINE_END: &[u8] = b"}\n";
/// Most objects fit without their text being moved while it grows.
const COMMON_BYTES: usize = 4 << 10;
/// A parsed object takes several times its text.
const KEPT_PARSED_BYTES: usize = 2 << 10;

/// What a packed line takes beside its bytes.
const PACKED_BYTES: usize = 128;

/// What a watch line says of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}

impl Kind {
    pub const fn line_start(self) -> &'static [u8] {
        match self {
            Self::Added => b"{\"type\":\"ADDED\",\"object\":",
            Self::Modified => b"{\"type\":\"MODIFIED\",\"object\":",
            Self::Deleted => b"{\"type\":\"DELETED\",\"object\":",
        }
    }
}

/// Values that selectors compare, taken from the parsed object once, by whoever had it parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// `key NUL value NUL`, in key order: one allocation for all labels.
    labels: Box<str>,
    /// `value NUL` in the order of the resource's selectable fields.
    fields: Box<str>,
    /// One bit for each label, of [`label_bit`]: what lacks a selector's bit is passed over unread.
    bits: u64,
}

/// The bit that stands for a label with its value, FNV-1a folded to six bits.
pub fn label_bit(key: &str, value: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = key.bytes().chain([0]).chain(value.bytes()).fold(0xcbf2_9ce4_8422_2325, step);
    1 << ((hash ^ (hash >> 32)) % 64)
}

#[derive(Debug)]
pub struct Stored {
    /// `{"type":"ADDED","object":{...}}\n`
    line: Line,
    kind: Kind,
    pub revision: u64,
    /// `namespace/name`, or `name` of a cluster-scoped object.
    pub key: Arc<str>,
    pub index: Index,
    cells: OnceLock<Cells>,
    parsed: OnceLock<Arc<Object>>,
    metadata: OnceLock<Option<Range<u32>>>,
    pub forms: Forms,
}

/// The line of a superseded state is packed after a while, and unpacked for the first who asks.
#[derive(Debug)]
enum Line {
    Plain(Bytes),
    Packed(Box<PackedLine>),
}

#[derive(Debug)]
struct PackedLine {
    packed: Box<[u8]>,
    length: usize,
    plain: OnceLock<Bytes>,
}

/// What the object's row says, for the resource that made it.
#[derive(Debug)]
struct Cells {
    resource: u64,
    kept: KeptCells,
}

/// The text of a row's cells without what changes by itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeptCells {
    pub text: Box<[u8]>,
    /// Before which byte of the text a duration stands, and the nanosecond since 1970 that it counts from.
    pub since: Box<[(u32, i128)]>,
}

impl Index {
    pub fn of(object: &Object, fields: &[String]) -> Self {
        let (mut labels, mut bits) = (String::new(), 0);
        for (key, value) in object.map_at(&["metadata", "labels"]).into_iter().flatten() {
            labels.push_str(key);
            labels.push('\0');
            labels.push_str(value.as_str().unwrap_or_default());
            labels.push('\0');
            bits |= label_bit(key, value.as_str().unwrap_or_default());
        }
        let mut packed = String::new();
        for value in fields {
            packed.push_str(value);
            packed.push('\0');
        }
        Self { labels: labels.into(), fields: packed.into(), bits }
    }
    /// Whether labels with all these bits may be here.
    pub fn may_have(&self, bits: u64) -> bool {
        self.bits & bits == bits
    }
    pub fn label(&self, key: &str) -> Option<&str> {
        let mut parts = self.labels.split('\0');
        while let (Some(k), Some(v)) = (parts.next(), parts.next()) {
            if k == key {
                return Some(v);
            }
        }
        None
    }
    pub fn field(&self, position: usize) -> &str {
        self.fields.split('\0').nth(position).unwrap_or("")
    }
}

impl Stored {
    /// `value` is the stored form, without `resourceVersion`.
    pub fn new(key: Arc<str>, value: &[u8], revision: u64, created: bool, index: Index) -> Self {
        let kind = if created { Kind::Added } else { Kind::Modified };
        Self::of(Line::Plain(line(kind, value, revision)), kind, revision, key, index)
    }
    /// Nothing was made of it yet.
    fn of(line: Line, kind: Kind, revision: u64, key: Arc<str>, index: Index) -> Self {
        let (cells, parsed, metadata, forms) = (OnceLock::new(), OnceLock::new(), OnceLock::new(), Forms::default());
        Self { line, kind, revision, key, index, cells, parsed, metadata, forms }
    }
    /// The same object, indexed by other fields.
    pub fn with_index(&self, index: Index) -> Self {
        Self::of(Line::Plain(self.whole().clone()), self.kind, self.revision, self.key.clone(), index)
    }
    /// What [`Stored::keep_cells`] was given for that resource.
    pub fn cells(&self, resource: u64) -> Option<&KeptCells> {
        self.cells.get().filter(|c| c.resource == resource).map(|c| &c.kept)
    }
    /// Kept for the first resource that comes; another version of the same makes its own each time.
    pub fn keep_cells(&self, resource: u64, kept: KeptCells) {
        let _ = self.cells.set(Cells { resource, kept });
    }
    /// Where in the object's text its metadata stands; `find` is asked once.
    pub fn metadata_range(&self, find: impl FnOnce() -> Option<Range<usize>>) -> Option<Range<usize>> {
        let narrow = |range: Range<usize>| Some(u32::try_from(range.start).ok()?..u32::try_from(range.end).ok()?);
        let range = self.metadata.get_or_init(|| find().and_then(narrow)).clone()?;
        Some(range.start as usize..range.end as usize)
    }
    pub fn json(&self) -> Bytes {
        let line = self.whole();
        line.slice(self.kind.line_start().len()..line.len() - LINE_END.len())
    }
    /// A part of [`Stored::json`].
    pub fn part(&self, range: Range<usize>) -> Bytes {
        let start = self.kind.line_start().len();
        let line = self.whole();
        debug_assert!(start + range.end <= line.len() - LINE_END.len());
        line.slice(start + range.start..start + range.end)
    }
    pub fn as_slice(&self) -> &[u8] {
        let line = self.whole();
        &line[self.kind.line_start().len()..line.len() - LINE_END.len()]
    }
    /// The same state in less memory. `None`: it is packed already, or would take about as much.
    pub fn packed(&self) -> Option<Self> {
        let Line::Plain(line) = &self.line else { return None };
        let packed = lz4_flex::block::compress(line);
        if packed.len() + PACKED_BYTES > line.len() / 4 * 3 {
            return None;
        }
        let line = Line::Packed(Box::new(PackedLine { packed: packed.into(), length: line.len(), plain: OnceLock::new() }));
        Some(Self::of(line, self.kind, self.revision, self.key.clone(), self.index.clone()))
    }
    #[cfg(test)]
    pub fn is_packed(&self) -> bool {
        matches!(self.line, Line::Packed(_))
    }
    fn whole(&self) -> &Bytes {
        match &self.line {
            Line::Plain(line) => line,
            Line::Packed(line) => line.plain.get_or_init(|| line.unpack()),
        }
    }
    pub fn parse(&self) -> Result<Object, Status> {
        serde_json::from_slice(self.as_slice()).map_err(|e| Status::internal(format!("unreadable object {}: {e}", self.key)))
    }
    /// Kept for the next one who asks, when it is small: what admission looks at is (classes, namespaces, service accounts), and is the same for every Pod.
    pub fn parse_shared(&self) -> Result<Arc<Object>, Status> {
        if let Some(kept) = self.parsed.get() {
            return Ok(kept.clone());
        }
        let object = Arc::new(self.parse()?);
        if self.as_slice().len() <= KEPT_PARSED_BYTES {
            let _ = self.parsed.set(object.clone());
        }
        Ok(object)
    }
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }
    /// The line as it was made, where it says `kind`; else a new one.
    pub fn line(&self, kind: Kind) -> Bytes {
        if self.kind == kind {
            return self.whole().clone();
        }
        let json = self.as_slice();
        let mut out = BytesMut::with_capacity(json.len() + 32);
        out.put_slice(kind.line_start());
        out.put_slice(json);
        out.put_slice(LINE_END);
        out.freeze()
    }
    /// The last state at the revision of its deletion.
    pub fn deleted_line(&self, revision: u64) -> Bytes {
        let json = self.as_slice();
        let start = version_start(json);
        let end = start + memchr::memchr(b'"', &json[start..]).unwrap_or(0);
        let mut out = BytesMut::with_capacity(json.len() + 40);
        out.put_slice(Kind::Deleted.line_start());
        out.put_slice(&json[..start]);
        out.put_slice(itoa::Buffer::new().format(revision).as_bytes());
        out.put_slice(&json[end..]);
        out.put_slice(LINE_END);
        out.freeze()
    }
    /// The object inside a line of the given kind.
    pub fn object_of_line(line: &Bytes, kind: Kind) -> Bytes {
        line.slice(kind.line_start().len()..line.len() - LINE_END.len())
    }
}

impl PackedLine {
    fn unpack(&self) -> Bytes {
        lz4_flex::block::decompress(&self.packed, self.length).expect("what was packed here is unpacked again").into()
    }
}

/// The stored form: compact, `apiVersion`, `kind` and `metadata` first, no `resourceVersion`.
pub fn encode(object: &Object) -> Bytes {
    encode_with(object, "")
}

/// The same of an object whose `managedFields` are not in it but beside it, as JSON text. Empty: it has none.
pub fn encode_with(object: &Object, managers: &str) -> Bytes {
    let mut out = Vec::with_capacity(COMMON_BYTES);
    let empty = serde_json::Map::new();
    let map = object.as_object().unwrap_or(&empty);
    out.push(b'{');
    for key in ["apiVersion", "kind", "metadata"] {
        if out.len() > 1 {
            out.push(b',');
        }
        write_json(&mut out, &Value::String(key.to_owned()));
        out.push(b':');
        match (key, map.get(key)) {
            ("metadata", Some(Value::Object(metadata))) => write_metadata(&mut out, metadata, managers),
            ("metadata", _) => out.extend_from_slice(b"{}"),
            (_, Some(value)) => write_json(&mut out, value),
            (_, None) => out.extend_from_slice(b"\"\""),
        }
    }
    for (key, value) in map {
        if matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        out.push(b',');
        write_json(&mut out, key);
        out.push(b':');
        write_json(&mut out, value);
    }
    out.push(b'}');
    out.into()
}

fn write_metadata(out: &mut Vec<u8>, metadata: &serde_json::Map<String, Value>, managers: &str) {
    out.push(b'{');
    let mut first = true;
    let mut key_and_colon = |out: &mut Vec<u8>, key: &str| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write_json(out, key);
        out.push(b':');
    };
    let mut managers = Some(managers).filter(|text| !text.is_empty());
    for (key, value) in metadata {
        if matches!(key.as_str(), "resourceVersion" | "selfLink") {
            continue;
        }
        if key.as_str() > MANAGERS
            && let Some(text) = managers.take()
        {
            key_and_colon(out, MANAGERS);
            out.extend_from_slice(text.as_bytes());
        }
        key_and_colon(out, key);
        write_json(out, value);
    }
    if let Some(text) = managers {
        key_and_colon(out, MANAGERS);
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b'}');
}

fn write_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("a JSON value is always written to memory");
}

/// The wire form of an object that never reached the store.
pub fn encode_wire(object: &Object) -> Bytes {
    match object.resource_version().parse() {
        Ok(revision) => wire(&encode(object), revision),
        Err(_) => encode(object),
    }
}

/// The wire form of a stored value at a revision, without the line around it.
pub fn wire(value: &[u8], revision: u64) -> Bytes {
    Stored::object_of_line(&line(Kind::Added, value, revision), Kind::Added)
}

fn line(kind: Kind, value: &[u8], revision: u64) -> Bytes {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(revision).as_bytes();
    let mut out = BytesMut::with_capacity(value.len() + kind.line_start().len() + VERSION.len() + digits.len() + 4);
    out.put_slice(kind.line_start());
    match memchr::memmem::find(value, METADATA) {
        Some(at) => {
            let cut = at + METADATA.len();
            out.put_slice(&value[..cut]);
            out.put_slice(VERSION);
            out.put_slice(digits);
            out.put_u8(b'"');
            if value.get(cut) != Some(&b'}') {
                out.put_u8(b',');
            }
            out.put_slice(&value[cut..]);
        }
        None => out.put_slice(value),
    }
    out.put_slice(LINE_END);
    out.freeze()
}

fn version_start(json: &[u8]) -> usize {
    memchr::memmem::find(json, METADATA).map_or(0, |at| at + METADATA.len() + VERSION.len())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn stored() -> Stored {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"metadata": "{\"metadata\":{"},
            "metadata": {"name": "a", "namespace": "n", "resourceVersion": "3", "labels": {"b": "2", "a": "1"}}});
        Stored::new("n/a".into(), &encode(&object), 7, true, Index::of(&object, &["x".into(), String::new(), "z".into()]))
    }

    #[test]
    fn lines_share_the_objects_bytes() {
        let stored = stored();
        let show = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        expect![[r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"7","labels":{"a":"1","b":"2"},"name":"a","namespace":"n"},"data":{"metadata":"{\"metadata\":{"}}"#]]
            .assert_eq(&show(stored.as_slice()));
        assert_eq!(stored.line(Kind::Added).as_ptr().wrapping_add(Kind::Added.line_start().len()), stored.json().as_ptr());
        assert!(show(&stored.deleted_line(4711)).contains(r#""resourceVersion":"4711","labels""#));
        assert!(show(&stored.line(Kind::Modified)).starts_with(r#"{"type":"MODIFIED","object":{"apiVersion""#));
    }

    #[test]
    fn a_packed_state_says_the_same() {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"b": "2"}}, "data": {"k": "x".repeat(1000)}});
        let plain = Stored::new("n/a".into(), &encode(&object), 7, true, Index::of(&object, &[]));
        let packed = plain.packed().expect("it packs well");
        assert!(packed.packed().is_none());
        assert_eq!(packed.index, plain.index);
        assert_eq!((packed.line(Kind::Added), packed.json()), (plain.line(Kind::Added), plain.json()));
        assert_eq!(packed.deleted_line(9), plain.deleted_line(9));
        assert!(stored().packed().is_none(), "it is too short to be worth it");
    }

    #[test]
    fn managers_beside_the_object_stand_where_they_would_in_it() {
        let managers = json!([{"manager": "m", "fieldsV1": {"f:data": {}}}]);
        for metadata in
            [json!({}), json!({"labels": {}, "name": "a", "uid": "u"}), json!({"annotations": {}}), json!({"name": "a", "resourceVersion": "1"})]
        {
            let without = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
            let mut with = without.clone();
            with["metadata"]["managedFields"] = managers.clone();
            assert_eq!(encode_with(&without, &managers.to_string()), encode(&with));
            assert_eq!(encode_with(&without, ""), encode(&without));
        }
    }

    #[test]
    fn index_answers_selectors() {
        let index = stored().index;
        assert_eq!((index.label("a"), index.label("b"), index.label("2")), (Some("1"), Some("2"), None));
        assert_eq!((index.field(0), index.field(1), index.field(2)), ("x", "", "z"));
    }
}
