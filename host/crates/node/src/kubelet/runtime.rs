//! What a pod's worker has done in the runtime: sandboxes, containers, hooks, kills, and cleaning up.
//!
//! Each function is one action of the state machine; the answer is the event that it ends in.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_cri::v1::{ContainerState as CriState, ContainerStatus, Image, PodSandboxConfig};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use pintle_api::Reason;
use pintle_api::client::Target;
use pintle_api::object::ObjectExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::container_config::{self, Inputs};
use super::context::Context;
use super::cri::*;
use super::env;
use super::follow::RUNTIME_CLASSES;
use super::hooks;
use super::mounts::{self, Place};
use super::sandbox_config;
use super::state::*;
use super::step::{CANCELLED, MIN_GRACE_SECONDS};
use super::volumes::{MountedVolumes, blocking, content};
use super::worker::{Input, moment};

/// Longest termination message from the container's file, and from its log, in bytes; lines of the latter.
const MESSAGE_BYTES: u64 = 4096;
const LOG_MESSAGE_BYTES: u64 = 2048;
const LOG_MESSAGE_LINES: usize = 80;
/// First and longest pause between looks at a container that the runtime still calls running, in milliseconds.
const EXIT_LOOK_MS: (u64, u64) = (3, 500);
/// Looks at such a container before it is believed to run, after all.
const EXIT_LOOKS: usize = 12;

pub struct PodShared {
    pub context: Arc<Context>,
    pub tx: mpsc::Sender<Input>,
    pub mounted: Mutex<Option<MountedVolumes>>,
    pub cancel: Mutex<CancellationToken>,
}

impl PodShared {
    pub async fn mount(&self, pod: &Pod, pod_ips: &[String]) -> Result<(), String> {
        let result = self.context.volumes.mount(&self.sources(pod, pod_ips)).await;
        match result {
            Ok(mounted) => {
                self.mounted.lock().unwrap_or_else(PoisonError::into_inner).replace(mounted);
                Ok(())
            }
            Err(message) => {
                self.context.recorder.pod(pod, None, true, "FailedMount", message.as_str());
                Err(message)
            }
        }
    }

    pub async fn refresh(&self, pod: &Pod, pod_ips: &[String]) {
        if let Err(error) = self.context.volumes.refresh(&self.sources(pod, pod_ips)).await {
            tracing::debug!(pod = pod.metadata.name, error, "volume not refreshed");
        }
    }

    pub async fn start_sandbox(&self, pod: &Pod, attempt: u32) -> Result<SandboxUp, String> {
        let context = &self.context;
        let handler = self.runtime_handler(pod).await?;
        let config = self.sandbox_config(pod, attempt)?;
        let (cgroups, owned, logs) = (context.cgroups.clone(), pod.clone(), config.log_directory.clone());
        blocking(move || {
            fs::create_dir_all(logs)?;
            cgroups.create_pod(&owned)
        })
        .await?;
        let id = context.cri.run_sandbox(config, &handler).await.map_err(|e| e.to_string())?;
        context.owners.claim(&id, self.tx.clone());
        let status = context.cri.sandbox_status(&id).await.map_err(|e| e.to_string())?;
        let network = status.network.unwrap_or_default();
        let mut ips: Vec<String> = Some(network.ip).into_iter().filter(|ip| !ip.is_empty()).collect();
        ips.extend(network.additional_ips.into_iter().map(|i| i.ip));
        Ok(SandboxUp { id, ips })
    }

    /// Ends in `ContainerStarted` and, with a hook, `PostStartDone`.
    pub async fn start_container(&self, state: &PodState, name: &str, attempt: u32, pod_ips: &[String]) {
        let cancel = self.cancel.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let result = tokio::select! {
            result = self.try_start(state, name, attempt, pod_ips) => result,
            () = cancel.cancelled() => Err(failure(CANCELLED, "the pod ends")),
        };
        let pod = &state.pod;
        if let Err(f) = &result
            && !matches!(f.reason, "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" | "Cancelled")
        {
            self.context.recorder.pod(pod, Some(name), true, "Failed", format!("Error: {}", f.message));
        }
        let started = result.as_ref().ok().cloned();
        self.send(Event::ContainerStarted { name: name.to_owned(), result }).await;
        let Some(up) = started else { return };
        let Some((spec, _)) = container_spec(pod, name) else { return };
        let Some(hook) = spec.lifecycle.as_ref().and_then(|l| l.post_start.clone()) else { return };
        let ip = pod_ips.first().map_or("", String::as_str);
        let outcome = tokio::select! {
            outcome = hooks::run(&self.context.cri, &hook, &spec, &up.id, ip, None) => outcome,
            () = cancel.cancelled() => Ok(()),
        };
        self.send(Event::PostStartDone { name: name.to_owned(), id: up.id, error: outcome.err() }).await;
    }

    /// The pod's own group first makes room for more, at the end it is what the containers add up to.
    pub async fn resize(&self, pod: &Pod, containers: Vec<(String, String)>) -> Result<Vec<(String, ResourceRequirements)>, String> {
        let cgroups = self.context.cgroups.clone();
        let owned = pod.clone();
        blocking(move || cgroups.raise_pod(&owned)).await?;
        let mut done = Vec::new();
        for (name, id) in containers {
            let Some((spec, _)) = container_spec(pod, &name) else { continue };
            let mut resources = container_config::resources(pod, &spec, self.context.memory_bytes);
            if resources.cpu_quota == 0 {
                resources.cpu_quota = -1;
            }
            if let Err(error) = self.context.cri.update_resources(&id, resources).await {
                self.context.recorder.pod(pod, Some(&name), true, "ResizeError", error.to_string());
                return Err(error.to_string());
            }
            done.push((name, spec.resources.clone().unwrap_or_default()));
        }
        let (cgroups, owned) = (self.context.cgroups.clone(), pod.clone());
        blocking(move || cgroups.create_pod(&owned)).await?;
        let generation = pod.metadata.generation.unwrap_or(0);
        let message = format!("Pod resize completed: {{\"generation\":{generation}}}");
        self.context.recorder.pod(pod, None, false, "ResizeCompleted", message);
        Ok(done)
    }

    pub fn cancel_starts(&self) {
        self.cancel.lock().unwrap_or_else(PoisonError::into_inner).cancel();
    }

    pub async fn kill(&self, pod: &Pod, name: &str, id: &str, grace_seconds: i64, pre_stop: bool, pod_ips: &[String]) {
        let context = &self.context;
        let begun = Instant::now();
        let spec = container_spec(pod, name).map(|(c, _)| c);
        let hook = spec.as_ref().and_then(|c| c.lifecycle.as_ref()).and_then(|l| l.pre_stop.clone());
        if let (Some(hook), Some(spec), true) = (hook, &spec, pre_stop && grace_seconds > 0) {
            let limit = Duration::from_secs(u64::try_from(grace_seconds).unwrap_or(0));
            let ip = pod_ips.first().map_or("", String::as_str);
            let outcome = tokio::time::timeout(limit, hooks::run(&context.cri, &hook, spec, id, ip, Some(limit))).await;
            if let Ok(Err(error)) = outcome {
                tracing::debug!(container = name, error, "preStop hook failed");
                context.recorder.pod(pod, Some(name), true, "FailedPreStopHook", "PreStopHook failed");
            }
        }
        let used = i64::try_from(begun.elapsed().as_secs()).unwrap_or(0);
        let left = if grace_seconds > 0 { (grace_seconds - used).max(MIN_GRACE_SECONDS.min(grace_seconds)) } else { 0 };
        if let Err(error) = context.cri.stop_container(id, left).await {
            context.recorder.pod(pod, None, true, "FailedKillPod", format!("error killing pod: {error}"));
            tracing::warn!(container = name, %error, "container not stopped");
        }
        self.report_exit(pod, id).await;
    }

    /// Asks the runtime how a container ended and tells the worker. One that still runs is asked about again.
    pub async fn report_exit(&self, pod: &Pod, id: &str) {
        let mut pause = EXIT_LOOK_MS.0;
        for _ in 0..EXIT_LOOKS {
            match self.context.cri.container_status(id).await {
                Ok(status) if status.state == i32::from(CriState::ContainerExited) => {
                    let name = status.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default();
                    let exit = self.terminated(pod, &status).await;
                    return self.send(Event::ContainerExited { name, exit }).await;
                }
                Err(e) if e.is_not_found() => return self.report_lost(id).await,
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
            pause = (pause * 2).min(EXIT_LOOK_MS.1);
        }
    }

    pub async fn forget(&self, id: &str) {
        let cri = &self.context.cri;
        let Ok(status) = cri.container_status(id).await else { return };
        if cri.remove_container(id).await.is_ok() {
            self.context.owners.release(id);
            blocking(move || fs::remove_file(status.log_path)).await.ok();
        }
    }

    async fn report_lost(&self, id: &str) {
        let now = Timestamp::now();
        let exit = Terminated {
            id: id.to_owned(),
            exit_code: 137,
            reason: "ContainerStatusUnknown".into(),
            message: "The container could not be located when the pod was terminated".into(),
            started_at: now,
            finished_at: now,
        };
        // The name is unknown here: every container is offered it, the one with the id takes it.
        self.send(Event::ContainerExited { name: String::new(), exit }).await;
    }

    pub async fn terminated(&self, pod: &Pod, status: &ContainerStatus) -> Terminated {
        let mut message = status.message.clone();
        let annotations = &status.annotations;
        let file = annotations.get(ANNOTATION_MESSAGE_FILE).cloned();
        let from_logs = annotations.get(ANNOTATION_MESSAGE_POLICY).is_some_and(|p| p == "FallbackToLogsOnError");
        let log = (from_logs && status.exit_code != 0).then(|| status.log_path.clone());
        let found = blocking(move || Ok(termination_message(file.as_deref(), log.as_deref()))).await.unwrap_or_default();
        if !found.is_empty() {
            message = found;
        }
        let _ = pod;
        Terminated {
            id: status.id.clone(),
            exit_code: status.exit_code,
            reason: status.reason.clone(),
            message,
            started_at: moment(status.started_at),
            finished_at: moment(status.finished_at),
        }
    }

    /// Gives back what a finished pod no longer needs; its containers stay for their logs.
    pub async fn release(&self, pod: &Pod) -> Result<(), String> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let cgroups = self.context.cgroups.clone();
        let context = self.context.clone();
        blocking(move || {
            context.volumes.remove(&uid)?;
            cgroups.remove_pod(&uid)
        })
        .await
    }

    pub async fn tear_down(&self, pod: &Pod) -> Result<(), String> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        remove_from_runtime(&self.context, &uid).await?;
        let logs = self.context.paths.pod_logs(pod);
        blocking(move || match fs::remove_dir_all(logs) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        })
        .await?;
        self.release(pod).await
    }

    fn sources<'a>(&'a self, pod: &'a Pod, pod_ips: &'a [String]) -> content::Sources<'a> {
        let c = &self.context;
        content::Sources { pod, objects: &c.objects, tokens: &c.tokens, host_ips: &c.host.ips, pod_ips, allocatable: &c.allocatable }
    }

    fn sandbox_config(&self, pod: &Pod, attempt: u32) -> Result<PodSandboxConfig, String> {
        let parent = self.context.cgroups.pod_parent(pod);
        sandbox_config::build(pod, attempt, &self.context.paths, &self.context.dns, &parent)
    }

    async fn runtime_handler(&self, pod: &Pod) -> Result<String, String> {
        let Some(class) = pod.spec.as_ref().and_then(|s| s.runtime_class_name.as_deref()).filter(|n| !n.is_empty()) else {
            return Ok(String::new());
        };
        let target = Target::object(RUNTIME_CLASSES, None, class);
        match self.context.client.get(&target).await {
            Ok(served) => Ok(served.parse().map_err(|e| e.to_string())?.str_at(&["handler"]).to_owned()),
            Err(e) if e.is(Reason::NotFound) => Err(format!("RuntimeClass {class:?} not found")),
            Err(e) => Err(e.to_string()),
        }
    }

    async fn try_start(&self, state: &PodState, name: &str, attempt: u32, pod_ips: &[String]) -> Result<Started, StartFailure> {
        let context = &self.context;
        let pod = &state.pod;
        let (container, kind) = container_spec(pod, name).ok_or_else(|| failure(CONFIG, "container is not in the spec"))?;
        let Sandbox::Ready { id: sandbox, attempt: sandbox_attempt, .. } = &state.sandbox else {
            return Err(failure(CONFIG, "the pod has no sandbox"));
        };
        let sandbox_config = self.sandbox_config(pod, *sandbox_attempt).map_err(|m| failure(CONFIG, &m))?;
        let image = context.images.ensure(pod, &container, &sandbox_config).await?;
        let image_id = image.repo_digests.first().unwrap_or(&image.id).clone();
        let target = if kind == Kind::Ephemeral { target_of(state, name) } else { None };
        let config = self.container_config(pod, &container, attempt, pod_ips, image, target).await?;
        let log_dir = Path::new(&sandbox_config.log_directory).join(name);
        blocking(move || fs::create_dir_all(log_dir)).await.map_err(|m| failure(CONFIG, &m))?;
        let created = context.cri.create_container(sandbox, config, sandbox_config).await;
        let id = created.map_err(|e| failure("CreateContainerError", &e.to_string()))?;
        context.owners.claim(&id, self.tx.clone());
        context.recorder.pod(pod, Some(name), false, "Created", "Container created");
        if let Err(error) = context.cri.start_container(&id).await {
            let exit = match context.cri.container_status(&id).await {
                Ok(status) if status.state == i32::from(CriState::ContainerExited) => Some(self.terminated(pod, &status).await),
                _ => None,
            };
            return Err(StartFailure { reason: "RunContainerError", message: error.to_string(), exit });
        }
        context.recorder.pod(pod, Some(name), false, "Started", "Container started");
        let hook_pending = container.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some());
        Ok(Started { id, image_id, started_at: Timestamp::now(), hook_pending })
    }

    async fn container_config(
        &self,
        pod: &Pod,
        container: &Container,
        attempt: u32,
        pod_ips: &[String],
        image: Image,
        target_id: Option<String>,
    ) -> Result<k8s_cri::v1::ContainerConfig, StartFailure> {
        let context = &self.context;
        let env = self.environment(pod, container, pod_ips).await.map_err(|m| failure(CONFIG, &m))?;
        let mounted = self.mounted.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        let (paths, owned_pod, owned, ips) = (context.paths.clone(), pod.clone(), container.clone(), pod_ips.to_vec());
        let (domain, values) = (context.dns.cluster_domain.clone(), env.clone());
        let built = blocking(move || {
            let place = Place { paths: &paths, pod: &owned_pod, container: &owned, attempt, pod_ips: &ips, cluster_domain: &domain };
            Ok(mounts::build(&place, &mounted, &values))
        });
        let (mounts, message_file) = built.await.and_then(|r| r).map_err(|m| failure(CONFIG, &m))?;
        let inputs = Inputs {
            pod,
            container,
            attempt,
            env,
            mounts,
            image: &image,
            node_memory_bytes: context.memory_bytes,
            target_id,
            message_file: message_file.to_string_lossy().into_owned(),
        };
        container_config::build(inputs).map_err(|m| failure(CONFIG, &m))
    }

    async fn environment(&self, pod: &Pod, container: &Container, pod_ips: &[String]) -> Result<Vec<(String, String)>, String> {
        let context = &self.context;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        let mut objects = HashMap::new();
        for key in env::references(container, namespace) {
            if let Some(object) = context.objects.get(&key).await.map_err(|e| e.to_string())? {
                objects.insert(key, object);
            }
        }
        let services = context.services.for_namespace(namespace).await;
        let allocatable: &BTreeMap<String, String> = &context.allocatable;
        let sources = env::Sources { pod, pod_ips, host_ips: &context.host.ips, objects: &objects, services: &services, allocatable };
        env::resolve(container, &sources)
    }

    async fn send(&self, event: Event) {
        self.tx.send(Input::Event(event)).await.ok();
    }
}

/// Stops and removes everything of a pod in the runtime, whoever made it.
pub async fn remove_from_runtime(context: &Context, uid: &str) -> Result<(), String> {
    let failed = |e: CriError| e.to_string();
    for sandbox in context.cri.sandboxes(Some(uid)).await.map_err(failed)? {
        context.cri.stop_sandbox(&sandbox.id).await.map_err(failed)?;
        context.cri.remove_sandbox(&sandbox.id).await.map_err(failed)?;
        context.owners.release(&sandbox.id);
    }
    Ok(())
}

const CONFIG: &str = "CreateContainerConfigError";

fn failure(reason: &'static str, message: &str) -> StartFailure {
    StartFailure { reason, message: message.to_owned(), exit: None }
}

/// The running container that an ephemeral one names as its target.
fn target_of(state: &PodState, name: &str) -> Option<String> {
    let list = state.pod.spec.as_ref()?.ephemeral_containers.as_ref()?;
    let target = list.iter().find(|e| e.name == name)?.target_container_name.as_deref()?;
    state.container(target)?.running_id().map(str::to_owned)
}

fn termination_message(file: Option<&str>, log: Option<&str>) -> String {
    let from_file = file.map(|f| tail(Path::new(f), MESSAGE_BYTES, false)).unwrap_or_default();
    if !from_file.is_empty() {
        return String::from_utf8_lossy(&from_file).into_owned();
    }
    let Some(log) = log else { return String::new() };
    let raw = tail(Path::new(log), LOG_MESSAGE_BYTES * 4, true);
    let text = super::logs::contents_of(&raw);
    let start = text.len().saturating_sub(usize::try_from(LOG_MESSAGE_BYTES).unwrap_or(0));
    let text = String::from_utf8_lossy(&text[start..]).into_owned();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines[lines.len().saturating_sub(LOG_MESSAGE_LINES)..].concat()
}

/// The first, or last, bytes of a file; nothing if it cannot be read.
fn tail(path: &Path, most: u64, from_end: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if let Ok(mut file) = fs::File::open(path) {
        let length = file.metadata().map(|m| m.len()).unwrap_or(0);
        if from_end && length > most {
            file.seek(SeekFrom::Start(length - most)).ok();
        }
        file.take(most).read_to_end(&mut out).ok();
    }
    out
}
