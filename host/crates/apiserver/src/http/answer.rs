//! From results to responses.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WARNING, WWW_AUTHENTICATE};
use pintle_api::Status;
use pintle_api::table::MetaVersion;
use serde_json::{Value, json};

use super::Response;
use super::body::{Body, Item, ListBody, MadeList, Write};
use super::negotiate::{Form, Media, Shape};
use super::packs::{PackedList, Packs};
use super::protobuf;
use super::warnings;
use crate::handlers::list::List;
use crate::handlers::table;
use crate::resources::Resource;

/// Smaller lists are sent as they are, for packing them costs more than it saves.
const GZIP_FROM_BYTES: usize = 128 << 10;
const LIST_END: &[u8] = b"]}\n";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");

pub fn bytes(code: u16, content_type: HeaderValue, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

pub fn json_bytes(code: u16, json: Bytes) -> Response {
    bytes(code, JSON, json)
}

pub fn value(code: u16, value: &Value) -> Response {
    json_bytes(code, value.to_string().into())
}

/// An object of whatever kind in the media type that was asked for.
pub fn value_in(code: u16, value: &Value, media: Media) -> Result<Response, Status> {
    whole(code, value.to_string().into(), media)
}

/// A Scale. It is shown whole where a table was asked for.
pub fn scale(scale: &Value, form: Form) -> Result<Response, Status> {
    match form.shape {
        Shape::Metadata(version) => whole(200, table::metadata_only(scale.to_string().as_bytes(), version)?, form.media),
        Shape::Whole | Shape::Table { .. } => value_in(200, scale, form.media),
    }
}

/// The same of its JSON text. A kind that has no protobuf form stays JSON.
pub fn whole(code: u16, json: Bytes, media: Media) -> Result<Response, Status> {
    match media {
        Media::Json => Ok(json_bytes(code, json)),
        Media::Yaml => yaml(code, &json),
        Media::Protobuf => Ok(match protobuf::object(&json)? {
            Some(object) => bytes(code, protobuf::TYPE, Bytes::from(object)),
            None => json_bytes(code, json),
        }),
    }
}

pub fn text(code: u16, text: String) -> Response {
    bytes(code, HeaderValue::from_static("text/plain; charset=utf-8"), Bytes::from(text))
}

pub fn status(status: &Status, media: Media) -> Response {
    let body = status.to_value();
    let mut response = value_in(status.code, &body, media).unwrap_or_else(|_| value(status.code, &body));
    let headers = response.headers_mut();
    if let Some(seconds) = status.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status.code == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pintle\""));
    }
    if let Some(details) = &status.details {
        add_warnings(&mut response, &details.warnings);
    }
    response
}

/// One object in the form that was asked for.
pub fn object(code: u16, resource: &Resource, json: Bytes, form: Form) -> Result<Response, Status> {
    let json = match form.shape {
        Shape::Whole => json,
        Shape::Metadata(version) => table::metadata_only(&json, version)?,
        Shape::Table { version, rows } => {
            let revision = metadata_of(&json);
            let row = table::row(resource, &json, rows, version, jiff::Timestamp::now())?;
            let head = table_head(version, &revision, &table::columns(resource));
            [head.as_bytes(), &row, b"]}"].concat().into()
        }
    };
    whole(code, json, form.media)
}

/// `packs`: the client takes gzip.
pub fn list(resource: &Arc<Resource>, list: List, form: Form, packs: Option<&Arc<Packs>>) -> Result<Response, Status> {
    let mut metadata = json!({"resourceVersion": list.revision.to_string()});
    if !list.continue_token.is_empty() {
        metadata["continue"] = json!(list.continue_token);
    }
    if let Some(remaining) = list.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    let gzip = packs.is_some();
    match (form.media, form.shape) {
        (Media::Protobuf, shape) => Ok(packed(protobuf::TYPE, protobuf::list(resource, &list, &metadata, shape)?, gzip)),
        (Media::Json, Shape::Whole) if !resource.converts => Ok(json_list(resource, list, &metadata, packs)),
        (Media::Json, shape) => made_list(resource, list, &metadata, shape, gzip),
        (Media::Yaml, Shape::Whole) if !resource.converts => yaml(200, &shared_list(resource, list, &metadata).collect()),
        (Media::Yaml, shape) => yaml(200, &in_shape(resource, list, &metadata, shape).collect()?),
    }
}

fn packed(content_type: HeaderValue, list: ListBody, gzip: bool) -> Response {
    if gzip && list.len() > GZIP_FROM_BYTES as u64 { gzipped(content_type, list.gzip()) } else { bytes(200, content_type, Body::List(list)) }
}

fn json_list(resource: &Resource, list: List, metadata: &Value, packs: Option<&Arc<Packs>>) -> Response {
    let bytes_of_items = || list.items.iter().map(|item| item.as_slice().len()).sum::<usize>();
    match packs.filter(|_| bytes_of_items() > GZIP_FROM_BYTES) {
        None => bytes(200, JSON, Body::List(shared_list(resource, list, metadata))),
        Some(packs) => {
            let head = list_head(&resource.list_kind(), &resource.api_version, metadata);
            let packed = PackedList::new(packs.clone(), resource.serial, head.into(), list.items, Bytes::from_static(LIST_END));
            gzipped(JSON, Body::Packed(Box::new(packed)))
        }
    }
}

fn made_list(resource: &Arc<Resource>, list: List, metadata: &Value, shape: Shape, gzip: bool) -> Result<Response, Status> {
    let mut list = in_shape(resource, list, metadata, shape);
    let large = list.begin(GZIP_FROM_BYTES)?;
    Ok(match (large, gzip) {
        (false, _) => json_bytes(200, list.collect()?),
        (true, true) => gzipped(JSON, list.gzip()),
        (true, false) => bytes(200, JSON, Body::Made(list)),
    })
}

fn gzipped(content_type: HeaderValue, body: Body) -> Response {
    let mut response = bytes(200, content_type, body);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

fn shared_list(resource: &Resource, list: List, metadata: &Value) -> ListBody {
    let head = list_head(&resource.list_kind(), &resource.api_version, metadata);
    ListBody::json(head.into(), list.items.into_iter().map(Item::Shared).collect(), Bytes::from_static(LIST_END))
}

fn in_shape(resource: &Arc<Resource>, list: List, metadata: &Value, shape: Shape) -> MadeList {
    let (now, resource) = (jiff::Timestamp::now(), resource.clone());
    let (head, tail) = match shape {
        Shape::Table { version, .. } => (table_head(version, metadata, &table::columns(&resource)), "]}"),
        Shape::Metadata(version) => (list_head("PartialObjectMetadataList", version.api_version(), metadata), "]}\n"),
        Shape::Whole => (list_head(&resource.list_kind(), &resource.api_version, metadata), "]}\n"),
    };
    let write: Write = match shape {
        Shape::Table { version, rows } => Arc::new(move |stored, out| table::write_row(out, &resource, stored, rows, version, now)),
        Shape::Metadata(version) => Arc::new(move |stored, out| table::write_metadata(out, stored, version)),
        Shape::Whole => Arc::new(move |stored, out| {
            out.share(resource.wire(stored)?);
            Ok(())
        }),
    };
    MadeList::new(head, list.items, write, tail)
}

/// A list of objects that nobody stores: they were made for this answer, and the list has no revision.
pub fn made(resource: &Resource, objects: &[Value], form: Form) -> Result<Response, Status> {
    let (metadata, now) = (json!({}), jiff::Timestamp::now());
    let (head, tail) = match form.shape {
        Shape::Table { version, .. } => (table_head(version, &metadata, &table::columns(resource)), "]}"),
        Shape::Metadata(version) => (list_head("PartialObjectMetadataList", version.api_version(), &metadata), "]}\n"),
        Shape::Whole => (list_head(&resource.list_kind(), &resource.api_version, &metadata), "]}\n"),
    };
    let mut items = VecDeque::with_capacity(objects.len());
    for object in objects {
        let json = object.to_string();
        items.push_back(Item::Made(match form.shape {
            Shape::Whole => json.into(),
            Shape::Metadata(version) => table::metadata_only(json.as_bytes(), version)?,
            Shape::Table { version, rows } => table::row(resource, json.as_bytes(), rows, version, now)?,
        }));
    }
    let body = ListBody::json(head.into(), items, Bytes::from_static(tail.as_bytes()));
    if form.media == Media::Yaml { yaml(200, &body.collect()) } else { Ok(bytes(200, JSON, Body::List(body))) }
}

/// A watch line in the shape that was asked for. `first`: the table's columns go along.
pub fn watch_line(resource: &Resource, line: &Bytes, shape: Shape, first: bool) -> Result<Bytes, Status> {
    if shape == Shape::Whole {
        return Ok(line.clone());
    }
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        r#type: &'a str,
        #[serde(borrow)]
        object: &'a serde_json::value::RawValue,
    }
    let parsed: Line<'_> = serde_json::from_slice(line).map_err(Status::internal)?;
    if parsed.r#type == "ERROR" {
        return Ok(line.clone());
    }
    let json = parsed.object.get().as_bytes();
    let object = match shape {
        Shape::Metadata(version) => table::metadata_only(json, version)?,
        Shape::Table { version, .. } if parsed.r#type == "BOOKMARK" => {
            let head = table_head(version, &metadata_of(json), &if first { table::columns(resource) } else { json!(null) });
            let mut row = json!({"cells": [], "object": serde_json::from_slice::<Value>(json).map_err(Status::internal)?}).to_string();
            row.insert_str(0, &head);
            row.push_str("]}");
            row.into()
        }
        Shape::Table { version, rows } => {
            let columns = if first { table::columns(resource) } else { json!(null) };
            let head = table_head(version, &metadata_of(json), &columns);
            let row = table::row(resource, json, rows, version, jiff::Timestamp::now())?;
            [head.as_bytes(), &row, b"]}"].concat().into()
        }
        Shape::Whole => return Ok(line.clone()),
    };
    Ok([b"{\"type\":\"", parsed.r#type.as_bytes(), b"\",\"object\":", &object, b"}\n"].concat().into())
}

/// Leaves the answer to HEAD as it would be to GET, without its body: over HTTP/2 nobody else takes it away.
pub fn keep_head(response: &mut Response) {
    let length = http_body::Body::size_hint(response.body()).exact();
    if let Some(length) = length.filter(|_| !response.headers().contains_key(CONTENT_LENGTH)) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::Full(Bytes::new());
}

pub fn add_warnings(response: &mut Response, warnings: &[String]) {
    for warning in warnings::bounded(warnings) {
        let quoted = warning.replace(['\n', '\r'], " ").replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

fn list_head(kind: &str, api_version: &str, metadata: &Value) -> String {
    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[")
}

fn table_head(version: MetaVersion, metadata: &Value, columns: &Value) -> String {
    format!("{{\"kind\":\"Table\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"columnDefinitions\":{columns},\"rows\":[", version.api_version())
}

/// The list metadata of a table that holds one object.
fn metadata_of(json: &[u8]) -> Value {
    #[derive(serde::Deserialize)]
    struct Outer {
        metadata: Inner,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Inner {
        #[serde(default)]
        resource_version: String,
    }
    let revision = serde_json::from_slice::<Outer>(json).map(|o| o.metadata.resource_version).unwrap_or_default();
    json!({"resourceVersion": revision})
}

fn yaml(code: u16, json: &[u8]) -> Result<Response, Status> {
    let value: Value = serde_json::from_slice(json).map_err(Status::internal)?;
    let text = serde_saphyr::to_string(&value).map_err(Status::internal)?;
    Ok(bytes(code, YAML, Bytes::from(text)))
}
