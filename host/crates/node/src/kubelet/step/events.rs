//! What an event changes in a pod's state, as part of [`super::step`], which then plans what follows. Nothing is refused: what comes late, or tells
//! of an instance that is no more, changes nothing.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};

use super::super::state::*;
use super::end::grace_seconds;
use super::restarts::CRASH_DELAY_SECONDS;
use super::{CANCELLED, MAX_DELAY_SECONDS, after, doubled, tell};

/// Delay before volumes, sandbox or container configuration are tried again, in seconds: first and longest.
const RETRY_SECONDS: (i64, i64) = (1, 20);
/// Delay before a container whose configuration could not be made is tried again, in seconds.
const CONFIG_RETRY_SECONDS: i64 = 5;

pub fn absorb(state: &mut PodState, event: Event, now: Timestamp, actions: &mut Vec<Action>) {
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
