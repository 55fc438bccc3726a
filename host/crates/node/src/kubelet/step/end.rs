//! The end of a pod's life: it is being deleted, its object is gone, it is over (evicted, past its deadline), or its
//! containers have all finished. Planned by [`super::step`] from the first such event on.
//!
//! Order: starts under way are given up; containers get their hooks and signals together, and sidecars after them one by one, the last first, all
//! within one grace period; then the sandbox, then the volumes. Of a deleted pod the object goes last; a pod that is over keeps what shows its logs.
//! A second deletion may shorten the grace period and never lengthens it. Nothing starts again from here, whatever the policy of restarts says.

use jiff::Timestamp;

use super::super::state::*;
use super::{after, due, in_flight, seconds_between};

/// What a container gets at least between signal and kill, in seconds, if its hooks used up the grace period.
pub const MIN_GRACE_SECONDS: i64 = 2;

/// Whatever its containers do.
pub fn is_ending(state: &PodState) -> bool {
    state.is_deleting() || state.gone || state.outcome.is_some()
}

/// When the pod has been active for as long as it may be.
pub fn deadline(state: &PodState) -> Option<Timestamp> {
    let seconds = state.pod.spec.as_ref()?.active_deadline_seconds?;
    Some(after(state.start_time, seconds))
}

/// What is to be done next; each event brings it one step on, until nothing is left.
pub fn plan(state: &mut PodState, now: Timestamp, actions: &mut Vec<Action>) {
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

/// Of the deletion where it names one, else the pod's own.
pub fn grace_seconds(state: &PodState) -> i64 {
    let meta = &state.pod.metadata;
    let spec = state.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    if meta.deletion_timestamp.is_some() { meta.deletion_grace_period_seconds.or(spec).unwrap_or(30) } else { spec.unwrap_or(30) }
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
