//! Answers in the API's protobuf form: objects and lists, made from the JSON that the cache holds. Watches have `frames`.
//!
//! Kinds without that form (custom ones, tables, pintle's own) never come here: [`is_known`] keeps them out when the form is negotiated,
//! and [`object`] says so of what only turns up later. Nothing that is encoded is kept.

use bytes::Bytes;
use http::header::HeaderValue;
use pintle_api::Status;
use pintle_api::protobuf::{self, Encoder, ListEncoder};
use serde::Deserialize;
use serde_json::Value;

use super::body::ListBody;
use super::negotiate::Shape;
use super::rest::kind_of;
use crate::handlers::list::List;
use crate::handlers::{Scope, table};
use crate::resources::Resource;

pub const TYPE_NAME: &str = protobuf::MEDIA_TYPE;
pub const TYPE: HeaderValue = HeaderValue::from_static(TYPE_NAME);
pub const STREAM_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.kubernetes.protobuf;stream=watch");
/// Items of a list are written into pieces of about this size, each freed when it is sent.
const PIECE_BYTES: usize = 64 << 10;

/// Whether what the scope answers has a protobuf form. Of custom resources not even the scale has.
pub fn is_known(scope: &Scope) -> bool {
    let kind = kind_of(scope);
    !scope.resource.has_own_schema() && protobuf::is_known(&kind.api_version(), &kind.kind)
}

/// What upstream calls the type of the scope's objects where it refuses a form: `*core.PodList`.
pub fn go_type(scope: &Scope, is_list: bool) -> String {
    let kind = kind_of(scope);
    let list = if is_list { "List" } else { "" };
    if scope.resource.custom {
        return format!("*unstructured.Unstructured{list}");
    }
    let package = kind.group.split('.').next().filter(|group| !group.is_empty() && *group != "events").unwrap_or("core");
    format!("*{package}.{}{list}", kind.kind)
}

/// The object, enveloped. `None`: its kind has no such form.
pub fn object(json: &[u8]) -> Result<Option<Vec<u8>>, Status> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named<'a> {
        #[serde(borrow, default)]
        api_version: std::borrow::Cow<'a, str>,
        #[serde(borrow, default)]
        kind: std::borrow::Cow<'a, str>,
    }
    let named: Named<'_> = serde_json::from_slice(json).map_err(Status::internal)?;
    let Some(mut encoder) = Encoder::of(&named.api_version, &named.kind) else { return Ok(None) };
    let mut out = Vec::new();
    encoder.object(json, &mut out).map_err(Status::internal)?;
    Ok(Some(out))
}

pub fn list(resource: &Resource, list: &List, metadata: &Value, shape: Shape) -> Result<ListBody, Status> {
    let encoder = match shape {
        Shape::Metadata(version) => ListEncoder::of(version.api_version(), "PartialObjectMetadataList"),
        Shape::Whole | Shape::Table { .. } => ListEncoder::of(&resource.api_version, &resource.list_kind()),
    };
    let mut encoder = encoder.ok_or_else(|| super::negotiate::not_acceptable(false))?;
    let (mut pieces, mut length, mut piece) = (Vec::new(), 0, Vec::new());
    for stored in &list.items {
        let written = match shape {
            Shape::Metadata(version) => encoder.item(&table::metadata_only(stored.as_slice(), version)?, &mut piece),
            _ if resource.converts => encoder.item(&resource.wire(stored)?, &mut piece),
            _ => encoder.item(stored.as_slice(), &mut piece),
        };
        written.map_err(|why| Status::internal(format!("{}: {why}", stored.key)))?;
        if piece.len() >= PIECE_BYTES {
            length += piece.len() as u64;
            pieces.push(Bytes::copy_from_slice(&piece));
            piece.clear();
        }
    }
    length += piece.len() as u64;
    pieces.push(piece.into());
    let (head, tail) = encoder.around(metadata, length).map_err(Status::internal)?;
    Ok(ListBody::parts(head.into(), pieces, tail.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_a_custom_kind_has_no_such_form() {
        assert_eq!(object(br#"{"apiVersion":"example.com/v1","kind":"Website"}"#).unwrap(), None);
        assert!(object(br#"{"apiVersion":"v1","kind":"Status","code":404}"#).unwrap().is_some_and(|bytes| bytes.starts_with(b"k8s\0")));
    }
}
