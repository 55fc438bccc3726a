//! What one pod worker knows, what can happen to it and what it can ask for: the vocabulary of [`super::step`].
//!
//! Plain data. Nothing here talks to a runtime, reads a clock or a file.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, ResourceRequirements};

/// Everything that decides a pod's next step.
#[derive(Clone, Debug)]
pub struct PodState {
    pub pod: Arc<Pod>,
    /// When this node accepted the pod.
    pub start_time: Timestamp,
    pub volumes: Work,
    pub sandbox: Sandbox,
    /// Init containers, containers, ephemeral containers: in the order of the spec.
    pub containers: Vec<ContainerState>,
    /// The node ended the pod by its own decision: deadline, eviction, refused admission.
    pub outcome: Option<Outcome>,
    /// The object is gone from the API: stop at once, write nothing.
    pub gone: bool,
    /// Volumes and cgroup of a finished pod were given back.
    pub released: Work,
    pub torn_down: Work,
    pub deleted: Work,
    /// When the last kill of the whole pod must be over.
    pub stop_deadline: Option<Timestamp>,
    /// Bringing running containers to changed requests and limits.
    pub resize: Work,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub reason: String,
    pub message: String,
}

/// Progress of a step that is done once and tried again when it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Pending,
    InFlight { failures: u32 },
    Done,
    Failed { retry_at: Timestamp, failures: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    None {
        attempt: u32,
    },
    Starting {
        attempt: u32,
    },
    Ready {
        id: String,
        attempt: u32,
        ips: Vec<String>,
    },
    Failed {
        attempt: u32,
        retry_at: Timestamp,
        failures: u32,
    },
    Stopping {
        id: String,
        attempt: u32,
        ips: Vec<String>,
    },
    /// Kept until the pod is removed, so that logs and addresses stay readable.
    Stopped {
        id: String,
        attempt: u32,
        ips: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Init,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    App,
    Ephemeral,
}

#[derive(Clone, Debug)]
pub struct ContainerState {
    pub name: String,
    pub kind: Kind,
    pub run: Run,
    /// The newest finished instance, and the one before it.
    pub latest: Option<Terminated>,
    pub before: Option<Terminated>,
    pub restarts: u32,
    pub backoff: Backoff,
    pub pull_failures: u32,
    pub image: String,
    pub image_id: String,
    pub started: bool,
    pub ready: bool,
    /// The `BackOff` event of the present wait was sent.
    pub backoff_told: bool,
    /// Requests and limits that the running instance was given.
    pub applied: Option<ResourceRequirements>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// Nothing runs: never started, or finished (then `latest` says how).
    Idle,
    Starting,
    /// Could not be started; tried again at `retry_at`.
    Blocked {
        reason: &'static str,
        message: String,
        since: Timestamp,
        retry_at: Timestamp,
    },
    Running {
        id: String,
        started_at: Timestamp,
        post_start_done: bool,
        kill: Option<Kill>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    pub deadline: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminated {
    pub id: String,
    pub exit_code: i32,
    pub reason: String,
    pub message: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
}

/// Restart delays: none, 10 s, 20 s, ... 300 s; forgotten after ten minutes of a healthy run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    pub level: u32,
    pub updated: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

/// All that can happen to a pod.
#[derive(Clone, Debug)]
pub enum Event {
    /// A newer version of the object.
    Pod(Arc<Pod>),
    /// The object no longer exists.
    Gone,
    /// The node ends the pod: refused admission, eviction.
    Ended(Outcome),
    VolumesMounted(Result<(), String>),
    SandboxStarted(Result<SandboxUp, String>),
    SandboxStopped(Result<(), String>),
    /// The runtime lost the sandbox while it was wanted.
    SandboxDied {
        id: String,
    },
    ContainerStarted {
        name: String,
        result: Result<Started, StartFailure>,
    },
    PostStartDone {
        name: String,
        id: String,
        error: Option<String>,
    },
    ContainerExited {
        name: String,
        exit: Terminated,
    },
    Probed {
        name: String,
        id: String,
        kind: ProbeKind,
        healthy: bool,
    },
    /// Names of containers with what they were given, or why it failed.
    Resized(Result<Vec<(String, ResourceRequirements)>, String>),
    Released(Result<(), String>),
    TornDown(Result<(), String>),
    ObjectDeleted(Result<(), String>),
    /// Time passed to a moment that [`super::step::next_wake`] named.
    Timer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxUp {
    pub id: String,
    pub ips: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    pub id: String,
    pub image_id: String,
    pub started_at: Timestamp,
    /// A `postStart` hook still runs.
    pub hook_pending: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    /// `ErrImagePull`, `CreateContainerConfigError`, `CreateContainerError`, `RunContainerError`, ...
    pub reason: &'static str,
    pub message: String,
    /// The runtime keeps an instance that never ran: it counts as a finished one.
    pub exit: Option<Terminated>,
}

/// All that a pod can ask its worker to do. Each names work that ends in an [`Event`], if only in a failed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    MountVolumes,
    StartSandbox {
        attempt: u32,
    },
    StartContainer {
        name: String,
        attempt: u32,
    },
    /// Gives up image pulls and hooks of containers that are starting.
    CancelStarts,
    /// Gives running containers, by name and id, the requests and limits of the spec.
    Resize {
        containers: Vec<(String, String)>,
    },
    Kill {
        name: String,
        id: String,
        grace_seconds: i64,
        pre_stop: bool,
        message: String,
    },
    StopSandbox {
        id: String,
    },
    /// Removes a finished instance and its log.
    Forget {
        id: String,
    },
    /// Gives back volumes and cgroup; what logs need stays.
    Release,
    /// Removes the pod's containers, sandboxes, volumes, logs and cgroup.
    TearDown,
    DeleteObject,
    Tell {
        warning: bool,
        reason: &'static str,
        message: String,
        container: Option<String>,
    },
    /// The worker's life is over.
    Finish,
}

impl PodState {
    pub fn new(pod: Arc<Pod>, now: Timestamp) -> Self {
        let start_time = pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map_or(now, |t| t.0);
        let mut state = Self {
            pod,
            start_time,
            volumes: Work::Pending,
            sandbox: Sandbox::None { attempt: 0 },
            containers: Vec::new(),
            outcome: None,
            gone: false,
            released: Work::Pending,
            torn_down: Work::Pending,
            deleted: Work::Pending,
            stop_deadline: None,
            resize: Work::Done,
        };
        state.adopt_containers();
        state
    }

    /// Adds containers that the spec gained (ephemeral ones); none is ever removed.
    pub fn adopt_containers(&mut self) {
        let pod = self.pod.clone();
        for (container, kind) in all_containers(&pod) {
            if !self.containers.iter().any(|c| c.name == container.name) {
                self.containers.push(ContainerState::new(&container.name, kind, container.image.as_deref().unwrap_or("")));
            }
        }
    }

    pub fn container(&self, name: &str) -> Option<&ContainerState> {
        self.containers.iter().find(|c| c.name == name)
    }
    pub fn container_mut(&mut self, name: &str) -> Option<&mut ContainerState> {
        self.containers.iter_mut().find(|c| c.name == name)
    }
    pub fn is_deleting(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }
    pub fn sandbox_id(&self) -> Option<&str> {
        match &self.sandbox {
            Sandbox::Ready { id, .. } | Sandbox::Stopping { id, .. } | Sandbox::Stopped { id, .. } => Some(id),
            _ => None,
        }
    }
    pub fn sandbox_ips(&self) -> &[String] {
        match &self.sandbox {
            Sandbox::Ready { ips, .. } | Sandbox::Stopping { ips, .. } | Sandbox::Stopped { ips, .. } => ips,
            _ => &[],
        }
    }
}

impl ContainerState {
    pub fn new(name: &str, kind: Kind, image: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            run: Run::Idle,
            latest: None,
            before: None,
            restarts: 0,
            backoff: Backoff::default(),
            pull_failures: 0,
            image: image.to_owned(),
            image_id: String::new(),
            started: false,
            ready: false,
            backoff_told: false,
            applied: None,
        }
    }
    pub fn running_id(&self) -> Option<&str> {
        match &self.run {
            Run::Running { id, .. } => Some(id),
            _ => None,
        }
    }
    pub fn is_active(&self) -> bool {
        matches!(self.run, Run::Running { .. } | Run::Starting)
    }
    pub fn has_succeeded(&self) -> bool {
        matches!(self.run, Run::Idle) && self.latest.as_ref().is_some_and(|t| t.exit_code == 0)
    }
}

/// The containers of a spec with their kinds; ephemeral ones as plain containers.
pub fn all_containers(pod: &Pod) -> Vec<(Cow<'_, Container>, Kind)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|c| {
        let sidecar = c.restart_policy.as_deref() == Some("Always");
        (Cow::Borrowed(c), if sidecar { Kind::Sidecar } else { Kind::Init })
    });
    let app = spec.containers.iter().map(|c| (Cow::Borrowed(c), Kind::App));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|e| (Cow::Owned(as_container(e)), Kind::Ephemeral));
    init.chain(app).chain(ephemeral).collect()
}

/// One container's spec.
pub fn container_spec<'a>(pod: &'a Pod, name: &str) -> Option<(Cow<'a, Container>, Kind)> {
    let spec = pod.spec.as_ref()?;
    let sidecar = |c: &Container| if c.restart_policy.as_deref() == Some("Always") { Kind::Sidecar } else { Kind::Init };
    let init = spec.init_containers.iter().flatten().map(|c| (c, sidecar(c)));
    let mut plain = init.chain(spec.containers.iter().map(|c| (c, Kind::App)));
    if let Some((c, kind)) = plain.find(|(c, _)| c.name == name) {
        return Some((Cow::Borrowed(c), kind));
    }
    let ephemeral = spec.ephemeral_containers.iter().flatten().find(|e| e.name == name)?;
    Some((Cow::Owned(as_container(ephemeral)), Kind::Ephemeral))
}

fn as_container(e: &EphemeralContainer) -> Container {
    Container {
        name: e.name.clone(),
        image: e.image.clone(),
        args: e.args.clone(),
        command: e.command.clone(),
        env: e.env.clone(),
        env_from: e.env_from.clone(),
        image_pull_policy: e.image_pull_policy.clone(),
        security_context: e.security_context.clone(),
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        tty: e.tty,
        termination_message_path: e.termination_message_path.clone(),
        termination_message_policy: e.termination_message_policy.clone(),
        volume_mounts: e.volume_mounts.clone(),
        working_dir: e.working_dir.clone(),
        ..Container::default()
    }
}
