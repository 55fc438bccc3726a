//! What an answer tells the audit log: its code, the Status that it is, and, where the policy asks for it, the object.
//!
//! The log holds JSON whatever was sent: what goes out packed or as protobuf or YAML is read back for it, which only requests at the
//! level `RequestResponse` pay for. Called by `serve` alone.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::Response;
use super::body::Body;
use super::protobuf;
use crate::audit::Pending;
use crate::audit::policy::Level;

/// A Status is small; nothing larger is looked into.
const MAX_STATUS_BYTES: usize = 64 << 10;

/// Completes the event now, or when the stream ends. `status`: the refusal that the answer is.
pub fn complete(pending: Pending, response: &mut Response, status: Option<Value>, long: bool) {
    let code = response.status().as_u16();
    let wants_object = pending.record().wants(Level::RequestResponse);
    if long && status.is_none() {
        let pending = pending.started(code);
        let body = std::mem::replace(response.body_mut(), Body::Full(Bytes::new()));
        *response.body_mut() = Body::Audited(Box::new(body), Some(pending));
        return;
    }
    let json = match &status {
        Some(status) if wants_object => Some(status.to_string().into()),
        Some(_) => None,
        None => shown(response, wants_object),
    };
    let status = status.or_else(|| json.as_deref().and_then(status_of));
    pending.complete(code, status.as_ref(), json.as_deref());
}

/// The answer as JSON, when it is an object; without `whole` only what might be a Status.
fn shown(response: &Response, whole: bool) -> Option<Bytes> {
    let body = response.body();
    if !whole && !matches!(body, Body::Full(bytes) if bytes.len() <= MAX_STATUS_BYTES && may_be_status(bytes)) {
        return None;
    }
    let bytes = body.peek()?;
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match content_type.split(';').next().unwrap_or_default() {
        "application/json" => Some(bytes),
        protobuf::TYPE_NAME => Some(pintle_api::protobuf::to_json(&bytes, None).ok()?.to_string().into()),
        "application/yaml" => {
            let value: Value = serde_saphyr::from_str(std::str::from_utf8(&bytes).ok()?).ok()?;
            Some(value.to_string().into())
        }
        _ => None,
    }
}

fn may_be_status(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(256)];
    memchr::memmem::find(head, b"Status").is_some()
}

fn status_of(json: &[u8]) -> Option<Value> {
    if json.len() > MAX_STATUS_BYTES || !may_be_status(json) {
        return None;
    }
    serde_json::from_slice(json).ok().filter(|object: &Value| object["kind"] == "Status" && object["apiVersion"] == "v1")
}
