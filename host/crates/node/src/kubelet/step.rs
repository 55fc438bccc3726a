//! The pod's state machine: `step(state, event, now) -> (state, actions)`, pure, so that every rule of a pod's life
//! can be tested with literals. The worker (see `worker.rs`) feeds it and carries out what it asks for.
//!
//! Order of a life: volumes and sandbox together, init containers one after another, then containers; at the end
//! hooks, signals, sidecars last, sandbox, volumes, and for a deleted pod its object.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

use super::resources::milli;
use super::state::*;

/// First restart delay after a crash, in seconds; doubled for each further one.
const CRASH_DELAY_SECONDS: i64 = 10;
/// Longest delay between restarts or pulls, in seconds.
const MAX_DELAY_SECONDS: i64 = 300;
/// A container that ran this long since its last delay starts over without one, in seconds.
const CRASH_MEMORY_SECONDS: i64 = 600;
/// Delay before volumes, sandbox or container configuration are tried again, in seconds: first and longest.
const RETRY_SECONDS: (i64, i64) = (1, 20);
/// Delay before a container whose configuration could not be made is tried again, in seconds.
const CONFIG_RETRY_SECONDS: i64 = 5;
/// Start failure of a container that was given up because its pod ends.
pub const CANCELLED: &str = "Cancelled";
/// How long the pull's error stays visible before the status says `ImagePullBackOff`, in seconds.
const PULL_ERROR_SHOWN_SECONDS: i64 = 1;
/// What a container gets at least between signal and kill, in seconds, if its hooks used up the grace period.
pub const MIN_GRACE_SECONDS: i64 = 2;

pub fn step(mut state: PodState, event: Event, now: Timestamp) -> (PodState, Vec<Action>) {
    let mut actions = Vec::new();
    absorb(&mut state, event, now, &mut actions);
    plan(&mut state, now, &mut actions);
    (state, actions)
}

/// The next moment at which time alone changes something.
pub fn next_wake(state: &PodState, now: Timestamp) -> Option<Timestamp> {
    let mut times: Vec<Timestamp> = Vec::new();
    for work in [&state.volumes, &state.released, &state.torn_down, &state.deleted, &state.resize] {
        if let Work::Failed { retry_at, .. } = work {
            times.push(*retry_at);
        }
    }
    if let Sandbox::Failed { retry_at, .. } = &state.sandbox {
        times.push(*retry_at);
    }
    for c in &state.containers {
        match &c.run {
            Run::Blocked { reason, since, retry_at, .. } => {
                times.push(*retry_at);
                if *reason == "ErrImagePull" {
                    times.push(after(*since, PULL_ERROR_SHOWN_SECONDS));
                }
            }
            Run::Idle => times.extend(backoff_until(c).filter(|_| will_restart(state, c))),
            _ => {}
        }
    }
    if state.outcome.is_none() {
        times.extend(deadline(state));
    }
    // A moment that has passed without effect must not spin the worker.
    times.into_iter().filter(|t| *t > now).min()
}

/// Whether the container's policy starts it again after it finished.
pub fn will_restart(state: &PodState, c: &ContainerState) -> bool {
    if state.is_deleting() || state.gone || state.outcome.is_some() || c.kind == Kind::Ephemeral {
        return false;
    }
    let Some(exit) = &c.latest else { return true };
    match c.kind {
        Kind::Sidecar => true,
        Kind::Init if exit.exit_code == 0 => false,
        _ => restarts_after(state, c, exit.exit_code),
    }
}

/// While in back-off after a crash: when it ends.
pub fn backoff_until(c: &ContainerState) -> Option<Timestamp> {
    let exit = c.latest.as_ref()?;
    let updated = c.backoff.updated?;
    if c.backoff.level == 0 || seconds_between(updated, exit.finished_at) > CRASH_MEMORY_SECONDS {
        return None;
    }
    Some(after(exit.finished_at, crash_delay(c.backoff.level)))
}

pub fn crash_delay(level: u32) -> i64 {
    if level == 0 { 0 } else { doubled(CRASH_DELAY_SECONDS, level - 1, MAX_DELAY_SECONDS) }
}

/// All containers that decide the pod's fate have finished for good.
pub fn is_finished(state: &PodState) -> bool {
    if state.containers.iter().any(|c| c.kind == Kind::Init && failed_for_good(state, c)) {
        return true;
    }
    let mut apps = state.containers.iter().filter(|c| c.kind == Kind::App).peekable();
    apps.peek().is_some() && apps.all(|c| c.run == Run::Idle && c.latest.is_some() && !will_restart_if_running(state, c))
}

pub fn failed_for_good(state: &PodState, c: &ContainerState) -> bool {
    c.run == Run::Idle && c.latest.as_ref().is_some_and(|t| t.exit_code != 0) && !will_restart_if_running(state, c)
}

// --- events -----------------------------------------------------------------------------------------------------

fn absorb(state: &mut PodState, event: Event, now: Timestamp, actions: &mut Vec<Action>) {
    match event {
        Event::Pod(pod) => take_pod(state, pod, now),
        Event::Gone => state.gone = true,
        Event::Ended(outcome) => {
            state.outcome.get_or_insert(outcome);
        }
        Event::VolumesMounted(result) => state.volumes = settled(&state.volumes, result, now),
        Event::SandboxStarted(result) => sandbox_started(state, result, now, actions),
        Event::SandboxStopped(result) => sandbox_stopped(state, result),
        Event::SandboxDied { id } => sandbox_died(state, &id, actions),
        Event::ContainerStarted { name, result } => container_started(state, &name, result, now, actions),
        Event::PostStartDone { name, id, error } => post_start_done(state, &name, &id, error, now, actions),
        Event::ContainerExited { exit, .. } => container_exited(state, exit, actions),
        Event::Probed { name, id, kind, healthy } => probed(state, &name, &id, kind, healthy, now, actions),
        Event::Resized(result) => resized(state, result, now),
        Event::Released(result) => state.released = settled(&state.released, result, now),
        Event::TornDown(result) => state.torn_down = settled(&state.torn_down, result, now),
        Event::ObjectDeleted(result) => state.deleted = settled(&state.deleted, result, now),
        Event::Timer => {}
    }
}

fn take_pod(state: &mut PodState, pod: Arc<Pod>, now: Timestamp) {
    state.pod = pod;
    state.adopt_containers();
    // What was refused for the object's own contents may be right now.
    for c in &mut state.containers {
        if let Run::Blocked { reason: "CreateContainerConfigError" | "CreateContainerError", retry_at, .. } = &mut c.run {
            *retry_at = now;
        }
    }
    if let Work::Failed { retry_at, .. } = &mut state.volumes {
        *retry_at = now;
    }
}

fn settled(before: &Work, result: Result<(), String>, now: Timestamp) -> Work {
    match result {
        Ok(()) => Work::Done,
        Err(_) => {
            let failures = if let Work::InFlight { failures } = before { failures + 1 } else { 1 };
            Work::Failed { retry_at: after(now, doubled(RETRY_SECONDS.0, failures - 1, RETRY_SECONDS.1)), failures }
        }
    }
}

fn sandbox_started(state: &mut PodState, result: Result<SandboxUp, String>, now: Timestamp, actions: &mut Vec<Action>) {
    let Sandbox::Starting { attempt } = state.sandbox else { return };
    state.sandbox = match result {
        Ok(up) => Sandbox::Ready { id: up.id, attempt, ips: up.ips },
        Err(message) => {
            actions.push(tell(true, "FailedCreatePodSandBox", format!("Failed to create pod sandbox: {message}")));
            let failures = attempt.min(10);
            let retry_at = after(now, doubled(RETRY_SECONDS.0, failures, RETRY_SECONDS.1));
            Sandbox::Failed { attempt: attempt + 1, retry_at, failures: failures + 1 }
        }
    };
}

fn sandbox_stopped(state: &mut PodState, result: Result<(), String>) {
    let Sandbox::Stopping { id, attempt, ips } = state.sandbox.clone() else { return };
    // A failed stop is tried again by the plan, from Ready.
    state.sandbox = match result {
        Ok(()) => Sandbox::Stopped { id, attempt, ips },
        Err(_) => Sandbox::Ready { id, attempt, ips },
    };
}

fn sandbox_died(state: &mut PodState, dead: &str, actions: &mut Vec<Action>) {
    let Sandbox::Ready { id, attempt, ips } = state.sandbox.clone() else { return };
    if id == dead {
        actions.push(tell(false, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.".into()));
        state.sandbox = Sandbox::Stopped { id, attempt, ips };
    }
}

fn container_started(state: &mut PodState, name: &str, result: Result<Started, StartFailure>, now: Timestamp, actions: &mut Vec<Action>) {
    let has_startup_probe = container_spec(&state.pod, name).is_some_and(|(c, _)| c.startup_probe.is_some());
    let has_readiness_probe = container_spec(&state.pod, name).is_some_and(|(c, _)| c.readiness_probe.is_some());
    let Some(c) = state.container_mut(name) else { return };
    match result {
        Ok(up) => {
            c.pull_failures = 0;
            c.backoff_told = false;
            c.image_id = up.image_id;
            if c.latest.is_some() {
                c.restarts += 1;
            }
            c.started = !has_startup_probe;
            c.ready = c.started && !has_readiness_probe && !up.hook_pending;
            c.run = Run::Running { id: up.id, started_at: up.started_at, post_start_done: !up.hook_pending, kill: None };
        }
        Err(failure) => {
            if let Some(exit) = failure.exit {
                if c.latest.is_some() {
                    c.restarts += 1;
                }
                c.run = Run::Idle;
                return retire(c, exit, actions);
            }
            let delay = if failure.reason == "ErrImagePull" {
                c.pull_failures += 1;
                doubled(CRASH_DELAY_SECONDS, c.pull_failures - 1, MAX_DELAY_SECONDS)
            } else {
                CONFIG_RETRY_SECONDS
            };
            c.run = if failure.reason == CANCELLED {
                Run::Idle
            } else {
                Run::Blocked { reason: failure.reason, message: failure.message, since: now, retry_at: after(now, delay) }
            };
        }
    }
}

fn post_start_done(state: &mut PodState, name: &str, id: &str, error: Option<String>, now: Timestamp, actions: &mut Vec<Action>) {
    let has_readiness_probe = container_spec(&state.pod, name).is_some_and(|(c, _)| c.readiness_probe.is_some());
    let grace = grace_seconds(state);
    let Some(c) = state.container_mut(name) else { return };
    let started = c.started;
    let Run::Running { id: running, post_start_done, kill, .. } = &mut c.run else { return };
    if running != id {
        return;
    }
    *post_start_done = true;
    if error.is_none() {
        c.ready = started && !has_readiness_probe;
        return;
    }
    if kill.is_none() {
        *kill = Some(Kill { deadline: after(now, grace) });
        let message = "FailedPostStartHook".to_owned();
        actions.push(Action::Tell {
            warning: true,
            reason: "FailedPostStartHook",
            message: "PostStartHook failed".into(),
            container: Some(name.into()),
        });
        actions.push(Action::Kill { name: name.into(), id: id.into(), grace_seconds: grace, pre_stop: true, message });
    }
}

fn container_exited(state: &mut PodState, exit: Terminated, actions: &mut Vec<Action>) {
    let Some(c) = state.containers.iter_mut().find(|c| c.running_id() == Some(&exit.id)) else { return };
    c.run = Run::Idle;
    c.ready = false;
    c.started = false;
    c.backoff_told = false;
    retire(c, exit, actions);
}

/// Two finished instances are kept, for status and logs; the one before them goes.
fn retire(c: &mut ContainerState, exit: Terminated, actions: &mut Vec<Action>) {
    let older = std::mem::replace(&mut c.before, c.latest.replace(exit));
    actions.extend(older.map(|t| Action::Forget { id: t.id }));
}

fn probed(state: &mut PodState, name: &str, id: &str, kind: ProbeKind, healthy: bool, now: Timestamp, actions: &mut Vec<Action>) {
    let pod_grace = grace_seconds(state);
    let pod = state.pod.clone();
    let Some((spec, _)) = container_spec(&pod, name) else { return };
    let Some(c) = state.container_mut(name) else { return };
    let Run::Running { id: running, kill, post_start_done, .. } = &mut c.run else { return };
    if running != id {
        return;
    }
    let (word, probe) = match kind {
        ProbeKind::Readiness => {
            c.ready = healthy && c.started && *post_start_done;
            return;
        }
        ProbeKind::Startup if healthy => {
            c.started = true;
            c.ready = spec.readiness_probe.is_none() && *post_start_done;
            return;
        }
        ProbeKind::Liveness if healthy => return,
        ProbeKind::Startup => ("startup", spec.startup_probe.clone()),
        ProbeKind::Liveness => ("liveness", spec.liveness_probe.clone()),
    };
    if kill.is_none() {
        let grace = probe.and_then(|p| p.termination_grace_period_seconds).unwrap_or(pod_grace);
        *kill = Some(Kill { deadline: after(now, grace) });
        let message = format!("Container {name} failed {word} probe, will be restarted");
        actions.push(Action::Kill { name: name.into(), id: id.into(), grace_seconds: grace, pre_stop: true, message });
    }
}

fn resized(state: &mut PodState, result: Result<Vec<(String, ResourceRequirements)>, String>, now: Timestamp) {
    state.resize = settled(&state.resize, result.as_ref().map(|_| ()).map_err(Clone::clone), now);
    for (name, resources) in result.unwrap_or_default() {
        if let Some(c) = state.container_mut(&name) {
            c.applied = Some(resources);
        }
    }
}

// --- plan ------------------------------------------------------------------------------------------------------

fn plan(state: &mut PodState, now: Timestamp, actions: &mut Vec<Action>) {
    if state.outcome.is_none() && !is_ending(state) && deadline(state).is_some_and(|t| t <= now) {
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        actions.push(tell(false, "DeadlineExceeded", message.clone()));
        state.outcome = Some(Outcome { reason: "DeadlineExceeded".into(), message });
    }
    show_pull_backoff(state, now, actions);
    if is_ending(state) || is_finished(state) {
        return plan_end(state, now, actions);
    }
    plan_ground(state, now, actions);
    if let (Work::Done, Sandbox::Ready { .. }) = (&state.volumes, &state.sandbox) {
        plan_containers(state, now, actions);
        plan_resize(state, now, actions);
    }
}

/// Running containers whose requests or limits are no longer the spec's: changed in place, or started anew if the
/// container's policy says so.
fn plan_resize(state: &mut PodState, now: Timestamp, actions: &mut Vec<Action>) {
    if matches!(state.resize, Work::InFlight { .. }) || matches!(state.resize, Work::Failed { retry_at, .. } if retry_at > now) {
        return;
    }
    let grace = grace_seconds(state);
    let mut containers = Vec::new();
    for (name, id, restart) in resizable(state) {
        let Some(c) = state.container_mut(&name) else { continue };
        let Run::Running { kill, .. } = &mut c.run else { continue };
        if restart {
            *kill = Some(Kill { deadline: after(now, grace) });
            let message = format!("Container {name} resize requires restart");
            actions.push(Action::Kill { name, id, grace_seconds: grace, pre_stop: true, message });
        } else {
            containers.push((name, id));
        }
    }
    if containers.is_empty() {
        state.resize = Work::Done;
    } else {
        state.resize = in_flight(&state.resize);
        actions.push(Action::Resize { containers });
    }
}

/// Containers that run with other requests or limits than the spec's: name, id, and whether they must be restarted.
pub fn resizable(state: &PodState) -> Vec<(String, String, bool)> {
    let mut out = Vec::new();
    for (spec, kind) in all_containers(&state.pod) {
        let Some(c) = state.container(&spec.name).filter(|_| matches!(kind, Kind::App | Kind::Sidecar)) else { continue };
        let Run::Running { id, kill: None, .. } = &c.run else { continue };
        let Some(applied) = &c.applied else { continue };
        let wanted = spec.resources.clone().unwrap_or_default();
        let changed: Vec<&str> = ["cpu", "memory"].into_iter().filter(|n| amounts(&wanted, n) != amounts(applied, n)).collect();
        let restart =
            spec.resize_policy.iter().flatten().any(|p| p.restart_policy == "RestartContainer" && changed.contains(&p.resource_name.as_str()));
        if !changed.is_empty() {
            out.push((spec.name.clone(), id.clone(), restart));
        }
    }
    out
}

fn is_ending(state: &PodState) -> bool {
    state.is_deleting() || state.gone || state.outcome.is_some()
}

fn plan_end(state: &mut PodState, now: Timestamp, actions: &mut Vec<Action>) {
    if state.containers.iter().any(|c| c.run == Run::Starting) && state.stop_deadline.is_none() {
        actions.push(Action::CancelStarts);
    }
    stop_containers(state, now, actions);
    if state.containers.iter().any(ContainerState::is_active) {
        return;
    }
    match &state.sandbox {
        Sandbox::Ready { id, attempt, ips } => {
            let (id, attempt, ips) = (id.clone(), *attempt, ips.clone());
            actions.push(Action::StopSandbox { id: id.clone() });
            state.sandbox = Sandbox::Stopping { id, attempt, ips };
            return;
        }
        Sandbox::Starting { .. } | Sandbox::Stopping { .. } => return,
        _ => {}
    }
    if matches!(state.volumes, Work::InFlight { .. }) {
        return;
    }
    if !state.is_deleting() && !state.gone {
        if due(&state.released, now) {
            state.released = in_flight(&state.released);
            actions.push(Action::Release);
        }
        return;
    }
    if due(&state.torn_down, now) {
        state.torn_down = in_flight(&state.torn_down);
        actions.push(Action::TearDown);
    }
    if state.torn_down != Work::Done {
        return;
    }
    if state.gone {
        actions.push(Action::Finish);
    } else if due(&state.deleted, now) {
        state.deleted = in_flight(&state.deleted);
        actions.push(Action::DeleteObject);
    }
}

/// Signals what still runs: containers at once, sidecars after them in reverse order.
fn stop_containers(state: &mut PodState, now: Timestamp, actions: &mut Vec<Action>) {
    let grace = if state.gone && !state.is_deleting() { MIN_GRACE_SECONDS } else { grace_seconds(state) };
    let wanted = after(now, grace);
    let deadline = match state.stop_deadline {
        // A second deletion may shorten the period, never lengthen it.
        Some(known) if !state.is_deleting() || seconds_between(wanted, known) <= 1 => known,
        Some(_) => wanted,
        None => wanted,
    };
    state.stop_deadline = Some(deadline);
    let others_run = state.containers.iter().any(|c| c.kind != Kind::Sidecar && c.is_active());
    let last_sidecar = state.containers.iter().rposition(|c| c.kind == Kind::Sidecar && c.is_active());
    for (index, c) in state.containers.iter_mut().enumerate() {
        let turn = c.kind != Kind::Sidecar || (!others_run && Some(index) == last_sidecar);
        let Run::Running { id, kill, .. } = &mut c.run else {
            if matches!(c.run, Run::Blocked { .. }) && c.latest.is_some() {
                c.run = Run::Idle;
            }
            continue;
        };
        let shortened = kill.as_ref().is_some_and(|k| seconds_between(deadline, k.deadline) > 1);
        if !turn || (kill.is_some() && !shortened) {
            continue;
        }
        let pre_stop = kill.is_none();
        *kill = Some(Kill { deadline });
        let left = seconds_between(now, deadline).max(0);
        let message = format!("Stopping container {}", c.name);
        actions.push(Action::Kill { name: c.name.clone(), id: id.clone(), grace_seconds: left, pre_stop, message });
    }
}

fn plan_ground(state: &mut PodState, now: Timestamp, actions: &mut Vec<Action>) {
    if due(&state.volumes, now) {
        state.volumes = in_flight(&state.volumes);
        actions.push(Action::MountVolumes);
    }
    match state.sandbox {
        Sandbox::None { attempt } => start_sandbox(state, attempt, actions),
        Sandbox::Failed { attempt, retry_at, .. } if retry_at <= now => start_sandbox(state, attempt, actions),
        Sandbox::Stopped { attempt, .. } => {
            // Whatever ran in the lost sandbox goes down with it before a new one is made.
            if state.containers.iter().any(ContainerState::is_active) {
                return stop_lost(state, now, actions);
            }
            start_sandbox(state, attempt + 1, actions);
        }
        _ => {}
    }
}

fn start_sandbox(state: &mut PodState, attempt: u32, actions: &mut Vec<Action>) {
    state.sandbox = Sandbox::Starting { attempt };
    actions.push(Action::StartSandbox { attempt });
}

fn stop_lost(state: &mut PodState, now: Timestamp, actions: &mut Vec<Action>) {
    for c in &mut state.containers {
        if let Run::Running { id, kill, .. } = &mut c.run
            && kill.is_none()
        {
            *kill = Some(Kill { deadline: now });
            let message = format!("Stopping container {}", c.name);
            actions.push(Action::Kill { name: c.name.clone(), id: id.clone(), grace_seconds: 0, pre_stop: false, message });
        }
    }
}

fn plan_containers(state: &mut PodState, now: Timestamp, actions: &mut Vec<Action>) {
    for index in 0..state.containers.len() {
        if state.containers[index].kind == Kind::Ephemeral && state.containers[index].latest.is_none() {
            start_if_due(state, index, now, actions);
        }
    }
    let initialized = has_initialized(state);
    for index in 0..state.containers.len() {
        let c = &state.containers[index];
        match c.kind {
            Kind::Init if initialized => {}
            Kind::Init => {
                if c.has_succeeded() {
                    continue;
                }
                start_if_due(state, index, now, actions);
                return;
            }
            Kind::Sidecar => {
                start_if_due(state, index, now, actions);
                let c = &state.containers[index];
                let up = matches!(c.run, Run::Running { post_start_done: true, .. }) && c.started;
                if !initialized && !up {
                    return;
                }
            }
            Kind::App => {
                start_if_due(state, index, now, actions);
                // One after another: the next waits for this one's start and hook, not for its health.
                if matches!(state.containers[index].run, Run::Starting | Run::Running { post_start_done: false, .. }) {
                    return;
                }
            }
            Kind::Ephemeral => {}
        }
    }
}

/// Init containers are over once for the life of a sandbox: any started container proves it.
fn has_initialized(state: &PodState) -> bool {
    state.containers.iter().any(|c| c.kind == Kind::App && (c.is_active() || c.latest.is_some()))
}

fn start_if_due(state: &mut PodState, index: usize, now: Timestamp, actions: &mut Vec<Action>) {
    let c = &state.containers[index];
    match &c.run {
        Run::Running { .. } | Run::Starting => return,
        Run::Blocked { retry_at, .. } if *retry_at > now => return,
        Run::Blocked { .. } => {}
        Run::Idle if c.latest.is_some() => {
            if !will_restart(state, c) {
                return;
            }
            if backoff_until(c).is_some_and(|t| t > now) {
                return tell_backoff(state, index, actions);
            }
        }
        Run::Idle => {}
    }
    let resources = container_spec(&state.pod, &c.name).and_then(|(spec, _)| spec.resources.clone()).unwrap_or_default();
    let c = &mut state.containers[index];
    if let (Some(exit), Run::Idle) = (&c.latest, &c.run) {
        let forgotten = c.backoff.updated.is_none_or(|t| seconds_between(t, exit.finished_at) > CRASH_MEMORY_SECONDS);
        c.backoff = Backoff { level: if forgotten { 1 } else { c.backoff.level + 1 }, updated: Some(now) };
    }
    c.run = Run::Starting;
    c.applied = Some(resources);
    let attempt = if c.latest.is_some() { c.restarts + 1 } else { c.restarts };
    actions.push(Action::StartContainer { name: c.name.clone(), attempt });
}

fn tell_backoff(state: &mut PodState, index: usize, actions: &mut Vec<Action>) {
    let pod = pod_title(&state.pod);
    let c = &mut state.containers[index];
    if !std::mem::replace(&mut c.backoff_told, true) {
        let message = format!("Back-off restarting failed container {} in pod {pod}", c.name);
        actions.push(Action::Tell { warning: true, reason: "BackOff", message, container: Some(c.name.clone()) });
    }
}

fn show_pull_backoff(state: &mut PodState, now: Timestamp, actions: &mut Vec<Action>) {
    for c in &mut state.containers {
        if let Run::Blocked { reason, message, since, .. } = &mut c.run
            && *reason == "ErrImagePull"
            && after(*since, PULL_ERROR_SHOWN_SECONDS) <= now
        {
            *reason = "ImagePullBackOff";
            let told = format!("Back-off pulling image {:?}", c.image);
            *message = format!("{told}: ErrImagePull: {message}");
            actions.push(Action::Tell { warning: false, reason: "BackOff", message: told, container: Some(c.name.clone()) });
        }
    }
}

// --- rules -----------------------------------------------------------------------------------------------------

fn restarts_after(state: &PodState, c: &ContainerState, exit_code: i32) -> bool {
    let spec = container_spec(&state.pod, &c.name).map(|(spec, _)| spec);
    if let Some(decided) = spec.as_ref().and_then(|s| rule_for(s, exit_code)) {
        return decided;
    }
    let pod_policy = state.pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always");
    match spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or(pod_policy) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        // An init container under Always is tried again only when it fails.
        _ => c.kind != Kind::Init || exit_code != 0,
    }
}

fn rule_for(spec: &Container, exit_code: i32) -> Option<bool> {
    spec.restart_policy_rules.iter().flatten().find_map(|rule| {
        let codes = rule.exit_codes.as_ref()?;
        let listed = codes.values.iter().flatten().any(|v| *v == exit_code);
        let hit = if codes.operator == "NotIn" { !listed } else { listed };
        hit.then(|| rule.action == "Restart")
    })
}

/// The policy alone, whatever the pod's own end says: decides whether a finished container was final.
fn will_restart_if_running(state: &PodState, c: &ContainerState) -> bool {
    let Some(exit) = &c.latest else { return true };
    match c.kind {
        Kind::Sidecar => true,
        Kind::Ephemeral => false,
        _ => restarts_after(state, c, exit.exit_code),
    }
}

fn deadline(state: &PodState) -> Option<Timestamp> {
    let seconds = state.pod.spec.as_ref()?.active_deadline_seconds?;
    Some(after(state.start_time, seconds))
}

fn grace_seconds(state: &PodState) -> i64 {
    let meta = &state.pod.metadata;
    let spec = state.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    if meta.deletion_timestamp.is_some() { meta.deletion_grace_period_seconds.or(spec).unwrap_or(30) } else { spec.unwrap_or(30) }
}

/// `name_namespace(uid)`, as upstream writes a pod in messages.
pub fn pod_title(pod: &Pod) -> String {
    let m = &pod.metadata;
    let part = |v: &Option<String>| v.clone().unwrap_or_default();
    format!("{}_{}({})", part(&m.name), part(&m.namespace), part(&m.uid))
}

/// Request and limit of one resource, in thousandths.
fn amounts(resources: &ResourceRequirements, name: &str) -> [Option<i128>; 2] {
    [&resources.requests, &resources.limits].map(|side| side.as_ref()?.get(name).map(|q| milli(&q.0)))
}

fn due(work: &Work, now: Timestamp) -> bool {
    match work {
        Work::Pending => true,
        Work::Failed { retry_at, .. } => *retry_at <= now,
        Work::InFlight { .. } | Work::Done => false,
    }
}

fn in_flight(before: &Work) -> Work {
    Work::InFlight { failures: if let Work::Failed { failures, .. } = before { *failures } else { 0 } }
}

fn tell(warning: bool, reason: &'static str, message: String) -> Action {
    Action::Tell { warning, reason, message, container: None }
}

fn doubled(first: i64, times: u32, limit: i64) -> i64 {
    first.saturating_mul(1_i64 << times.min(20)).min(limit)
}

fn after(t: Timestamp, seconds: i64) -> Timestamp {
    t.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// Whole seconds from `a` to `b`, negative if `b` is earlier.
pub fn seconds_between(a: Timestamp, b: Timestamp) -> i64 {
    b.duration_since(a).as_secs()
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
