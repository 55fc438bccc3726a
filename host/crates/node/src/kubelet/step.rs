//! The pod's state machine: `step(state, event, now) -> (state, actions)`, pure, so that every rule of a pod's life
//! can be tested with literals. The worker (see `worker.rs`) feeds it and carries out what it asks for.
//!
//! Order of a life: volumes and sandbox together, init containers one after another, then containers, then the end ([`end`]). Here is what is done
//! for a pod that lives; what an event changes is in [`events`], when a container starts again in [`restarts`], and what changes while it runs in
//! [`resize`]. Nothing is refused here: a pod that the node may not take comes as one that has ended (`admission.rs`).

mod end;
mod events;
mod resize;
mod restarts;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::state::*;
use end::{deadline, is_ending};
use restarts::CRASH_MEMORY_SECONDS;

pub use end::MIN_GRACE_SECONDS;
pub use resize::resizable;
pub use restarts::{backoff_until, crash_delay, failed_for_good, is_finished, will_restart};

/// Longest delay between restarts or pulls, in seconds.
const MAX_DELAY_SECONDS: i64 = 300;
/// Start failure of a container that was given up because its pod ends.
pub const CANCELLED: &str = "Cancelled";
/// How long the pull's error stays visible before the status says `ImagePullBackOff`, in seconds.
const PULL_ERROR_SHOWN_SECONDS: i64 = 1;

pub fn step(mut state: PodState, event: Event, now: Timestamp) -> (PodState, Vec<Action>) {
    let mut actions = Vec::new();
    events::absorb(&mut state, event, now, &mut actions);
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

fn plan(state: &mut PodState, now: Timestamp, actions: &mut Vec<Action>) {
    if state.outcome.is_none() && !is_ending(state) && deadline(state).is_some_and(|t| t <= now) {
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        actions.push(tell(false, "DeadlineExceeded", message.clone()));
        state.outcome = Some(Outcome { reason: "DeadlineExceeded".into(), message });
    }
    show_pull_backoff(state, now, actions);
    if is_ending(state) || is_finished(state) {
        return end::plan(state, now, actions);
    }
    plan_ground(state, now, actions);
    if let (Work::Done, Sandbox::Ready { .. }) = (&state.volumes, &state.sandbox) {
        plan_containers(state, now, actions);
        resize::plan(state, now, actions);
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

/// `name_namespace(uid)`, as upstream writes a pod in messages.
pub fn pod_title(pod: &Pod) -> String {
    let m = &pod.metadata;
    let part = |v: &Option<String>| v.clone().unwrap_or_default();
    format!("{}_{}({})", part(&m.name), part(&m.namespace), part(&m.uid))
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
