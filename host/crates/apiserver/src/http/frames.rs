//! Watch events as protobuf frames. The frames of the newest events are kept for a while, so that an event that many watch is
//! encoded once and not once for each. Called by `rest`; the JSON lines come from the watch, whatever shape they were given.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pintle_api::Status;
use pintle_api::protobuf::{self, Encoder};

use super::negotiate::{self, Shape};
use crate::resources::Resource;

/// All kept frames together. Watchers read in batches of hundreds of events, one watcher after the other.
const KEPT_BYTES: usize = 2 << 20;
const VERSION: &[u8] = b"\"metadata\":{\"resourceVersion\":\"";
/// Behind this many bytes of an object nobody looks for its revision: `apiVersion` and `kind` stand before it, no more.
const VERSION_WITHIN_BYTES: usize = 400;

/// Resource, revision and kind of event: together they say which bytes go out.
type Key = (u64, u64, u8);

/// Frames of the newest events, for all watches of the server.
#[derive(Default)]
pub struct SharedFrames(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    frames: HashMap<Key, Bytes>,
    order: VecDeque<Key>,
    bytes: usize,
}

/// Turns the lines of one watch into frames.
pub struct Frames {
    shared: Arc<SharedFrames>,
    serial: u64,
    shape: Shape,
    objects: Encoder,
    object: Vec<u8>,
}

impl SharedFrames {
    fn get(&self, key: &Key) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).frames.get(key).cloned()
    }
    fn keep(&self, key: Key, frame: Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if frame.len() > KEPT_BYTES / 4 || kept.frames.contains_key(&key) {
            return;
        }
        kept.bytes += frame.len();
        kept.order.push_back(key);
        kept.frames.insert(key, frame);
        while kept.bytes > KEPT_BYTES
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.bytes -= kept.frames.remove(&oldest).map_or(0, |frame| frame.len());
        }
    }
}

impl Frames {
    pub fn of(shared: Arc<SharedFrames>, resource: &Resource, shape: Shape) -> Result<Self, Status> {
        let objects = match shape {
            Shape::Metadata(version) => Encoder::of(version.api_version(), "PartialObjectMetadata"),
            Shape::Whole | Shape::Table { .. } => Encoder::of(&resource.api_version, &resource.def().kind),
        };
        let objects = objects.ok_or_else(|| negotiate::not_acceptable(true))?;
        Ok(Self { shared, serial: resource.serial, shape, objects, object: Vec::new() })
    }

    /// Appends the frame of one line, which begins as [`crate::cache::Kind::line_start`] has it.
    pub fn frame(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Status> {
        let (event, json) = parts(line).ok_or_else(|| Status::internal("a watch line is broken"))?;
        let Some(key) = self.key(event, json) else { return self.encode(event, json, out) };
        if let Some(frame) = self.shared.get(&key) {
            out.extend_from_slice(&frame);
            return Ok(());
        }
        let start = out.len();
        self.encode(event, json, out)?;
        self.shared.keep(key, Bytes::copy_from_slice(&out[start..]));
        Ok(())
    }

    fn encode(&mut self, event: &str, json: &[u8], out: &mut Vec<u8>) -> Result<(), Status> {
        self.object.clear();
        let written = match (event, Encoder::of("v1", "Status")) {
            ("ERROR", Some(mut status)) => status.object(json, &mut self.object),
            _ => self.objects.object(json, &mut self.object),
        };
        written.map_err(Status::internal)?;
        protobuf::watch_frame(event, &self.object, out);
        Ok(())
    }

    /// `None`: only this watch has such a line.
    fn key(&self, event: &str, json: &[u8]) -> Option<Key> {
        if self.shape != Shape::Whole || !matches!(event, "ADDED" | "MODIFIED" | "DELETED") {
            return None;
        }
        let revision = &json[memchr::memmem::find(&json[..json.len().min(VERSION_WITHIN_BYTES)], VERSION)? + VERSION.len()..];
        let digits = &revision[..memchr::memchr(b'"', revision)?];
        Some((self.serial, std::str::from_utf8(digits).ok()?.parse().ok()?, event.as_bytes()[0]))
    }
}

fn parts(line: &[u8]) -> Option<(&str, &[u8])> {
    let rest = line.strip_prefix(b"{\"type\":\"")?;
    let event = &rest[..memchr::memchr(b'"', rest)?];
    let object = rest[event.len()..].strip_prefix(b"\",\"object\":")?.strip_suffix(b"}\n")?;
    Some((std::str::from_utf8(event).ok()?, object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_apart() {
        assert_eq!(parts(b"{\"type\":\"ADDED\",\"object\":{\"a\":1}}\n"), Some(("ADDED", &b"{\"a\":1}"[..])));
        assert_eq!(parts(b"{}\n"), None);
    }

    fn frames(shared: &Arc<SharedFrames>) -> Frames {
        let objects = Encoder::of("v1", "ConfigMap").unwrap();
        Frames { shared: shared.clone(), serial: 1, shape: Shape::Whole, objects, object: Vec::new() }
    }

    fn frame(of: &mut Frames, event: &str, revision: u64, data: &str) -> Vec<u8> {
        let object =
            format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"resourceVersion":"{revision}","name":"a"}},"data":{{"k":"{data}"}}}}"#);
        let mut out = Vec::new();
        of.frame(format!("{{\"type\":\"{event}\",\"object\":{object}}}\n").as_bytes(), &mut out).unwrap();
        out
    }

    #[test]
    fn watchers_share_what_one_encoded() {
        let shared = Arc::new(SharedFrames::default());
        let (mut one, mut other) = (frames(&shared), frames(&shared));
        let first = frame(&mut one, "ADDED", 7, "x");
        // The same revision never has other content: were it not the kept frame, it would.
        assert_eq!(frame(&mut other, "ADDED", 7, "y"), first);
        assert_ne!(frame(&mut other, "MODIFIED", 7, "x"), first);
        assert_ne!(frame(&mut other, "ADDED", 8, "x"), first);
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let shared = Arc::new(SharedFrames::default());
        let mut one = frames(&shared);
        let large = "x".repeat(KEPT_BYTES / 8);
        for revision in 0..20 {
            frame(&mut one, "ADDED", revision, &large);
        }
        let kept = shared.0.lock().unwrap();
        assert!(kept.bytes <= KEPT_BYTES && kept.bytes > KEPT_BYTES / 2, "{}", kept.bytes);
        assert_eq!(kept.frames.len(), kept.order.len());
    }
}
