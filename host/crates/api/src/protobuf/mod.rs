//! The API's protobuf form (`application/vnd.kubernetes.protobuf`) of built-in kinds: bodies turned into JSON values, and objects' JSON
//! texts turned into answers.
//!
//! Clients written in Go speak it for built-in kinds; everything behind this module knows JSON alone. Driven by one table of fields
//! (`messages.txt`), so there is no second set of types. Called by the http layer; unknown fields are skipped, as protobuf has it.
//! Custom kinds and tables have no such form.

mod decode;
mod encode;
mod envelope;
mod layout;
mod messages;
mod presence;
mod special;
mod wire;

use serde_json::Value;

use crate::GroupVersionKind;
pub use envelope::{Encoder, ListEncoder, watch_frame};
use messages::Messages;
pub(crate) use presence::presence_of_fields;

pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// Precedes the envelope.
const MAGIC: &[u8] = b"k8s\0";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("empty data")]
    NoData,
    #[error("empty body")]
    NoBody,
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    #[error("unexpected EOF")]
    Truncated,
    #[error("wire type {0} does not exist or does not fit its field")]
    WireType(u8),
    #[error("a string is not UTF-8")]
    Text,
    #[error("no protobuf form is known of {0}")]
    UnknownKind(String),
    #[error("messages are nested more than {} deep", decode::MAX_DEPTH)]
    TooDeep,
    #[error("an embedded object is not JSON")]
    Embedded,
    #[error("an object has no protobuf form: {0}")]
    Json(String),
}

/// Whether the kind has a protobuf form.
pub fn is_known(api_version: &str, kind: &str) -> bool {
    Messages::get().of_kind(api_version, kind).is_some()
}

/// The object in an enveloped body. `default` names the kind where the envelope leaves it out.
pub fn to_json(body: &[u8], default: Option<&GroupVersionKind>) -> Result<Value, Error> {
    let envelope = match body {
        b"" => return Err(Error::NoData),
        MAGIC => return Err(Error::NoBody),
        _ => body.strip_prefix(MAGIC).ok_or(Error::NoMagic)?,
    };
    let unknown = decode::envelope(envelope)?;
    let (api_version, kind) = match default.filter(|_| unknown.kind.is_empty()) {
        Some(gvk) => (gvk.api_version(), gvk.kind.to_string()),
        None => (unknown.api_version, unknown.kind),
    };
    let messages = Messages::get();
    let message = messages.of_kind(&api_version, &kind).ok_or_else(|| Error::UnknownKind(format!("{api_version}, Kind={kind}")))?;
    let mut value = decode::message(messages, message, unknown.raw, 0)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".to_owned(), Value::String(api_version));
        object.insert("kind".to_owned(), Value::String(kind));
    }
    Ok(value)
}

#[cfg(test)]
mod generated;
#[cfg(test)]
mod tests;
