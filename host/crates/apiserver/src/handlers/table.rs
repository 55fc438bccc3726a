//! Objects in the forms that a client may ask for instead: tables (for `kubectl get`) and bare metadata.

use bytes::Bytes;
use pintle_api::object::ObjectExt;
use pintle_api::{Object, Status};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cache::stored;
use crate::http::negotiate::{MetaVersion, Rows};
use crate::resources::Resource;

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

/// One row.
pub fn row(resource: &Resource, json: &[u8], rows: Rows, version: MetaVersion, now: jiff::Timestamp) -> Result<Bytes, Status> {
    let object = stored::without_managers(json).map_err(|e| Status::internal(format!("unreadable object: {e}")))?;
    let mut out = Vec::with_capacity(ROW_BYTES);
    out.extend_from_slice(b"{\"cells\":");
    serde_json::to_writer(&mut out, &cells(resource, &object, now)).map_err(Status::internal)?;
    match rows {
        Rows::Nothing => out.extend_from_slice(b",\"object\":null"),
        Rows::Object => {
            out.extend_from_slice(b",\"object\":");
            out.extend_from_slice(json);
        }
        Rows::Metadata => {
            out.extend_from_slice(b",\"object\":");
            write_metadata_only(&mut out, json, version)?;
        }
    }
    out.push(b'}');
    Ok(out.into())
}

fn cells(resource: &Resource, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
    let strategy = &resource.strategy;
    let own = strategy.cells(object, now);
    if strategy.whole_table() {
        return own;
    }
    let (mut wide, mut narrow) = (Vec::new(), vec![json!(object.name())]);
    for (column, cell) in strategy.columns().iter().zip(own) {
        if column.priority == 0 { narrow.push(cell) } else { wide.push(cell) }
    }
    narrow.push(json!(age(object, now)));
    narrow.append(&mut wide);
    narrow
}

/// `5m`, `3d4h`: how long ago the object was made.
pub fn age(object: &Object, now: jiff::Timestamp) -> String {
    match object.str_at(&["metadata", "creationTimestamp"]).parse::<jiff::Timestamp>() {
        Ok(made) => human_duration(now.as_second() - made.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// Seconds as kubectl shows them: two units where they matter.
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    match seconds {
        i64::MIN..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => pair(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => pair(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => pair(seconds / YEAR, "y", seconds % YEAR / DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// `PartialObjectMetadata` from an object's bytes; the rest is not even looked at.
pub fn metadata_only(json: &[u8], version: MetaVersion) -> Result<Bytes, Status> {
    let mut out = Vec::with_capacity(ROW_BYTES);
    write_metadata_only(&mut out, json, version)?;
    Ok(out.into())
}

fn write_metadata_only(out: &mut Vec<u8>, json: &[u8], version: MetaVersion) -> Result<(), Status> {
    let metadata = metadata_of(json)?;
    for part in ["{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"", version.api_version(), "\",\"metadata\":", metadata, "}"] {
        out.extend_from_slice(part.as_bytes());
    }
    Ok(())
}

/// The text of an object's metadata. In the form that the cache holds it comes first, after two plain strings, so that the
/// reader stops where it ends.
fn metadata_of(json: &[u8]) -> Result<&str, Status> {
    const FIRST: &[u8] = b"\"metadata\":";
    /// Of a stored object, `apiVersion` and `kind` and no more stand before it.
    const BEFORE_BYTES: usize = 400;
    if let Some(at) = memchr::memmem::find(&json[..json.len().min(BEFORE_BYTES)], FIRST).filter(|at| json[..*at].iter().filter(|b| **b == b'{').count() == 1) {
        let mut values = serde_json::Deserializer::from_slice(&json[at + FIRST.len()..]).into_iter::<&RawValue>();
        if let Some(Ok(metadata)) = values.next() {
            return Ok(metadata.get());
        }
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
    fn durations_read_as_kubectl_prints_them() {
        let shown: Vec<String> = [0, 119, 120, 200, 599, 3600, 10_800, 12_000, 90_000, 180_000, 800_000, 70_000_000, -5].map(human_duration).into();
        assert_eq!(shown, ["0s", "119s", "2m", "3m20s", "9m59s", "60m", "3h", "3h20m", "25h", "2d2h", "9d", "2y80d", "<invalid>"]);
    }

    #[test]
    fn metadata_is_cut_out_unparsed() {
        let out = metadata_only(br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{}}"#, MetaVersion::V1).unwrap();
        assert_eq!(out, r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}"#);
        let misleading = br#"{"spec":{"metadata":{"name":"no"}},"metadata":{"name":"b"}}"#;
        assert!(metadata_only(misleading, MetaVersion::V1).unwrap().ends_with(br#""metadata":{"name":"b"}}"#));
    }
}
