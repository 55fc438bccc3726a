//! `metav1.Status`: what an API client is told when a request fails (or when a delete has nothing to return).
//!
//! Constructors give upstream's reasons, messages and codes (k8s.io/apimachinery `api/errors`). The code is part
//! of the body; only the http layer turns it into a response line.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    Invalid,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    UnsupportedMediaType,
    RequestEntityTooLarge,
    Timeout,
    ServerTimeout,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CauseKind {
    FieldValueNotFound,
    FieldValueRequired,
    FieldValueDuplicate,
    FieldValueInvalid,
    FieldValueNotSupported,
    FieldValueForbidden,
    FieldValueTooLong,
    FieldValueTooMany,
    FieldValueTypeInvalid,
    InternalError,
    FieldManagerConflict,
    ResourceVersionTooLarge,
    UnexpectedServerResponse,
    NamespaceTerminating,
    DisruptionBudget,
    /// Without a kind of its own, as a policy's refusal; or of one that is not known here.
    #[default]
    #[serde(rename = "", other)]
    Unnamed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    #[serde(default, skip_serializing_if = "CauseKind::is_unnamed")]
    pub reason: CauseKind,
    pub message: String,
    #[serde(default)]
    pub field: String,
}

/// An unsuccessful answer. Boxed parts keep `Result<_, Status>` small.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub code: u16,
    pub reason: Reason,
    pub message: String,
    pub details: Option<Box<Details>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource (plural) in most answers, the kind in `Invalid` ones: so upstream does it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
    /// For the `Warning` header: what was found before the request failed.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// `metadata.continue` of an expired list: where an inconsistent one goes on.
    #[serde(skip)]
    pub continue_token: String,
}

impl Status {
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }
    pub fn unauthorized() -> Self {
        Self::new(401, Reason::Unauthorized, "Unauthorized")
    }
    /// `resource` as upstream writes it: `pods` or `deployments.apps`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(group, resource));
        Self::new(404, Reason::NotFound, message).about(group, resource, name)
    }
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(group, resource));
        Self::new(409, Reason::AlreadyExists, message).about(group, resource, name)
    }
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(group, resource));
        Self::new(409, Reason::Conflict, message).about(group, resource, name)
    }
    /// The conflict of an update made from an older version.
    pub fn stale(group: &str, resource: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", qualified(group, resource));
        Self::new(403, Reason::Forbidden, message).about(group, resource, name)
    }
    /// Failed validation; `causes` must not be empty.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let said: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        // A fault that was found twice is a cause twice, and told once. A body has room for a hundred thousand faults.
        let mut told = HashSet::with_capacity(said.len());
        let listed: Vec<&str> = said.iter().map(String::as_str).filter(|said| told.insert(*said)).collect();
        let why = if let [only] = listed[..] { only.to_owned() } else { format!("[{}]", listed.join(", ")) };
        let mut status = Self::new(422, Reason::Invalid, format!("{} {name:?} is invalid: {why}", qualified(group, kind)));
        status = status.about(group, kind, name);
        status.details_mut().causes = causes;
        status
    }
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message)
    }
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Gone, message)
    }
    pub fn method_not_allowed(group: &str, resource: &str, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind {:?}", qualified(group, resource));
        Self::new(405, Reason::MethodNotAllowed, message).about(group, resource, "")
    }
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut status = Self::new(429, Reason::TooManyRequests, message);
        status.details_mut().retry_after_seconds = retry_after_seconds;
        status
    }
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, Reason::ServiceUnavailable, message)
    }
    pub fn internal(message: impl fmt::Display) -> Self {
        let mut status = Self::new(500, Reason::InternalError, format!("Internal error occurred: {message}"));
        status.details_mut().causes = vec![Cause { reason: CauseKind::InternalError, message: message.to_string(), field: String::new() }];
        status
    }
    pub fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = self.details_mut();
        (details.group, details.kind, details.name) = (group.to_owned(), kind.to_owned(), name.to_owned());
        self
    }
    /// The same answer, with warnings before those that it has.
    pub fn warned(mut self, warnings: &[String]) -> Self {
        if !warnings.is_empty() {
            self.details_mut().warnings.splice(0..0, warnings.iter().cloned());
        }
        self
    }
    pub fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }
    pub fn is(&self, reason: Reason) -> bool {
        self.reason == reason
    }

    /// The body on the wire.
    pub fn to_value(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if self.reason == Reason::Unknown {
            body.as_object_mut().expect("an object").remove("reason");
        }
        if let Some(details) = self.details.as_ref().filter(|d| ***d != Details { warnings: d.warnings.clone(), ..Details::default() }) {
            body["details"] = serde_json::to_value(details).expect("details are plain data");
            if !details.continue_token.is_empty() {
                body["metadata"]["continue"] = details.continue_token.clone().into();
            }
        }
        body
    }

    /// Reads an answer's body; anything that is no Status becomes one with the given code.
    pub fn from_body(code: u16, body: &[u8]) -> Self {
        let parsed: Option<Value> = serde_json::from_slice(body).ok();
        let Some(value) = parsed.filter(|v| v["kind"] == "Status") else {
            let text = String::from_utf8_lossy(&body[..body.len().min(1024)]).into_owned();
            return Self::new(code, Reason::of_code(code), text);
        };
        Self {
            code: value["code"].as_u64().and_then(|c| u16::try_from(c).ok()).unwrap_or(code),
            reason: serde_json::from_value(value["reason"].clone()).unwrap_or(Reason::Unknown),
            message: value["message"].as_str().unwrap_or_default().to_owned(),
            details: serde_json::from_value(value["details"].clone()).ok(),
        }
    }
}

impl Reason {
    /// What a code alone says, where no Status came with it. That an object is gone or in conflict is believed of an API server only: a plain 404
    /// may be anybody's on the way.
    fn of_code(code: u16) -> Self {
        match code {
            400 => Self::BadRequest,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            405 => Self::MethodNotAllowed,
            406 => Self::NotAcceptable,
            413 => Self::RequestEntityTooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::Invalid,
            429 => Self::TooManyRequests,
            503 => Self::ServiceUnavailable,
            504 => Self::Timeout,
            500.. => Self::InternalError,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl CauseKind {
    fn is_unnamed(&self) -> bool {
        *self == Self::Unnamed
    }
}

impl Cause {
    pub fn new(reason: CauseKind, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }
    /// `Required value`, with an optional explanation.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::new(CauseKind::FieldValueRequired, field, with_detail("Required value", detail))
    }
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(CauseKind::FieldValueInvalid, field, with_detail(&format!("Invalid value: {}", shown(value)), detail))
    }
    /// The same for a value that upstream prints in a way of its own: `shown` is the text as it is.
    pub fn invalid_shown(field: impl Into<String>, shown: &str, detail: &str) -> Self {
        Self::new(CauseKind::FieldValueInvalid, field, with_detail(&format!("Invalid value: {shown}"), detail))
    }
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new(CauseKind::FieldValueForbidden, field, with_detail("Forbidden", detail))
    }
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new(CauseKind::FieldValueDuplicate, field, format!("Duplicate value: {}", shown(value)))
    }
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::new(CauseKind::FieldValueNotFound, field, format!("Not found: {}", shown(value)))
    }
    pub fn too_long(field: impl Into<String>, max_bytes: usize) -> Self {
        Self::new(CauseKind::FieldValueTooLong, field, format!("Too long: may not be more than {max_bytes} bytes"))
    }
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let listed: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let message = format!("Unsupported value: {}: supported values: {}", shown(value), listed.join(", "));
        Self::new(CauseKind::FieldValueNotSupported, field, message)
    }
}

fn with_detail(head: &str, detail: &str) -> String {
    if detail.is_empty() { head.to_owned() } else { format!("{head}: {detail}") }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// As Go quotes a text.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_of_no_or_an_unknown_kind_are_read_and_one_of_none_is_written_without() {
        let body = br#"{"kind": "Status", "code": 422, "details": {"causes": [{"message": "a"}, {"reason": "New", "message": "b", "field": "f"}]}}"#;
        let read = Status::from_body(422, body);
        let kinds: Vec<_> = read.details.as_ref().unwrap().causes.iter().map(|cause| (cause.reason, cause.message.as_str())).collect();
        assert_eq!(kinds, [(CauseKind::Unnamed, "a"), (CauseKind::Unnamed, "b")]);
        assert_eq!(read.to_value()["details"]["causes"][0].get("reason"), None);
    }

    #[test]
    fn an_answer_without_a_status_is_told_by_its_code() {
        let reasons = [404, 405, 418, 502].map(|code| Status::from_body(code, b"404 page not found").reason);
        assert_eq!(reasons, [Reason::Unknown, Reason::MethodNotAllowed, Reason::Unknown, Reason::InternalError]);
    }
}
