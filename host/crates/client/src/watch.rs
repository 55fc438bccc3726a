//! A watch's body: one event a line. The object is cut out of its line, not parsed; only its revision is read.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pintle_api::Status;
use pintle_api::client::{Result, Served, WatchEvent};
use serde::Deserialize;
use serde_json::value::RawValue;

/// One event: the largest object that a server stores, twice over.
const MAX_LINE_BYTES: usize = 8 << 20;

const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

pub fn events(body: Incoming) -> BoxStream<'static, Result<WatchEvent>> {
    stream::unfold(Some((body, Lines::default())), |state| async move {
        let (mut body, mut lines) = state?;
        loop {
            match lines.next() {
                Err(error) => return Some((Err(error), None)),
                Ok(Some(line)) => {
                    let event = decode(&line);
                    let rest = event.is_ok().then_some((body, lines));
                    return Some((event, rest));
                }
                Ok(None) => {}
            }
            match body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        lines.push(&data);
                    }
                }
                Err(error) => return Some((Err(Status::unavailable(format!("the watch's connection was lost: {error}"))), None)),
            }
        }
    })
    .boxed()
}

/// Cuts bytes at newlines. A line's bytes are shared, not copied.
#[derive(Default)]
struct Lines {
    buffer: BytesMut,
    /// No newline before this.
    searched: usize,
}

impl Lines {
    fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(found) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                if self.searched > MAX_LINE_BYTES {
                    return Err(Status::internal(format!("a watch event is longer than {MAX_LINE_BYTES} bytes")));
                }
                return Ok(None);
            };
            let line = self.buffer.split_to(self.searched + found + 1).freeze();
            self.searched = 0;
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What is read of an object.
#[derive(Deserialize)]
pub struct Head<'a> {
    #[serde(borrow, default)]
    pub kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub metadata: Metadata<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata<'a> {
    #[serde(borrow)]
    pub resource_version: Cow<'a, str>,
    pub deletion_timestamp: Option<&'a RawValue>,
    pub deletion_grace_period_seconds: Option<i64>,
    pub finalizers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Mark {
    metadata: MarkMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MarkMetadata {
    resource_version: String,
    annotations: Option<HashMap<String, String>>,
}

impl Head<'_> {
    pub fn read(json: &[u8]) -> Result<Head<'_>> {
        serde_json::from_slice(json).map_err(|error| Status::internal(format!("unreadable object: {error}")))
    }

    pub fn revision(&self) -> Result<u64> {
        revision(&self.metadata.resource_version)
    }
}

/// Absent in objects that are answers only, such as reviews.
pub fn revision(text: &str) -> Result<u64> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| Status::internal(format!("resourceVersion {text:?} is no number")))
}

fn decode(line: &Bytes) -> Result<WatchEvent> {
    let parsed: Line<'_> = serde_json::from_slice(line).map_err(|error| Status::internal(format!("unreadable watch event: {error}")))?;
    let json = line.slice_ref(parsed.object.get().as_bytes());
    let served = |json: Bytes| -> Result<Served> { Ok(Served { revision: Head::read(&json)?.revision()?, json }) };
    match parsed.kind.as_ref() {
        "ADDED" => served(json).map(WatchEvent::Added),
        "MODIFIED" => served(json).map(WatchEvent::Modified),
        "DELETED" => served(json).map(WatchEvent::Deleted),
        "BOOKMARK" => {
            let mark: Mark = serde_json::from_slice(&json).map_err(|error| Status::internal(format!("unreadable bookmark: {error}")))?;
            let revision = revision(&mark.metadata.resource_version)?;
            let synced = mark.metadata.annotations.is_some_and(|a| a.get(INITIAL_EVENTS_END).is_some_and(|v| v == "true"));
            Ok(if synced { WatchEvent::Synced { revision } } else { WatchEvent::Bookmark { revision } })
        }
        "ERROR" => Err(Status::from_body(500, &json)),
        other => Err(Status::internal(format!("unknown watch event {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn events_are_cut_from_any_split_of_the_bytes() {
        let text = concat!(
            r#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"a\n","resourceVersion":"5"}}}"#,
            "\n\n",
            r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"6","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
            "\n",
            r#"{"object":{"metadata":{"resourceVersion":"7"}},"type":"BOOKMARK"}"#,
            "\r\n",
            r#"{"type":"DELETED","object":{"metadata":{"resourceVersion":"8"}}}"#,
            "\n",
            r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#,
            "\n",
            r#"{"type":"ADDED","object":{"metadata":{"resourceVersion":"x"}}}"#,
            "\n",
            r#"{"type":"ADDED","obj"#,
        );
        let shown = [1, 7, 64, text.len()].map(|step| {
            let (mut lines, mut shown) = (Lines::default(), String::new());
            for part in text.as_bytes().chunks(step) {
                lines.push(part);
                while let Some(line) = lines.next().unwrap() {
                    shown += &match decode(&line) {
                        Ok(event) => format!("{event:?}\n"),
                        Err(status) => format!("{} {:?}: {status}\n", status.code, status.reason),
                    };
                }
            }
            shown
        });
        expect![[r#"
            Added(Served { json: b"{\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\\n\",\"resourceVersion\":\"5\"}}", revision: 5 })
            Synced { revision: 6 }
            Bookmark { revision: 7 }
            Deleted(Served { json: b"{\"metadata\":{\"resourceVersion\":\"8\"}}", revision: 8 })
            410 Expired: too old
            500 InternalError: Internal error occurred: resourceVersion "x" is no number
        "#]]
        .assert_eq(&shown[0]);
        assert!(shown.iter().all(|other| *other == shown[0]));
    }
}
