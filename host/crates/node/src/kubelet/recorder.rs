//! Events about pods and the node, written in the background: the same one again within the hour raises a count.
//!
//! An event is worth less than the work it tells of: a full queue drops it, a failed write is not tried again.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use pintle_api::Client;
use pintle_api::client::{Patch, Target, WriteOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::follow::EVENTS;

/// Events that may wait to be written.
const QUEUE: usize = 1024;
/// Remembered events, for counting repeats.
const REMEMBERED: usize = 4096;
/// A repeat after this long is a new event, in seconds.
const SAME_EVENT_SECONDS: i64 = 3600;

#[derive(Clone)]
pub struct Recorder {
    tx: mpsc::Sender<Note>,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub field_path: String,
}

struct Note {
    subject: Subject,
    warning: bool,
    reason: String,
    message: String,
    at: Timestamp,
}

struct Known {
    name: String,
    namespace: String,
    count: u32,
    last: Timestamp,
}

impl Recorder {
    pub fn start(client: Arc<dyn Client>, node: String) -> Self {
        let (tx, rx) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(client, node, rx));
        Self { tx }
    }

    pub fn pod(&self, pod: &Pod, container: Option<&str>, warning: bool, reason: &str, message: impl Into<String>) {
        let meta = &pod.metadata;
        let is_init = |n: &str| pod.spec.iter().any(|s| s.init_containers.iter().flatten().any(|c| c.name == n));
        let is_ephemeral = |n: &str| pod.spec.iter().any(|s| s.ephemeral_containers.iter().flatten().any(|c| c.name == n));
        let field_path = container.map_or(String::new(), |name| {
            let list = if is_init(name) {
                "initContainers"
            } else if is_ephemeral(name) {
                "ephemeralContainers"
            } else {
                "containers"
            };
            format!("spec.{list}{{{name}}}")
        });
        let subject = Subject {
            kind: "Pod",
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            field_path,
        };
        self.send(subject, warning, reason, message.into());
    }

    pub fn node(&self, name: &str, warning: bool, reason: &str, message: impl Into<String>) {
        let subject = Subject {
            kind: "Node",
            namespace: String::new(),
            name: name.to_owned(),
            uid: name.to_owned(),
            resource_version: String::new(),
            field_path: String::new(),
        };
        self.send(subject, warning, reason, message.into());
    }

    fn send(&self, subject: Subject, warning: bool, reason: &str, message: String) {
        let note = Note { subject, warning, reason: reason.to_owned(), message, at: Timestamp::now() };
        if self.tx.try_send(note).is_err() {
            tracing::warn!("event queue is full: an event was dropped");
        }
    }
}

async fn write_all(client: Arc<dyn Client>, node: String, mut rx: mpsc::Receiver<Note>) {
    let mut known: HashMap<(Subject, bool, String, String), Known> = HashMap::new();
    while let Some(note) = rx.recv().await {
        let mut subject = note.subject.clone();
        subject.resource_version.clear();
        let key = (subject, note.warning, note.reason.clone(), note.message.clone());
        if let Some(seen) = known.get_mut(&key)
            && note.at.duration_since(seen.last).as_secs() < SAME_EVENT_SECONDS
        {
            seen.count += 1;
            seen.last = note.at;
            let target = Target::object(EVENTS, Some(&seen.namespace), &seen.name);
            let patch = Patch::Merge(json!({"count": seen.count, "lastTimestamp": seconds(note.at)}));
            if client.patch(&target, patch, &WriteOptions::default()).await.is_ok() {
                continue;
            }
        }
        if known.len() >= REMEMBERED {
            known.retain(|_, k| note.at.duration_since(k.last).as_secs() < SAME_EVENT_SECONDS / 6);
            if known.len() >= REMEMBERED {
                known.clear();
            }
        }
        let (name, namespace, body) = event_object(&note, &node);
        let target = Target::collection(EVENTS, Some(&namespace));
        match client.create(&target, body, &WriteOptions::default()).await {
            Ok(_) => {
                known.insert(key, Known { name, namespace, count: 1, last: note.at });
            }
            Err(status) => tracing::debug!(reason = note.reason, error = %status, "event not written"),
        }
    }
}

fn event_object(note: &Note, node: &str) -> (String, String, Value) {
    let s = &note.subject;
    let name = format!("{}.{:x}", s.name, note.at.as_nanosecond());
    let namespace = if s.namespace.is_empty() { "default".to_owned() } else { s.namespace.clone() };
    let mut involved = json!({"kind": s.kind, "apiVersion": "v1", "name": s.name, "uid": s.uid});
    for (key, value) in [("namespace", &s.namespace), ("resourceVersion", &s.resource_version), ("fieldPath", &s.field_path)] {
        if !value.is_empty() {
            involved[key] = json!(value);
        }
    }
    let body = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "reason": note.reason, "message": note.message,
        "type": if note.warning { "Warning" } else { "Normal" },
        "source": {"component": "kubelet", "host": node},
        "reportingComponent": "kubelet", "reportingInstance": node,
        "firstTimestamp": seconds(note.at), "lastTimestamp": seconds(note.at), "count": 1,
    });
    (name, namespace, body)
}

/// A time as the API writes it: whole seconds, UTC.
pub fn seconds(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
