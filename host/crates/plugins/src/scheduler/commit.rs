//! Carries out what was decided: bindings, the conditions of pods that fit nowhere, evictions, events. Each runs aside, a bounded
//! number at a time, as the plugin's own identity.

use std::sync::Arc;
use std::time::Duration;

use pintle_api::client::{Client, DeleteOptions, Patch, Target, WriteOptions};
use pintle_api::{Reason, Status};
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::Pod;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::cluster::Uid;
use super::driver::PODS;
use super::queue::Waiting;
use super::volumes::{CLAIMS, SELECTED_NODE};
use crate::events::{Event, Recorder, Regarding, time};
use crate::index::Entry;

/// Bindings under way: enough to share the store's group commits, few enough to take back.
const BINDINGS: usize = 128;
/// Other writes under way.
const WRITES: usize = 16;
/// A binding that takes longer has failed.
const BIND_TIMEOUT: Duration = Duration::from_secs(30);

/// What came of what was carried out aside.
pub enum Report {
    Bound {
        uid: Uid,
        outcome: Result<(), Status>,
    },
    /// A victim is still there, and nobody is about to end it.
    NotEvicted {
        preemptor: Uid,
    },
}

pub struct Victim {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

pub struct Committer {
    client: Arc<dyn Client>,
    recorder: Recorder,
    scheduler: Arc<str>,
    report: mpsc::UnboundedSender<Report>,
    bindings: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl Committer {
    pub fn new(client: Arc<dyn Client>, recorder: Recorder, scheduler: Arc<str>, report: mpsc::UnboundedSender<Report>) -> Self {
        let (bindings, writes) = (Arc::new(Semaphore::new(BINDINGS)), Arc::new(Semaphore::new(WRITES)));
        Self { client, recorder, scheduler, report, bindings, writes }
    }

    pub fn has_room(&self) -> bool {
        self.bindings.available_permits() > 0
    }

    pub fn bind(&self, entry: Arc<Entry>, node: String) {
        let (client, report, recorder) = (self.client.clone(), self.report.clone(), self.recorder.clone());
        let permit = self.bindings.clone().try_acquire_owned();
        tokio::spawn(async move {
            let meta = &entry.meta;
            let target = Target::object(PODS, Some(&meta.namespace), &meta.name).subresource("binding");
            let body = json!({
                "apiVersion": "v1", "kind": "Binding",
                "metadata": {"name": &*meta.name, "namespace": &*meta.namespace, "uid": &*meta.uid},
                "target": {"kind": "Node", "name": node},
            });
            let options = WriteOptions::default();
            let outcome = match tokio::time::timeout(BIND_TIMEOUT, client.create(&target, body, &options)).await {
                Ok(answer) => answer.map(drop),
                Err(_) => Err(Status::unavailable("the binding was not answered in time")),
            };
            let done = outcome.is_ok();
            // The permit goes first, so that the driver sees room when it hears of the end.
            drop(permit);
            let _ = report.send(Report::Bound { uid: meta.uid.clone(), outcome });
            if done {
                let note = format!("Successfully assigned {}/{} to {node}", meta.namespace, meta.name);
                recorder.record(event(about(&entry), "Normal", "Scheduled", "Binding", note));
            }
        });
    }

    /// Writes the condition when it says something new, and an event.
    pub fn not_scheduled(&self, waiting: &mut Waiting, reason: &str, message: String, nominated: Option<String>) {
        let regarding = about(&waiting.entry);
        self.recorder.record(event(regarding, "Warning", "FailedScheduling", "Scheduling", message.clone()));
        let renominated = nominated.as_ref().is_some_and(|n| *n != waiting.spec.nominated);
        if waiting.told == message && !renominated {
            return;
        }
        let mut condition = json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": message});
        if waiting.told.is_empty() {
            condition["lastProbeTime"] = Value::Null;
            condition["lastTransitionTime"] = time().into();
        }
        let mut status = json!({"conditions": [condition]});
        if renominated {
            status["nominatedNodeName"] = nominated.filter(|node| !node.is_empty()).into();
        }
        waiting.told = message;
        let meta = &waiting.entry.meta;
        let target = Target::object(PODS, Some(&meta.namespace), &meta.name).subresource("status");
        // The uid makes it a conflict when another pod of the name came.
        let patch = json!({"metadata": {"uid": &*meta.uid}, "status": status});
        self.spawn(async move |client| {
            if let Err(status) = client.patch(&target, Patch::Strategic(patch), &WriteOptions::default()).await {
                tracing::debug!(%status, "a pod's condition was not written");
            }
        });
    }

    /// Tells claims that wait for their first consumer where it will be.
    pub fn select_node(&self, namespace: &str, claims: Vec<String>, node: String) {
        let namespace = namespace.to_owned();
        self.spawn(async move |client| {
            for claim in claims {
                let target = Target::object(CLAIMS, Some(&namespace), &claim);
                let patch = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
                if let Err(status) = client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await {
                    tracing::warn!(claim, %status, "a claim was not told its node");
                }
            }
        });
    }

    pub fn evict(&self, victims: Vec<Victim>, preemptor: &Pod, node: &str) {
        let note = format!("Preempted by pod {} on node {node}", preemptor.uid);
        let why = format!("{}: preempting to accommodate a higher priority pod", self.scheduler);
        let (recorder, report) = (self.recorder.clone(), self.report.clone());
        let preemptor: Uid = preemptor.uid.as_str().into();
        self.spawn(async move |client| {
            for victim in victims {
                let target = Target::object(PODS, Some(&victim.namespace), &victim.name);
                let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                    "message": why, "lastProbeTime": null, "lastTransitionTime": time()});
                let patch = json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}});
                if let Err(status) = client.patch(&target.clone().subresource("status"), Patch::Strategic(patch), &WriteOptions::default()).await {
                    tracing::debug!(%status, "a victim's condition was not written");
                }
                let options = DeleteOptions { uid: Some(victim.uid.clone()), ..DeleteOptions::default() };
                match client.delete(&target, &options).await {
                    Ok(_) => {
                        let regarding = Regarding {
                            api_version: "v1".to_owned(),
                            kind: "Pod".to_owned(),
                            namespace: victim.namespace,
                            name: victim.name,
                            uid: victim.uid,
                            resource_version: String::new(),
                        };
                        recorder.record(event(regarding, "Normal", "Preempted", "Preempting", note.clone()));
                    }
                    // Gone already, or another of its name: the watch tells.
                    Err(status) if status.is(Reason::NotFound) || status.is(Reason::Conflict) => {}
                    Err(status) => {
                        tracing::warn!(%status, "a victim was not evicted");
                        let _ = report.send(Report::NotEvicted { preemptor: preemptor.clone() });
                    }
                }
            }
        });
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, write: impl FnOnce(Arc<dyn Client>) -> F + Send + 'static) {
        let (client, writes) = (self.client.clone(), self.writes.clone());
        tokio::spawn(async move {
            let Ok(_permit) = writes.acquire_owned().await else { return };
            write(client).await;
        });
    }
}

fn about(entry: &Entry) -> Regarding {
    Regarding {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: entry.meta.namespace.to_string(),
        name: entry.meta.name.to_string(),
        uid: entry.meta.uid.to_string(),
        resource_version: entry.revision.to_string(),
    }
}

fn event(regarding: Regarding, kind: &'static str, reason: &str, action: &str, note: String) -> Event {
    Event { regarding, kind, reason: reason.to_owned(), action: action.to_owned(), note }
}
