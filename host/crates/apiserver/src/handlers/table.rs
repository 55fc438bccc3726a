//! Objects in the forms that a client may ask for instead: tables (for `kubectl get`) and bare metadata.

use bytes::Bytes;
use pintle_api::object::ObjectExt;
use pintle_api::{Object, Status};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

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

/// One row.
pub fn row(resource: &Resource, json: &[u8], rows: Rows, version: MetaVersion, now: jiff::Timestamp) -> Result<Bytes, Status> {
    let object: Object = serde_json::from_slice(json).map_err(|e| Status::internal(format!("unreadable object: {e}")))?;
    let mut out = b"{\"cells\":".to_vec();
    out.extend_from_slice(&serde_json::to_vec(&cells(resource, &object, now)).map_err(Status::internal)?);
    match rows {
        Rows::Nothing => out.extend_from_slice(b",\"object\":null"),
        Rows::Object => {
            out.extend_from_slice(b",\"object\":");
            out.extend_from_slice(json);
        }
        Rows::Metadata => {
            out.extend_from_slice(b",\"object\":");
            out.extend_from_slice(&metadata_only(json, version)?);
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

#[derive(Deserialize)]
struct OnlyMetadata<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// `PartialObjectMetadata` from an object's bytes; the rest is skipped unparsed.
pub fn metadata_only(json: &[u8], version: MetaVersion) -> Result<Bytes, Status> {
    let parsed: OnlyMetadata<'_> = serde_json::from_slice(json).map_err(|e| Status::internal(format!("unreadable object: {e}")))?;
    let head = format!("{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"{}\",\"metadata\":", version.api_version());
    Ok([head.as_bytes(), parsed.metadata.get().as_bytes(), b"}"].concat().into())
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
    }
}
