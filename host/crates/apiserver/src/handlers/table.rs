//! Objects in the forms that a client may ask for instead: tables (for `kubectl get`) and bare metadata.

use bytes::Bytes;
use pintle_api::Status;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::cells;
use crate::cache::Stored;
use crate::pieces::Draft;
use crate::resources::Resource;
use pintle_api::table::{MetaVersion, Rows};

/// `columnDefinitions` of the resource.
pub fn columns(resource: &Resource) -> Value {
    let own = resource.strategy.column_definitions().into_iter();
    if resource.strategy.whole_table() {
        return own.collect();
    }
    let name = definition("Name", "string", "name", NAME_HELP, 0);
    let age = definition("Age", "date", "", AGE_HELP, 0);
    // Wide columns come last, as upstream prints them.
    let (wide, narrow): (Vec<Value>, Vec<Value>) = own.partition(|c| c["priority"] != json!(0));
    std::iter::once(name).chain(narrow).chain(std::iter::once(age)).chain(wide).collect()
}

const NAME_HELP: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client \
to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition.";
const AGE_HELP: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is represented in RFC3339 form \
and is in UTC.";

fn definition(name: &str, kind: &str, format: &str, description: &str, priority: i32) -> Value {
    json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority})
}

/// What a row takes, roughly.
const ROW_BYTES: usize = 2 << 10;
const ROW_START: &[u8] = b"{\"cells\":";
const NO_OBJECT: &[u8] = b",\"object\":null";
const OBJECT: &[u8] = b",\"object\":";
const METADATA_START: &[u8] = b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"";
const METADATA: &[u8] = b"\",\"metadata\":";

/// One row, of an object that came from anywhere.
pub fn row(resource: &Resource, json: &[u8], rows: Rows, version: MetaVersion, now: jiff::Timestamp) -> Result<Bytes, Status> {
    let mut out = Vec::with_capacity(ROW_BYTES);
    write_row_of(&mut out, resource, json, rows, version, now)?;
    Ok(out.into())
}

/// One row, of an object in the cache, whose own bytes are handed on.
pub fn write_row(
    out: &mut Draft,
    resource: &Resource,
    object: &Stored,
    rows: Rows,
    version: MetaVersion,
    now: jiff::Timestamp,
) -> Result<(), Status> {
    if resource.converts {
        return write_row_of(&mut out.text, resource, &resource.wire(object)?, rows, version, now);
    }
    out.text.extend_from_slice(ROW_START);
    cells::write_stored(&mut out.text, resource, object, now)?;
    match rows {
        Rows::Nothing => out.text.extend_from_slice(NO_OBJECT),
        Rows::Object => {
            out.text.extend_from_slice(OBJECT);
            out.share(object.json());
        }
        Rows::Metadata => {
            out.text.extend_from_slice(OBJECT);
            write_metadata(out, object, version)?;
        }
    }
    out.text.push(b'}');
    Ok(())
}

/// `PartialObjectMetadata` of an object in the cache.
pub fn write_metadata(out: &mut Draft, object: &Stored, version: MetaVersion) -> Result<(), Status> {
    out.text.extend_from_slice(METADATA_START);
    out.text.extend_from_slice(version.api_version().as_bytes());
    out.text.extend_from_slice(METADATA);
    out.share(metadata_of_stored(object)?);
    out.text.push(b'}');
    Ok(())
}

/// `PartialObjectMetadata` from an object's bytes; the rest is not even looked at.
pub fn metadata_only(json: &[u8], version: MetaVersion) -> Result<Bytes, Status> {
    let mut out = Vec::with_capacity(ROW_BYTES);
    wrap_metadata(&mut out, metadata_of(json)?.as_bytes(), version);
    Ok(out.into())
}

fn write_row_of(out: &mut Vec<u8>, resource: &Resource, json: &[u8], rows: Rows, version: MetaVersion, now: jiff::Timestamp) -> Result<(), Status> {
    out.extend_from_slice(ROW_START);
    cells::write(out, resource, json, now)?;
    match rows {
        Rows::Nothing => out.extend_from_slice(NO_OBJECT),
        Rows::Object => {
            out.extend_from_slice(OBJECT);
            out.extend_from_slice(json);
        }
        Rows::Metadata => {
            out.extend_from_slice(OBJECT);
            wrap_metadata(out, metadata_of(json)?.as_bytes(), version);
        }
    }
    out.push(b'}');
    Ok(())
}

fn wrap_metadata(out: &mut Vec<u8>, metadata: &[u8], version: MetaVersion) {
    let version = version.api_version().as_bytes();
    for part in [METADATA_START, version, METADATA, metadata, b"}"] {
        out.extend_from_slice(part);
    }
}

/// Where the metadata of a cached object lies is looked for once.
fn metadata_of_stored(object: &Stored) -> Result<Bytes, Status> {
    let json = object.as_slice();
    let range = object.metadata_range(|| {
        let text = metadata_of(json).ok()?;
        let start = text.as_ptr() as usize - json.as_ptr() as usize;
        Some(start..start + text.len())
    });
    match range {
        Some(range) => Ok(object.part(range)),
        None => Ok(Bytes::copy_from_slice(metadata_of(json)?.as_bytes())),
    }
}

/// The text of an object's metadata. In the form that the cache holds it comes first, after two plain strings, so that the
/// reader stops where it ends.
fn metadata_of(json: &[u8]) -> Result<&str, Status> {
    const FIRST: &[u8] = b"\"metadata\":";
    /// Of a stored object, `apiVersion` and `kind` and no more stand before it.
    const BEFORE_BYTES: usize = 400;
    let found = memchr::memmem::find(&json[..json.len().min(BEFORE_BYTES)], FIRST);
    if let Some(at) = found.filter(|at| json[..*at].iter().filter(|b| **b == b'{').count() == 1)
        && let Some(metadata) = pintle_partial::first(&json[at + FIRST.len()..]).and_then(|metadata| std::str::from_utf8(metadata).ok())
    {
        return Ok(metadata);
    }
    #[derive(Deserialize)]
    struct OnlyMetadata<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let parsed: OnlyMetadata<'_> = serde_json::from_slice(json).map_err(|e| Status::internal(format!("unreadable object: {e}")))?;
    Ok(parsed.metadata.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_cut_out_unparsed() {
        let out = metadata_only(br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{}}"#, MetaVersion::V1).unwrap();
        assert_eq!(out, r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}"#);
        let misleading = br#"{"spec":{"metadata":{"name":"no"}},"metadata":{"name":"b"}}"#;
        assert!(metadata_only(misleading, MetaVersion::V1).unwrap().ends_with(br#""metadata":{"name":"b"}}"#));
    }
}
