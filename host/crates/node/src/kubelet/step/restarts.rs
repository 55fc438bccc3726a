//! Whether and when a container that finished runs again, and whether that was the last of its pod: restart policies of pod and container, rules by
//! exit code, the delay after crashes. Pure rules over the state, which change nothing. Asked by [`super::step`], the status and admission.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;

use super::super::state::*;
use super::{MAX_DELAY_SECONDS, after, doubled, seconds_between};

/// First restart delay after a crash, in seconds; doubled for each further one.
pub const CRASH_DELAY_SECONDS: i64 = 10;
/// A container that ran this long since its last delay starts over without one, in seconds.
pub const CRASH_MEMORY_SECONDS: i64 = 600;

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
