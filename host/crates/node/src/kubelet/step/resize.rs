//! Requests and limits that changed under running containers, as part of [`super::step`]: written in place, or the container is started anew where
//! its policy says so. One change is under way at a time. The status asks what is still to be done.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceRequirements;

use super::super::resources::milli;
use super::super::state::*;
use super::end::grace_seconds;
use super::{after, in_flight};

/// Running containers whose requests or limits are no longer the spec's: changed in place, or started anew if the
/// container's policy says so.
pub fn plan(state: &mut PodState, now: Timestamp, actions: &mut Vec<Action>) {
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

/// Request and limit of one resource, in thousandths.
fn amounts(resources: &ResourceRequirements, name: &str) -> [Option<i128>; 2] {
    [&resources.requests, &resources.limits].map(|side| side.as_ref()?.get(name).map(|q| milli(&q.0)))
}
