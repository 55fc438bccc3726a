//! The audit log: which requests were made, by whom, and what became of them, as `audit.k8s.io/v1` events.
//!
//! A [`Policy`](policy::Policy) says for which requests an event is made and how much of them it holds; a [`Log`](log::Log) writes events as lines of
//! JSON. The http layer and the in-process client open a [`Pending`] for each request; handlers tell its [`Record`] what was
//! sent. Without a policy and a path there is no [`Audit`], and nothing here runs. No webhook backend, and no event at the stage `Panic` but for a
//! request whose task panicked.

pub mod annotating;
pub mod event;
pub mod log;
pub mod policy;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use http::header::USER_AGENT;
use jiff::Timestamp;
use pintle_api::{Object, Status};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::auth::Attributes;
use crate::auth::impersonation::Acting;

use event::{Event, ObjectReference, user_info};
use log::{Log, LogSettings};
use policy::{Level, Policy, Selected, Stage};

const MAX_USER_AGENT_BYTES: usize = 1024;
/// Of one event: webhooks and policies may add as many as they like.
const MAX_ANNOTATIONS: usize = 100;

/// What an installation chooses. Without both files there is no audit log.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub policy_file: Option<PathBuf>,
    pub log: LogSettings,
}

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("audit policy: {0}")]
    Policy(#[from] policy::PolicyError),
    #[error("audit log {path}: {why}")]
    Log { path: PathBuf, why: std::io::Error },
}

pub struct Audit {
    policy: Policy,
    log: Log,
    events: AtomicU64,
}

/// What is known of a request before it is looked into.
pub struct Head<'a> {
    pub id: &'a str,
    pub uri: String,
    pub headers: Option<&'a HeaderMap>,
    pub peer: Option<IpAddr>,
    /// A stream: there is an event when it begins, too.
    pub is_long: bool,
    pub received: Timestamp,
}

/// One request's event, filled by those who serve it.
pub struct Record {
    audit: Arc<Audit>,
    selected: Selected,
    is_long: bool,
    event: Mutex<Event>,
    complete: AtomicBool,
}

/// The request that an event is about. If it ends without an answer, the event says so.
pub struct Pending(Arc<Record>);

impl Audit {
    /// `None`: nothing is to be logged.
    pub fn open(settings: &Settings) -> Result<Option<Arc<Self>>, AuditError> {
        let Some(file) = &settings.policy_file else { return Ok(None) };
        let policy = Policy::load(file)?;
        if settings.log.path.as_os_str().is_empty() {
            return Ok(None);
        }
        let log = Log::open(&settings.log).map_err(|why| AuditError::Log { path: settings.log.path.clone(), why })?;
        Ok(Some(Arc::new(Self { policy, log, events: AtomicU64::new(0) })))
    }

    /// Begins a request's event. `None`: the policy wants none. `Err`: it could not be stored, and the request must not go on.
    pub fn begin(self: &Arc<Self>, asked: &Attributes<'_>, head: Head<'_>) -> Result<Option<Pending>, Status> {
        let selected = self.policy.select(asked);
        if selected.level == Level::None {
            return Ok(None);
        }
        let agent = head.headers.and_then(|h| h.get(USER_AGENT)).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let received = event::micros(head.received);
        let event = Event {
            user: user_info(asked.user),
            source_ips: event::source_ips(head.headers, head.peer),
            user_agent: shortened(agent),
            object_ref: (!asked.resource.is_empty()).then(|| ObjectReference::of(asked)),
            stage_timestamp: received.clone(),
            request_received_timestamp: received,
            ..Event::new(selected.level, head.id, head.uri, asked.verb)
        };
        let record = Record { audit: self.clone(), selected, is_long: head.is_long, event: Mutex::new(event), complete: AtomicBool::new(false) };
        let pending = Pending(Arc::new(record));
        if pending.0.emit(Stage::RequestReceived) {
            return Ok(Some(pending));
        }
        pending.0.complete.store(true, Ordering::Relaxed);
        Err(Status::internal("failed to store audit event"))
    }

    /// Events made and events lost, for the metrics.
    pub fn metrics(&self) -> String {
        format!(
            "# HELP apiserver_audit_event_total Audit events made.\n# TYPE apiserver_audit_event_total counter\napiserver_audit_event_total {}\n\
             # HELP apiserver_audit_error_total Audit events that could not be written.\n# TYPE apiserver_audit_error_total counter\n\
             apiserver_audit_error_total{{plugin=\"log\"}} {}\n",
            self.events.load(Ordering::Relaxed),
            self.log.lost()
        )
    }

    /// Writes what waits and ends.
    pub fn close(&self) {
        self.log.close();
    }
}

impl Pending {
    pub fn record(&self) -> &Arc<Record> {
        &self.0
    }

    /// A request that was not authenticated has one event and no more.
    pub fn unauthenticated(self, status: &Status) {
        self.0.lock().response_status = Some(event::bounded_status(&status.to_value()));
        self.0.emit(Stage::ResponseStarted);
        self.0.complete.store(true, Ordering::Relaxed);
    }

    /// The head of a stream was answered. The event completes when this is dropped.
    pub fn started(self, code: u16) -> Self {
        self.0.lock().set_code(code);
        self.0.emit(Stage::ResponseStarted);
        self
    }

    /// `status` is an answer that is a Status, `object` what was answered, where the level asks for it.
    pub fn complete(self, code: u16, status: Option<&Value>, object: Option<&[u8]>) {
        self.0.answered(code, status, object);
        if self.0.is_long {
            self.0.emit(Stage::ResponseStarted);
        }
        self.0.finish();
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.0.complete.load(Ordering::Relaxed) {
            return;
        }
        if std::thread::panicking() {
            let status = json!({"metadata": {}, "status": "Failure", "message": "APIServer panic'd", "reason": "InternalError", "code": 500});
            self.0.lock().response_status = Some(status);
            self.0.complete.store(true, Ordering::Relaxed);
            self.0.emit(Stage::Panic);
            return;
        }
        let mut event = self.0.lock();
        if event.response_status.is_none() {
            event.response_status = Some(json!({"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200}));
        }
        drop(event);
        self.0.finish();
    }
}

impl Record {
    pub fn wants(&self, level: Level) -> bool {
        self.selected.level >= level
    }

    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        let annotations = &mut self.lock().annotations;
        if annotations.len() < MAX_ANNOTATIONS {
            annotations.entry(key.to_owned()).or_insert_with(|| value.into());
        }
    }

    pub fn impersonates(&self, acting: &Acting) {
        let mut event = self.lock();
        event.impersonated_user = Some(user_info(&acting.user));
        if !acting.constraint.is_empty() {
            event.authentication_metadata = Some(json!({"impersonationConstraint": acting.constraint}));
        }
    }

    /// What was sent, as the kind that the resource takes. Names and revisions that the path does not tell are read from it.
    pub fn sent(&self, object: &Object) {
        let mut event = self.lock();
        if let Some(reference) = &mut event.object_ref {
            reference.complete_from(object);
        }
        if self.wants(Level::Request) {
            event.request_object = raw(&without_managers(object, self.selected.omit_managed_fields));
        }
    }

    /// A patch is no object.
    pub fn sent_patch(&self, patch: &Value) {
        if self.wants(Level::Request) {
            self.lock().request_object = raw(patch);
        }
    }

    fn answered(&self, code: u16, status: Option<&Value>, object: Option<&[u8]>) {
        let mut event = self.lock();
        if let Some(status) = status {
            event.response_status = Some(event::bounded_status(status));
        }
        event.set_code(code);
        let Some(object) = object.filter(|_| self.wants(Level::RequestResponse)) else { return };
        event.response_object = match self.selected.omit_managed_fields {
            true => serde_json::from_slice(object).ok().and_then(|object| raw(&without_managers(&object, true))),
            false => serde_json::from_slice(object).ok(),
        };
    }

    fn finish(&self) {
        if !self.complete.swap(true, Ordering::Relaxed) {
            self.emit(Stage::ResponseComplete);
        }
    }

    /// False: the event is lost, and the installation wants no request without one.
    fn emit(&self, stage: Stage) -> bool {
        if self.selected.omits(stage) {
            return true;
        }
        let mut event = self.lock();
        event.stage = stage;
        if stage != Stage::RequestReceived {
            event.stage_timestamp = event::micros(Timestamp::now());
        }
        self.audit.events.fetch_add(1, Ordering::Relaxed);
        self.audit.log.write(&mut event)
    }

    fn lock(&self) -> MutexGuard<'_, Event> {
        self.event.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn raw(value: &Value) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(value).ok()
}

/// The object, or the objects of a list or table, without their `managedFields`.
fn without_managers(object: &Value, omit: bool) -> std::borrow::Cow<'_, Value> {
    if !omit {
        return std::borrow::Cow::Borrowed(object);
    }
    let strip = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    let mut object = object.clone();
    strip(&mut object);
    for (list, inner) in [("items", None), ("rows", Some("object"))] {
        for item in object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            match inner {
                Some(inner) => item.get_mut(inner).into_iter().for_each(strip),
                None => strip(item),
            }
        }
    }
    std::borrow::Cow::Owned(object)
}

fn shortened(agent: &str) -> String {
    if agent.len() <= MAX_USER_AGENT_BYTES {
        return agent.to_owned();
    }
    let end = (0..=MAX_USER_AGENT_BYTES).rev().find(|at| agent.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...TRUNCATED", &agent[..end])
}

#[cfg(test)]
mod tests;
