//! One pod's worker: a task that feeds [`step`] with what happens and carries out what it asks for.
//!
//! Every piece of work runs beside the worker and reports back as an event, so the worker itself never waits for the
//! runtime, a hook or the API. Started by `pods.rs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use pintle_api::client::{DeleteOptions, Patch, Target, WriteOptions};
use pintle_api::{Reason, Status};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::follow::{Key, PODS};
use super::probes;
use super::runtime;
use super::state::*;
use super::status;
use super::step::{next_wake, step};
use super::volumes::{MountedVolumes, content, is_of_objects};

/// Events that may wait for one pod's worker.
const QUEUE: usize = 256;
/// Delay before a failed status write is tried again, in milliseconds.
const STATUS_RETRY_MS: u64 = 1_000;
/// How often volumes are looked through for tokens near their end and for changes that no watch told, in seconds.
const REFRESH_SECONDS: u64 = 60;

#[expect(clippy::large_enum_variant, reason = "a worker's channel holds few of them, and most of what comes is of the greatest kind")]
pub enum Input {
    Event(Event),
    /// The runtime says that this container or sandbox ended.
    Ended(String),
    /// An object that a volume shows has changed.
    Refresh,
    StatusWritten(Result<(u64, PodStatus), Status>),
}

/// What others may see of a pod's worker.
#[derive(Clone)]
pub struct Handle {
    pub tx: mpsc::Sender<Input>,
    pub view: watch::Receiver<Arc<PodState>>,
}

pub struct Worker {
    context: Arc<Context>,
    state: PodState,
    tx: mpsc::Sender<Input>,
    rx: mpsc::Receiver<Input>,
    view: watch::Sender<Arc<PodState>>,
    shared: Arc<runtime::PodShared>,
    /// Newest status known to the API, with the revision it was seen at.
    api: (u64, PodStatus),
    writing: bool,
    dirty: bool,
    delete_wanted: bool,
    finished: bool,
    probes: HashMap<(String, ProbeKind), JoinHandle<()>>,
    kills: HashMap<String, JoinHandle<()>>,
    early_exits: HashMap<String, Terminated>,
    followers: Vec<JoinHandle<()>>,
    followed: Vec<Key>,
}

impl Worker {
    /// Starts the worker; it ends when the pod is gone from the API and from the node.
    pub fn start(context: Arc<Context>, state: PodState, mounted: Option<MountedVolumes>) -> (Handle, JoinHandle<()>) {
        let (tx, rx) = mpsc::channel(QUEUE);
        let (view, seen) = watch::channel(Arc::new(state.clone()));
        let api = (revision(&state.pod), state.pod.status.clone().unwrap_or_default());
        let handle = Handle { tx: tx.clone(), view: seen };
        let shared = Arc::new(runtime::PodShared {
            context: context.clone(),
            tx: tx.clone(),
            mounted: Mutex::new(mounted),
            cancel: Mutex::new(CancellationToken::new()),
        });
        let worker = Self {
            context,
            state,
            tx,
            rx,
            view,
            shared,
            api,
            writing: false,
            dirty: true,
            delete_wanted: false,
            finished: false,
            probes: HashMap::new(),
            kills: HashMap::new(),
            early_exits: HashMap::new(),
            followers: Vec::new(),
            followed: Vec::new(),
        };
        (handle, tokio::spawn(worker.run()))
    }

    async fn run(mut self) {
        self.claim_all();
        self.advance(Event::Timer);
        let mut refresh = tokio::time::interval(Duration::from_secs(REFRESH_SECONDS));
        refresh.tick().await;
        while !self.finished {
            let now = Timestamp::now();
            let wake = next_wake(&self.state, now);
            let nap = wake.map(|t| Duration::try_from(t.duration_since(now)).unwrap_or_default() + Duration::from_millis(5));
            tokio::select! {
                input = self.rx.recv() => match input {
                    Some(input) => self.take(input),
                    None => break,
                },
                () = tokio::time::sleep(nap.unwrap_or(Duration::from_secs(REFRESH_SECONDS))), if nap.is_some() => self.advance(Event::Timer),
                _ = refresh.tick() => self.refresh_volumes(),
            }
        }
        self.close();
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.advance(event),
            Input::Ended(id) => self.look_at_ended(id),
            Input::Refresh => self.refresh_volumes(),
            Input::StatusWritten(result) => self.status_written(result),
        }
    }

    /// One step of the state machine and all that follows from it.
    fn advance(&mut self, event: Event) {
        if let Event::Pod(pod) = &event {
            self.note_api(revision(pod), pod.status.clone().unwrap_or_default());
        }
        let early = self.early_exit(&event);
        let fields_changed = matches!(&event, Event::Pod(pod) if labels_differ(pod, &self.state.pod));
        let state = std::mem::replace(&mut self.state, PodState::new(Arc::default(), Timestamp::UNIX_EPOCH));
        let (state, actions) = step(state, event, Timestamp::now());
        self.state = state;
        self.view.send_replace(Arc::new(self.state.clone()));
        for action in actions {
            self.perform(action);
        }
        if fields_changed {
            self.refresh_volumes();
        }
        self.reconcile_probes();
        self.dirty = true;
        self.write_status();
        if let Some(exit) = early {
            self.advance(Event::ContainerExited { name: exit.0, exit: exit.1 });
        }
    }

    /// A container may end before its start was told; the end is kept until then.
    fn early_exit(&mut self, event: &Event) -> Option<(String, Terminated)> {
        match event {
            Event::ContainerStarted { name, result: Ok(up) } => self.early_exits.remove(&up.id).map(|exit| (name.clone(), exit)),
            Event::ContainerExited { name, exit } => {
                let starting = self.state.container(name).is_some_and(|c| c.run == Run::Starting);
                if starting {
                    self.early_exits.insert(exit.id.clone(), exit.clone());
                }
                None
            }
            _ => None,
        }
    }

    fn perform(&mut self, action: Action) {
        let pod = self.state.pod.clone();
        match action {
            Action::Tell { warning, reason, message, container } => {
                self.context.recorder.pod(&pod, container.as_deref(), warning, reason, message);
            }
            Action::MountVolumes => {
                self.follow_objects();
                let (shared, ips) = (self.shared.clone(), self.pod_ips());
                self.spawn(async move { Event::VolumesMounted(shared.mount(&pod, &ips).await) });
            }
            Action::StartSandbox { attempt } => {
                let shared = self.shared.clone();
                self.spawn(async move { Event::SandboxStarted(shared.start_sandbox(&pod, attempt).await) });
            }
            Action::StartContainer { name, attempt } => {
                let (shared, state) = (self.shared.clone(), self.state.clone());
                let ips = self.pod_ips();
                tokio::spawn(async move { shared.start_container(&state, &name, attempt, &ips).await });
            }
            Action::Resize { containers } => {
                let shared = self.shared.clone();
                self.spawn(async move { Event::Resized(shared.resize(&pod, containers).await) });
            }
            Action::CancelStarts => self.shared.cancel_starts(),
            Action::Kill { name, id, grace_seconds, pre_stop, message } => self.kill(pod, name, id, grace_seconds, pre_stop, message),
            Action::StopSandbox { id } => {
                let cri = self.context.cri.clone();
                self.spawn(async move { Event::SandboxStopped(cri.stop_sandbox(&id).await.map_err(|e| e.to_string())) });
            }
            Action::Forget { id } => {
                let shared = self.shared.clone();
                tokio::spawn(async move { shared.forget(&id).await });
            }
            Action::Release => {
                self.stop_following();
                let shared = self.shared.clone();
                self.spawn(async move { Event::Released(shared.release(&pod).await) });
            }
            Action::TearDown => {
                self.stop_following();
                let shared = self.shared.clone();
                self.spawn(async move { Event::TornDown(shared.tear_down(&pod).await) });
            }
            Action::DeleteObject => {
                self.delete_wanted = true;
                self.delete_when_written();
            }
            Action::Finish => self.finished = true,
        }
    }

    fn kill(&mut self, pod: Arc<Pod>, name: String, id: String, grace_seconds: i64, pre_stop: bool, message: String) {
        if let Some(before) = self.kills.remove(&id) {
            before.abort();
        }
        self.context.recorder.pod(&pod, Some(&name), false, "Killing", message);
        let (shared, ips, key) = (self.shared.clone(), self.pod_ips(), id.clone());
        let task = tokio::spawn(async move { shared.kill(&pod, &name, &id, grace_seconds, pre_stop, &ips).await });
        self.kills.insert(key, task);
    }

    fn spawn(&self, work: impl Future<Output = Event> + Send + 'static) {
        let tx = self.tx.clone();
        tokio::spawn(async move {
            let event = work.await;
            tx.send(Input::Event(event)).await.ok();
        });
    }

    // --- runtime ------------------------------------------------------------------------------------------------

    fn claim_all(&self) {
        for id in self.state.containers.iter().filter_map(ContainerState::running_id).chain(self.state.sandbox_id()) {
            self.context.owners.claim(id, self.tx.clone());
        }
    }

    fn look_at_ended(&mut self, id: String) {
        self.kills.remove(&id);
        if self.state.sandbox_id() == Some(id.as_str()) {
            if matches!(self.state.sandbox, Sandbox::Ready { .. }) {
                self.advance(Event::SandboxDied { id });
            }
            return;
        }
        let (shared, pod) = (self.shared.clone(), self.state.pod.clone());
        tokio::spawn(async move { shared.report_exit(&pod, &id).await });
    }

    fn pod_ips(&self) -> Vec<String> {
        let host_network = self.state.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
        if host_network { self.context.host.ips.clone() } else { self.state.sandbox_ips().to_vec() }
    }

    // --- volumes ------------------------------------------------------------------------------------------------

    fn follow_objects(&mut self) {
        let namespace = self.state.pod.metadata.namespace.clone().unwrap_or_default();
        let volumes = self.state.pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        for key in volumes.flat_map(|v| content::references(v, &namespace)) {
            if self.followed.contains(&key) {
                continue;
            }
            let (mut seen, tx) = (self.context.objects.follow(&key), self.tx.clone());
            self.followed.push(key);
            self.followers.push(tokio::spawn(async move {
                // The first answer is what the mount reads.
                let mut first = true;
                while seen.changed().await.is_ok() {
                    if !std::mem::take(&mut first) && tx.send(Input::Refresh).await.is_err() {
                        return;
                    }
                }
            }));
        }
    }

    fn stop_following(&mut self) {
        self.followers.drain(..).for_each(|f| f.abort());
        self.followed.clear();
    }

    fn refresh_volumes(&mut self) {
        if self.state.volumes != Work::Done || self.state.released != Work::Pending || self.state.torn_down != Work::Pending {
            // A mount that waits for a missing object tries again at once.
            if matches!(self.state.volumes, Work::Failed { .. }) {
                self.advance(Event::Pod(self.state.pod.clone()));
            }
            return;
        }
        let changeable = self.state.pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).any(is_of_objects);
        if changeable {
            let (shared, pod, ips) = (self.shared.clone(), self.state.pod.clone(), self.pod_ips());
            tokio::spawn(async move { shared.refresh(&pod, &ips).await });
        }
    }

    // --- probes -------------------------------------------------------------------------------------------------

    fn reconcile_probes(&mut self) {
        let mut wanted = HashMap::new();
        let ips = self.pod_ips();
        let Some(ip) = ips.first() else { return self.stop_probes() };
        for c in &self.state.containers {
            let Run::Running { id, started_at, post_start_done: true, kill } = &c.run else { continue };
            let Some((spec, kind)) = container_spec(&self.state.pod, &c.name) else { continue };
            if matches!(kind, Kind::Init | Kind::Ephemeral) {
                continue;
            }
            let ending = kill.is_some() || self.state.is_deleting();
            let list = if !c.started {
                [(ProbeKind::Startup, spec.startup_probe.clone().filter(|_| !ending)), (ProbeKind::Liveness, None)]
            } else {
                [(ProbeKind::Liveness, spec.liveness_probe.clone().filter(|_| !ending)), (ProbeKind::Readiness, spec.readiness_probe.clone())]
            };
            for (kind, probe) in list {
                let Some(probe) = probe else { continue };
                let subject = probes::Subject {
                    context: self.context.clone(),
                    pod: self.state.pod.clone(),
                    container: spec.clone().into_owned(),
                    id: id.clone(),
                    started_at: *started_at,
                    pod_ip: ip.clone(),
                    kind,
                    probe,
                    healthy: kind == ProbeKind::Readiness && c.ready,
                };
                wanted.insert((id.clone(), kind), subject);
            }
        }
        self.probes.retain(|key, task| {
            let keep = wanted.contains_key(key);
            if !keep {
                task.abort();
            }
            keep
        });
        for (key, subject) in wanted {
            self.probes.entry(key).or_insert_with(|| tokio::spawn(probes::run(subject, self.tx.clone())));
        }
    }

    fn stop_probes(&mut self) {
        self.probes.drain().for_each(|(_, task)| task.abort());
    }

    // --- status -------------------------------------------------------------------------------------------------

    fn note_api(&mut self, revision: u64, status: PodStatus) {
        if revision >= self.api.0 {
            self.api = (revision, status);
        }
    }

    fn write_status(&mut self) {
        if self.writing || !self.dirty || self.state.gone {
            return self.delete_when_written();
        }
        self.dirty = false;
        let now = Timestamp::now();
        let wanted = status::of(&self.state, &self.api.1, &self.context.host, now);
        let uid = self.state.pod.metadata.uid.clone().unwrap_or_default();
        let Some(patch) = status::patch(Some(&self.api.1), &wanted, &uid) else { return self.delete_when_written() };
        self.writing = true;
        let (client, tx) = (self.context.client.clone(), self.tx.clone());
        let target = self.target().subresource("status");
        tokio::spawn(async move {
            let written = client.patch(&target, Patch::Strategic(patch), &WriteOptions::default()).await;
            let result = written.and_then(|served| Ok((served.revision, served.parse_as::<Pod>()?.status.unwrap_or_default())));
            if let Err(error) = &result
                && !error.is(Reason::NotFound)
            {
                tracing::warn!(pod = target.path(), %error, "pod status not written");
                tokio::time::sleep(Duration::from_millis(STATUS_RETRY_MS)).await;
            }
            tx.send(Input::StatusWritten(result)).await.ok();
        });
    }

    fn status_written(&mut self, result: Result<(u64, PodStatus), Status>) {
        self.writing = false;
        match result {
            Ok((revision, status)) => self.note_api(revision, status),
            // The watch will tell that the object is gone.
            Err(error) if error.is(Reason::NotFound) => {}
            Err(_) => self.dirty = true,
        }
        self.write_status();
    }

    fn delete_when_written(&mut self) {
        if !self.delete_wanted || self.writing || self.dirty {
            return;
        }
        self.delete_wanted = false;
        let (client, target) = (self.context.client.clone(), self.target());
        let options = DeleteOptions { grace_period_seconds: Some(0), uid: self.state.pod.metadata.uid.clone(), ..DeleteOptions::default() };
        self.spawn(async move {
            match client.delete(&target, &options).await {
                Ok(_) => Event::ObjectDeleted(Ok(())),
                Err(e) if e.is(Reason::NotFound) || e.is(Reason::Conflict) => Event::ObjectDeleted(Ok(())),
                Err(e) => Event::ObjectDeleted(Err(e.to_string())),
            }
        });
    }

    fn target(&self) -> Target {
        let meta = &self.state.pod.metadata;
        Target::object(PODS, meta.namespace.as_deref(), meta.name.as_deref().unwrap_or(""))
    }

    fn close(&mut self) {
        self.stop_probes();
        self.stop_following();
        for c in &self.state.containers {
            for id in c.running_id().into_iter().chain(c.latest.as_ref().map(|t| t.id.as_str())) {
                self.context.owners.release(id);
            }
        }
        if let Some(id) = self.state.sandbox_id() {
            self.context.owners.release(id);
        }
        self.context.tokens.forget(self.state.pod.metadata.uid.as_deref().unwrap_or(""));
        self.shared.mounted.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Labels and annotations can be files in a volume.
fn labels_differ(a: &Pod, b: &Pod) -> bool {
    a.metadata.labels != b.metadata.labels || a.metadata.annotations != b.metadata.annotations
}

fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// A moment from the runtime's nanoseconds; zero is "never".
pub fn moment(nanos: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_nanos(nanos)).unwrap_or(Timestamp::UNIX_EPOCH)
}
