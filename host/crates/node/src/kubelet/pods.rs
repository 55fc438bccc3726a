//! The node's pods: follows the objects bound to this node, keeps one worker for each, finds again what already runs
//! after a restart, and removes what no object stands for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_cri::v1::{ContainerState as CriState, ContainerStatus, PodSandbox, PodSandboxState};
use k8s_openapi::api::core::v1::Pod;
use pintle_api::client::Target;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::admission;
use super::context::Context;
use super::cri::{ANNOTATION_RESTARTS, LABEL_UID};
use super::follow::{Change, PODS, changes};
use super::runtime::remove_from_runtime;
use super::state::*;
use super::volumes::blocking;
use super::worker::{Handle, Input, Worker, moment};

/// How often the runtime's lists are compared with what the workers believe, in seconds: events tell all of it sooner.
const COMPARE_SECONDS: u64 = 10;
/// How often leftovers of pods without an object are looked for, in seconds.
const SWEEP_SECONDS: u64 = 60;

/// All pods of the node by uid, for the server's paths.
#[derive(Clone, Default)]
pub struct Table {
    by_uid: Arc<RwLock<HashMap<String, Handle>>>,
}

impl Table {
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<PodState>> {
        let table = self.by_uid.read().unwrap_or_else(PoisonError::into_inner);
        let states = table.values().map(|h| h.view.borrow().clone());
        let matches = |s: &Arc<PodState>| s.pod.metadata.namespace.as_deref() == Some(namespace) && s.pod.metadata.name.as_deref() == Some(name);
        let mut found: Vec<Arc<PodState>> = states.filter(matches).collect();
        // A pod that is being removed may share its name with its successor.
        found.sort_by_key(|s| s.is_deleting() || s.gone);
        found.into_iter().next()
    }
    pub fn all(&self) -> Vec<Arc<PodState>> {
        self.by_uid.read().unwrap_or_else(PoisonError::into_inner).values().map(|h| h.view.borrow().clone()).collect()
    }
    fn get(&self, uid: &str) -> Option<Handle> {
        self.by_uid.read().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }
    fn put(&self, uid: String, handle: Handle) {
        self.by_uid.write().unwrap_or_else(PoisonError::into_inner).insert(uid, handle);
    }
    fn drop_pod(&self, uid: &str) {
        self.by_uid.write().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
    fn uids(&self) -> Vec<String> {
        self.by_uid.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

/// What the runtime has of one pod.
#[derive(Default)]
pub struct Found {
    sandboxes: Vec<(PodSandbox, Vec<String>)>,
    containers: Vec<ContainerStatus>,
}

/// Runs until the watch's owner goes away. `ended` brings ids of containers and sandboxes that stopped.
pub async fn run(context: Arc<Context>, table: Table, mut ended: mpsc::Receiver<String>) {
    let mut found = inventory(&context).await;
    let selector = format!("spec.nodeName={}", context.node_name);
    let mut source = changes(context.client.clone(), Target::collection(PODS, None), selector);
    let (done_tx, mut done) = mpsc::channel::<String>(64);
    let mut compare = tokio::time::interval(Duration::from_secs(COMPARE_SECONDS));
    let mut sweep = tokio::time::interval(Duration::from_secs(SWEEP_SECONDS));
    let mut synced = false;
    let mut sweeping: Option<JoinHandle<()>> = None;
    loop {
        tokio::select! {
            change = source.recv() => match change {
                Some(Change::Reset(list)) => {
                    let pods: Vec<Pod> = list.iter().filter_map(|s| s.parse_as().ok()).collect();
                    let present: HashSet<String> = pods.iter().filter_map(|p| p.metadata.uid.clone()).collect();
                    for pod in pods {
                        take(&context, &table, pod, &mut found, &done_tx).await;
                    }
                    for uid in table.uids().into_iter().filter(|uid| !present.contains(uid)) {
                        tell(&table, &uid, Event::Gone).await;
                    }
                    synced = true;
                    found.clear();
                    sweep.reset_immediately();
                }
                Some(Change::Put(served)) => match served.parse_as::<Pod>() {
                    Ok(pod) => take(&context, &table, pod, &mut found, &done_tx).await,
                    Err(error) => tracing::warn!(%error, "unreadable pod"),
                },
                Some(Change::Gone(served)) => {
                    let uid = served.parse_as::<Pod>().ok().and_then(|p| p.metadata.uid).unwrap_or_default();
                    tell(&table, &uid, Event::Gone).await;
                }
                None => return,
            },
            Some(id) = ended.recv() => {
                if let Some(tx) = context.owners.of(&id) {
                    tx.send(Input::Ended(id)).await.ok();
                }
            }
            Some(uid) = done.recv() => table.drop_pod(&uid),
            _ = compare.tick(), if synced => compare_with_runtime(&context).await,
            _ = sweep.tick(), if synced && sweeping.as_ref().is_none_or(JoinHandle::is_finished) => {
                let (context, table) = (context.clone(), table.clone());
                sweeping = Some(tokio::spawn(async move { clean_leftovers(&context, &table).await }));
            }
        }
    }
}

async fn take(context: &Arc<Context>, table: &Table, pod: Pod, found: &mut HashMap<String, Found>, done: &mpsc::Sender<String>) {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    if let Some(handle) = table.get(&uid) {
        if handle.tx.send(Input::Event(Event::Pod(Arc::new(pod)))).await.is_err() {
            tracing::debug!(uid, "change of a pod that is already gone");
        }
        return;
    }
    let now = Timestamp::now();
    let known = found.remove(&uid);
    let is_new = known.is_none();
    let phase = pod.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
    let mut state = PodState::new(Arc::new(pod), now);
    if let Some(known) = known {
        restore(&mut state, known);
    } else if phase == "Succeeded" || phase == "Failed" {
        restore_finished(&mut state);
    }
    let refused = if is_new && phase != "Succeeded" && phase != "Failed" && !state.is_deleting() {
        admission::check(&state.pod, &table.all(), context).err()
    } else {
        None
    };
    let (handle, task) = Worker::start(context.clone(), state, None);
    if let Some(outcome) = refused {
        handle.tx.send(Input::Event(Event::Ended(outcome))).await.ok();
    }
    table.put(uid.clone(), handle);
    let done = done.clone();
    tokio::spawn(async move {
        if let Err(error) = task.await {
            tracing::error!(uid, %error, "pod worker failed");
        }
        done.send(uid).await.ok();
    });
}

async fn tell(table: &Table, uid: &str, event: Event) {
    if let Some(handle) = table.get(uid) {
        handle.tx.send(Input::Event(event)).await.ok();
    }
}

/// All that the runtime has, by pod.
async fn inventory(context: &Context) -> HashMap<String, Found> {
    let mut out: HashMap<String, Found> = HashMap::new();
    let (sandboxes, containers) = tokio::join!(context.cri.sandboxes(None), context.cri.containers(None));
    for sandbox in sandboxes.unwrap_or_default() {
        let uid = sandbox.labels.get(LABEL_UID).cloned().unwrap_or_default();
        let network = context.cri.sandbox_status(&sandbox.id).await.ok().and_then(|s| s.network).unwrap_or_default();
        let ips: Vec<String> =
            std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|i| i.ip)).filter(|i| !i.is_empty()).collect();
        out.entry(uid).or_default().sandboxes.push((sandbox, ips));
    }
    let statuses = join_all(containers.unwrap_or_default().into_iter().map(|c| async move { context.cri.container_status(&c.id).await })).await;
    for status in statuses.into_iter().flatten() {
        let uid = status.labels.get(LABEL_UID).cloned().unwrap_or_default();
        out.entry(uid).or_default().containers.push(status);
    }
    out
}

/// Puts a pod's state back from what the runtime has: nothing that runs is touched.
pub fn restore(state: &mut PodState, mut found: Found) {
    found.sandboxes.sort_by_key(|(s, _)| s.created_at);
    if let Some((sandbox, ips)) = found.sandboxes.pop() {
        let attempt = sandbox.metadata.as_ref().map_or(0, |m| m.attempt);
        let ready = sandbox.state == i32::from(PodSandboxState::SandboxReady);
        let (id, ips) = (sandbox.id, ips);
        state.sandbox = if ready { Sandbox::Ready { id, attempt, ips } } else { Sandbox::Stopped { id, attempt, ips } };
    }
    let mut by_name: BTreeMap<String, Vec<ContainerStatus>> = BTreeMap::new();
    for status in found.containers {
        by_name.entry(status.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default()).or_default().push(status);
    }
    let known = state.pod.status.clone().unwrap_or_default();
    let told: Vec<_> = [&known.container_statuses, &known.init_container_statuses].into_iter().flatten().flatten().cloned().collect();
    for (name, mut instances) in by_name {
        instances.sort_by_key(|s| s.created_at);
        let Some(c) = state.container_mut(&name) else { continue };
        let told = told.iter().find(|s| s.name == name);
        for status in instances {
            let restarts = status.annotations.get(ANNOTATION_RESTARTS).and_then(|v| v.parse().ok()).unwrap_or(0);
            c.restarts = restarts;
            c.image_id = status.image_ref.clone();
            if status.state == i32::from(CriState::ContainerRunning) {
                let started_at = moment(status.started_at);
                c.started = told.is_none_or(|t| t.started == Some(true));
                c.ready = told.is_some_and(|t| t.ready);
                // Read again when the next change of the object asks for something else.
                c.applied = told.and_then(|t| t.resources.clone());
                c.run = Run::Running { id: status.id.clone(), started_at, post_start_done: true, kill: None };
            } else {
                let exit = Terminated {
                    id: status.id.clone(),
                    exit_code: status.exit_code,
                    reason: status.reason.clone(),
                    message: told.and_then(|t| t.state.as_ref()?.terminated.as_ref()?.message.clone()).unwrap_or_default(),
                    started_at: moment(status.started_at),
                    finished_at: moment(status.finished_at),
                };
                c.before = c.latest.replace(exit);
            }
        }
    }
}

/// A pod that ended before and left nothing in the runtime: its status is its memory.
fn restore_finished(state: &mut PodState) {
    let status = state.pod.status.clone().unwrap_or_default();
    let listed = [&status.container_statuses, &status.init_container_statuses].into_iter().flatten().flatten();
    for told in listed {
        let Some(c) = state.container_mut(&told.name) else { continue };
        let Some(end) = told.state.as_ref().and_then(|s| s.terminated.as_ref()) else { continue };
        let time = |t: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| t.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
        c.restarts = u32::try_from(told.restart_count).unwrap_or(0);
        c.image_id = told.image_id.clone();
        c.latest = Some(Terminated {
            id: end.container_id.as_deref().unwrap_or("").trim_start_matches("containerd://").to_owned(),
            exit_code: end.exit_code,
            reason: end.reason.clone().unwrap_or_default(),
            message: end.message.clone().unwrap_or_default(),
            started_at: time(&end.started_at),
            finished_at: time(&end.finished_at),
        });
    }
    // An end that containers do not explain was the node's own decision.
    if status.phase.as_deref() == Some("Failed") {
        state.outcome = Some(Outcome { reason: status.reason.unwrap_or_default(), message: status.message.unwrap_or_default() });
    }
    (state.volumes, state.released) = (Work::Done, Work::Done);
}

/// Catches ends that no event told of.
async fn compare_with_runtime(context: &Arc<Context>) {
    // Before the lists: what is claimed meanwhile is not in them and must not look lost.
    let owners = context.owners.all();
    let (sandboxes, containers) = tokio::join!(context.cri.sandboxes(None), context.cri.containers(None));
    let (Ok(sandboxes), Ok(containers)) = (sandboxes, containers) else { return };
    let mut alive: HashSet<String> = containers.into_iter().filter(|c| c.state <= i32::from(CriState::ContainerRunning)).map(|c| c.id).collect();
    alive.extend(sandboxes.into_iter().filter(|s| s.state == i32::from(PodSandboxState::SandboxReady)).map(|s| s.id));
    for (id, tx) in owners {
        if !alive.contains(&id) {
            // A container that a worker knows to be over is not asked about again.
            context.owners.release(&id);
            tx.try_send(Input::Ended(id)).ok();
        }
    }
}

/// Removes sandboxes, folders and cgroups of pods that the API no longer has.
async fn clean_leftovers(context: &Arc<Context>, table: &Table) {
    let mut strangers: HashSet<String> = HashSet::new();
    let Ok(sandboxes) = context.cri.sandboxes(None).await else { return };
    strangers.extend(sandboxes.into_iter().filter_map(|s| s.labels.get(LABEL_UID).cloned()));
    for dir in [context.paths.pods(), context.paths.memory()] {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        strangers.extend(entries.map(|e| e.file_name().to_string_lossy().into_owned()));
    }
    strangers.extend(context.cgroups.pods());
    // After the lists: a pod that came meanwhile must not look like a stranger.
    let known: HashSet<String> = table.uids().into_iter().collect();
    for uid in strangers.into_iter().filter(|uid| !known.contains(uid) && !uid.is_empty()) {
        tracing::info!(uid, "removing what is left of a pod");
        let result = match remove_from_runtime(context, &uid).await {
            Ok(()) => {
                let (owned, of) = (context.clone(), uid.clone());
                blocking(move || owned.volumes.remove(&of).and_then(|()| owned.cgroups.remove_pod(&of))).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::warn!(uid, error, "leftovers stay");
        }
    }
}
