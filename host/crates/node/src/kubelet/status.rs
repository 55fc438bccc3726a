//! What the API is told of a pod: a pure view of [`PodState`], and the patch from one view to the next.
//!
//! Conditions that others own (readiness gates, `PodScheduled`, `DisruptionTarget`) are read, never written.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIP, PodCondition, PodIP,
    PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use super::resources::qos_class;
use super::state::*;
use super::step::{backoff_until, crash_delay, failed_for_good, pod_title, resizable, will_restart};

/// The conditions that the kubelet decides, in the order that upstream writes them.
const OWNED: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
/// Conditions that are there only while they hold.
const PASSING: [&str; 1] = ["PodResizeInProgress"];

/// What of the node enters a pod's status.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    pub ips: Vec<String>,
}

/// `old`: what the API has now, for the moments at which conditions changed.
pub fn of(state: &PodState, old: &PodStatus, host: &HostFacts, now: Timestamp) -> PodStatus {
    let spec = state.pod.spec.clone().unwrap_or_default();
    let phase = phase(state);
    let list = |kinds: &[Kind]| -> Option<Vec<ContainerStatus>> {
        let listed: Vec<_> = state.containers.iter().filter(|c| kinds.contains(&c.kind)).map(|c| container_status(state, c, now)).collect();
        (!listed.is_empty()).then_some(listed)
    };
    let pod_ips: Vec<String> = if spec.host_network == Some(true) { host.ips.clone() } else { state.sandbox_ips().to_vec() };
    let mut status = PodStatus {
        phase: Some(phase.to_owned()),
        start_time: Some(Time(state.start_time)),
        observed_generation: state.pod.metadata.generation,
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| qos_class(&spec).to_owned())),
        host_ip: host.ips.first().cloned(),
        host_ips: Some(host.ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        pod_ip: pod_ips.first().cloned(),
        pod_ips: (!pod_ips.is_empty()).then(|| pod_ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect()),
        init_container_statuses: list(&[Kind::Init, Kind::Sidecar]),
        container_statuses: list(&[Kind::App]),
        ephemeral_container_statuses: list(&[Kind::Ephemeral]),
        ..PodStatus::default()
    };
    if let Some(outcome) = &state.outcome {
        status.reason = Some(outcome.reason.clone());
        status.message = Some(outcome.message.clone());
    }
    status.conditions = Some(conditions(state, &status, old, now));
    status
}

/// Where the pod is in its life, from what its containers did.
pub fn phase(state: &PodState) -> &'static str {
    let active = state.containers.iter().any(ContainerState::is_active);
    if state.outcome.is_some() && !active {
        return "Failed";
    }
    let ending = (state.is_deleting() || state.gone) && !active;
    let inits = state.containers.iter().filter(|c| matches!(c.kind, Kind::Init | Kind::Sidecar));
    let apps: Vec<&ContainerState> = state.containers.iter().filter(|c| c.kind == Kind::App).collect();
    let initialized = apps.iter().any(|c| c.is_active() || c.latest.is_some());
    if !initialized {
        for c in inits {
            if c.kind == Kind::Init && failed_for_good(state, c) && !active {
                return "Failed";
            }
            let done = c.has_succeeded() || (c.kind == Kind::Sidecar && c.started);
            if !done && !ending {
                return "Pending";
            }
        }
    }
    let running = apps.iter().filter(|c| c.running_id().is_some()).count();
    let stopped = apps.iter().filter(|c| c.running_id().is_none() && c.latest.is_some()).count();
    let succeeded = apps.iter().filter(|c| c.running_id().is_none() && c.latest.as_ref().is_some_and(|t| t.exit_code == 0)).count();
    let waiting = apps.len() - running - stopped;
    if ending {
        return if waiting == 0 && stopped == succeeded && stopped > 0 { "Succeeded" } else { "Failed" };
    }
    if waiting > 0 {
        return "Pending";
    }
    let final_ = apps.iter().all(|c| c.running_id().is_none() && c.run == Run::Idle && !will_restart(state, c));
    match () {
        () if running > 0 || !final_ || active => "Running",
        () if stopped == succeeded => "Succeeded",
        () => "Failed",
    }
}

/// The strategic merge patch from what the API has to what it should have; `None` when they agree.
pub fn patch(old: Option<&PodStatus>, new: &PodStatus, uid: &str) -> Option<Value> {
    let empty = PodStatus::default();
    let as_map = |s: &PodStatus| match serde_json::to_value(s) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (before, after) = (as_map(old.unwrap_or(&empty)), as_map(new));
    let mut changed = Map::new();
    for (key, value) in &after {
        if key == "conditions" {
            let known = before.get("conditions").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
            let fresh: Vec<Value> = value.as_array().into_iter().flatten().filter(|c| !known.contains(c)).map(explicit).collect();
            let mut fresh = fresh;
            let has = |list: &[Value], kind: &str| list.iter().any(|c| c["type"] == kind);
            let gone = PASSING.iter().filter(|kind| has(known, kind) && !has(value.as_array().map_or(&[], Vec::as_slice), kind));
            fresh.extend(gone.map(|kind| json!({"type": kind, "$patch": "delete"})));
            if !fresh.is_empty() {
                changed.insert(key.clone(), Value::Array(fresh));
            }
        } else if before.get(key) != Some(value) {
            changed.insert(key.clone(), value.clone());
            if (key == "podIPs" || key == "hostIPs") && before.contains_key(key) {
                // Lists merged by key keep old entries unless told to be replaced.
                let mut entries = value.as_array().cloned().unwrap_or_default();
                entries.push(json!({"$patch": "replace"}));
                changed.insert(key.clone(), Value::Array(entries));
            }
        }
    }
    // What the kubelet no longer claims is taken back; fields of others stay.
    for key in ["reason", "message", "podIP", "podIPs", "containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        if before.contains_key(key) && !after.contains_key(key) {
            changed.insert(key.to_owned(), Value::Null);
        }
    }
    if changed.is_empty() {
        return None;
    }
    Some(json!({"metadata": {"uid": uid}, "status": changed}))
}

/// Conditions are merged field by field: what no longer has a reason must say so.
fn explicit(condition: &Value) -> Value {
    let mut condition = condition.clone();
    if let Some(map) = condition.as_object_mut() {
        for field in ["reason", "message"] {
            map.entry(field).or_insert(Value::Null);
        }
    }
    condition
}

fn container_status(state: &PodState, c: &ContainerState, now: Timestamp) -> ContainerStatus {
    let (mut current, mut last) = (ApiState::default(), None);
    let mut id = c.latest.as_ref().map(|t| t.id.clone());
    match &c.run {
        Run::Running { id: running, started_at, .. } => {
            id = Some(running.clone());
            current.running = Some(ContainerStateRunning { started_at: Some(Time(*started_at)) });
            last = c.latest.as_ref();
        }
        Run::Blocked { reason, message, .. } => {
            current.waiting = waiting(reason, message);
            last = c.latest.as_ref();
        }
        Run::Idle | Run::Starting => match &c.latest {
            None => current.waiting = waiting(first_wait(state, c), ""),
            Some(exit) => match backoff_until(c).filter(|t| *t > now && c.run == Run::Idle && will_restart(state, c)) {
                Some(_) => {
                    let delay = shown_delay(crash_delay(c.backoff.level));
                    let text = format!("back-off {delay} restarting failed container={} pod={}", c.name, pod_title(&state.pod));
                    current.waiting = waiting("CrashLoopBackOff", &text);
                    last = Some(exit);
                }
                None => {
                    current.terminated = Some(terminated(exit));
                    last = c.before.as_ref();
                }
            },
        },
    }
    let ready = match c.kind {
        Kind::Init => c.has_succeeded(),
        Kind::Ephemeral => false,
        _ => c.ready && c.running_id().is_some(),
    };
    let spec = container_spec(&state.pod, &c.name).map(|(s, _)| s);
    let wanted = spec.as_ref().and_then(|s| s.resources.clone()).filter(|_| c.running_id().is_some());
    let resources = c.applied.clone().or_else(|| wanted.clone()).filter(|_| c.running_id().is_some());
    ContainerStatus {
        name: c.name.clone(),
        image: spec.and_then(|s| s.image.clone()).unwrap_or_else(|| c.image.clone()),
        image_id: c.image_id.clone(),
        container_id: id.map(|id| format!("containerd://{id}")),
        restart_count: i32::try_from(c.restarts).unwrap_or(i32::MAX),
        ready,
        started: Some(c.running_id().is_some() && c.started),
        allocated_resources: wanted.and_then(|r| r.requests).filter(|r| !r.is_empty()),
        resources,
        last_state: Some(ApiState { terminated: last.map(terminated), ..ApiState::default() }),
        state: Some(current),
        ..ContainerStatus::default()
    }
}

fn first_wait(state: &PodState, c: &ContainerState) -> &'static str {
    let has_inits = state.containers.iter().any(|c| matches!(c.kind, Kind::Init | Kind::Sidecar));
    match c.kind {
        Kind::App if has_inits => "PodInitializing",
        Kind::Init | Kind::Sidecar => "PodInitializing",
        _ => "ContainerCreating",
    }
}

fn waiting(reason: &str, message: &str) -> Option<ContainerStateWaiting> {
    Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message: (!message.is_empty()).then(|| message.to_owned()) })
}

fn terminated(exit: &Terminated) -> ContainerStateTerminated {
    ContainerStateTerminated {
        container_id: Some(format!("containerd://{}", exit.id)),
        exit_code: exit.exit_code,
        reason: Some(exit.reason.clone()),
        message: (!exit.message.is_empty()).then(|| exit.message.clone()),
        started_at: Some(Time(exit.started_at)),
        finished_at: Some(Time(exit.finished_at)),
        ..ContainerStateTerminated::default()
    }
}

/// As Go prints a duration of whole seconds: `10s`, `1m20s`, `5m0s`.
fn shown_delay(seconds: i64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

// --- conditions -------------------------------------------------------------------------------------------------

struct Verdict {
    holds: bool,
    reason: &'static str,
    message: String,
}

fn conditions(state: &PodState, status: &PodStatus, old: &PodStatus, now: Timestamp) -> Vec<PodCondition> {
    let others = old.conditions.as_deref().unwrap_or_default();
    let phase = status.phase.as_deref().unwrap_or("");
    let containers_ready = containers_ready(state, status, phase);
    let ready = pod_ready(state, others, &containers_ready);
    let resizing = state.resize != Work::Done || !resizable(state).is_empty();
    let passing = resizing.then(|| condition(state, "PodResizeInProgress", yes_or_no(true), others, now));
    OWNED
        .iter()
        .map(|kind| {
            let verdict = match *kind {
                "PodReadyToStartContainers" => yes_or_no(matches!(state.sandbox, Sandbox::Ready { .. })),
                "Initialized" => initialized(state, phase),
                "Ready" => Verdict { message: ready.message.clone(), ..ready },
                "ContainersReady" => Verdict { message: containers_ready.message.clone(), ..containers_ready },
                _ => yes_or_no(true),
            };
            condition(state, kind, verdict, others, now)
        })
        .chain(passing)
        .collect()
}

fn condition(state: &PodState, kind: &str, verdict: Verdict, old: &[PodCondition], now: Timestamp) -> PodCondition {
    let word = if verdict.holds { "True" } else { "False" };
    let known = old.iter().find(|c| c.type_ == kind);
    let since = known.filter(|c| c.status == word).and_then(|c| c.last_transition_time.clone());
    PodCondition {
        type_: kind.to_owned(),
        status: word.to_owned(),
        reason: (!verdict.reason.is_empty()).then(|| verdict.reason.to_owned()),
        message: (!verdict.message.is_empty()).then_some(verdict.message),
        last_transition_time: Some(since.unwrap_or(Time(now))),
        last_probe_time: None,
        observed_generation: state.pod.metadata.generation,
    }
}

fn yes_or_no(holds: bool) -> Verdict {
    Verdict { holds, reason: "", message: String::new() }
}

fn no(reason: &'static str, message: String) -> Verdict {
    Verdict { holds: false, reason, message }
}

fn containers_ready(state: &PodState, status: &PodStatus, phase: &str) -> Verdict {
    match phase {
        "Succeeded" => return no("PodCompleted", String::new()),
        "Failed" => return no("PodFailed", String::new()),
        _ => {}
    }
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let unready: Vec<&str> = all
        .filter(|s| !s.ready && state.container(&s.name).is_some_and(|c| matches!(c.kind, Kind::App | Kind::Sidecar)))
        .map(|s| s.name.as_str())
        .collect();
    if unready.is_empty() {
        return yes_or_no(true);
    }
    no("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" ")))
}

fn pod_ready(state: &PodState, others: &[PodCondition], containers: &Verdict) -> Verdict {
    if !containers.holds {
        return no(containers.reason, containers.message.clone());
    }
    let gates = state.pod.spec.iter().flat_map(|s| s.readiness_gates.iter().flatten());
    let problems: Vec<String> = gates
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match others.iter().find(|c| c.type_ == *kind) {
                None => Some(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
                Some(c) if c.status != "True" => Some(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", c.status)),
                Some(_) => None,
            }
        })
        .collect();
    if problems.is_empty() { yes_or_no(true) } else { no("ReadinessGatesNotReady", problems.join(", ")) }
}

fn initialized(state: &PodState, phase: &str) -> Verdict {
    if phase == "Succeeded" {
        return Verdict { holds: true, reason: "PodCompleted", message: String::new() };
    }
    if state.containers.iter().any(|c| c.kind == Kind::App && (c.running_id().is_some() || c.latest.is_some())) {
        return yes_or_no(true);
    }
    let open: Vec<&str> = state
        .containers
        .iter()
        .filter(|c| match c.kind {
            Kind::Init => !c.has_succeeded(),
            Kind::Sidecar => !c.started,
            _ => false,
        })
        .map(|c| c.name.as_str())
        .collect();
    if open.is_empty() {
        return yes_or_no(true);
    }
    no("ContainersNotInitialized", format!("containers with incomplete status: [{}]", open.join(" ")))
}
