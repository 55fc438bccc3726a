//! One `audit.k8s.io/v1` Event, in upstream's shape and order of fields.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::HeaderMap;
use jiff::Timestamp;
use pintle_api::Object;
use pintle_api::object::ObjectExt;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::policy::{Level, Stage};
use crate::auth::{Attributes, User, reviews};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub kind: &'static str,
    pub api_version: &'static str,
    pub level: Level,
    #[serde(rename = "auditID")]
    pub audit_id: String,
    pub stage: Stage,
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    pub verb: String,
    pub user: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonated_user: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication_metadata: Option<Value>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<ObjectReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_object: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_object: Option<Box<RawValue>>,
    pub request_received_timestamp: String,
    pub stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    #[serde(skip_serializing_if = "String::is_empty")]
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

impl Event {
    pub fn new(level: Level, id: &str, uri: String, verb: &str) -> Self {
        Self {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level,
            audit_id: id.to_owned(),
            stage: Stage::RequestReceived,
            request_uri: uri,
            verb: verb.to_owned(),
            user: json!({}),
            impersonated_user: None,
            authentication_metadata: None,
            source_ips: Vec::new(),
            user_agent: String::new(),
            object_ref: None,
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: String::new(),
            stage_timestamp: String::new(),
            annotations: BTreeMap::new(),
        }
    }

    pub fn set_code(&mut self, code: u16) {
        self.response_status.get_or_insert_with(|| json!({"metadata": {}}))["code"] = json!(code);
    }

    /// With its end of line.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Without what was sent and answered.
    pub fn truncate(&mut self) {
        self.request_object = None;
        self.response_object = None;
        self.annotations.insert("audit.k8s.io/truncated".to_owned(), "true".to_owned());
    }
}

impl ObjectReference {
    pub fn of(asked: &Attributes<'_>) -> Self {
        Self {
            resource: asked.resource.to_owned(),
            namespace: asked.namespace.to_owned(),
            name: asked.name.to_owned(),
            api_group: asked.group.to_owned(),
            api_version: asked.version.to_owned(),
            subresource: asked.subresource.to_owned(),
            ..Self::default()
        }
    }

    pub fn complete_from(&mut self, object: &Object) {
        let fill = |field: &mut String, value: &str| {
            if field.is_empty() {
                value.clone_into(field);
            }
        };
        fill(&mut self.namespace, object.namespace());
        fill(&mut self.name, object.name());
        fill(&mut self.uid, object.uid());
        fill(&mut self.resource_version, object.resource_version());
    }
}

/// Of a request without credentials that were accepted: nothing.
pub fn user_info(user: &User) -> Value {
    if user.name.is_empty() { json!({}) } else { reviews::user_info(user) }
}

/// The parts of a Status whose size is bounded.
pub fn bounded_status(status: &Value) -> Value {
    let mut kept = Map::new();
    kept.insert("metadata".to_owned(), json!({}));
    for field in ["status", "message", "reason", "details", "code"] {
        if let Some(value) = status.get(field).filter(|v| !v.is_null() && **v != json!("")) {
            kept.insert(field.to_owned(), value.clone());
        }
    }
    Value::Object(kept)
}

/// Those that proxies told of, then the connection's own. All but the last may be made up.
pub fn source_ips(headers: Option<&HeaderMap>, peer: Option<IpAddr>) -> Vec<String> {
    let header = |name: &str| headers.and_then(|h| h.get(name)).and_then(|v| v.to_str().ok());
    let parse = |text: &str| text.trim().parse::<IpAddr>().ok();
    let mut addresses: Vec<IpAddr> = header("x-forwarded-for").into_iter().flat_map(|v| v.split(',')).filter_map(parse).collect();
    if let Some(real) = header("x-real-ip").and_then(parse).filter(|real| !addresses.contains(real)) {
        addresses.push(real);
    }
    if let Some(peer) = peer.map(|p| p.to_canonical()).filter(|peer| addresses.last() != Some(peer)) {
        addresses.push(peer);
    }
    addresses.iter().map(IpAddr::to_string).collect()
}

/// As upstream writes a MicroTime.
pub fn micros(time: Timestamp) -> String {
    let micros = time.as_microsecond();
    let time = Timestamp::from_microsecond(micros).unwrap_or(time);
    format!("{time:.6}")
}
