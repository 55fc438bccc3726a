//! A node's troubles as taints: NoSchedule keeps pods away, NoExecute drives those away that do not bear it.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::nodes::{NOT_READY, UNREACHABLE, taints};
use pintle_controller_common::{conditions, resources, time};
use pintle_sdk::controller::{Api, Failure, PatchType};
use serde_json::{Value, json};

use crate::config::Config;
use crate::zones::{Pace, Rate, judge};

const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Condition, status, taint.
const TROUBLES: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
/// While a whole cluster or zone is down nothing tells us of the end; so we look.
const LOOK_AGAIN_SECONDS: i64 = 5;

/// Writes the taints where they differ. Returns when to look again.
pub fn write(api: &dyn Api, pace: &mut Pace, node: &mut Value, config: &Config) -> Result<Option<i64>, Failure> {
    let now = time::now_seconds(api);
    let (executes, again) = no_execute(api, pace, node, config, now)?;
    let mut wanted: Vec<(&str, &str)> = no_schedule(node).into_iter().map(|key| (key, "NoSchedule")).collect();
    wanted.extend(executes.map(|key| (key, "NoExecute")));
    let is_ours = |t: &Value| match t.text(&["effect"]) {
        "NoSchedule" => t.text(&["key"]) == UNSCHEDULABLE || TROUBLES.iter().any(|(_, _, key)| t.text(&["key"]) == *key),
        "NoExecute" => matches!(t.text(&["key"]), NOT_READY | UNREACHABLE),
        _ => false,
    };
    let there = |key: &str, effect: &str| taints(node).iter().any(|t| t.text(&["key"]) == key && t.text(&["effect"]) == effect);
    let mut next: Vec<Value> =
        taints(node).iter().filter(|t| !is_ours(t) || wanted.contains(&(t.text(&["key"]), t.text(&["effect"])))).cloned().collect();
    for (key, effect) in wanted.into_iter().filter(|(key, effect)| !there(key, effect)) {
        next.push(json!({"key": key, "effect": effect, "timeAdded": time::text(now)}));
    }
    if next.as_slice() != taints(node) {
        let body = json!({"metadata": {"resourceVersion": node["metadata"]["resourceVersion"]}, "spec": {"taints": next}});
        *node = api.patch(resources::NODES, "", node.name(), "", PatchType::Merge, &body)?;
    }
    Ok(again)
}

fn no_schedule(node: &Value) -> Vec<&'static str> {
    let holds = |kind: &str, status: &str| conditions::find(node, kind).is_some_and(|c| c.text(&["status"]) == status);
    let mut keys: Vec<&str> = TROUBLES.iter().filter(|(kind, status, _)| holds(kind, status)).map(|(_, _, key)| *key).collect();
    if node.flag(&["spec", "unschedulable"]) {
        keys.push(UNSCHEDULABLE);
    }
    keys
}

/// The NoExecute taint that the node is to have now; a new one only as fast as the zone allows.
fn no_execute(api: &dyn Api, pace: &mut Pace, node: &Value, config: &Config, now: i64) -> Result<(Option<&'static str>, Option<i64>), Failure> {
    let wanted = match conditions::find(node, "Ready").map(|c| c.text(&["status"])) {
        Some("False") => NOT_READY,
        Some("Unknown") => UNREACHABLE,
        _ => return Ok((None, None)),
    };
    let tainted = taints(node).iter().any(|t| t.text(&["effect"]) == "NoExecute" && matches!(t.text(&["key"]), NOT_READY | UNREACHABLE));
    let (zone, rate) = judge(api, node.name(), config)?;
    match rate {
        Rate::Never => Ok((None, Some(LOOK_AGAIN_SECONDS))),
        _ if tainted => Ok((Some(wanted), None)),
        Rate::Paused => Ok((None, Some(LOOK_AGAIN_SECONDS))),
        Rate::PerSecond(rate) => match pace.allow(&zone, rate, now) {
            Ok(()) => Ok((Some(wanted), None)),
            Err(wait) => Ok((None, Some(wait.clamp(1, LOOK_AGAIN_SECONDS)))),
        },
    }
}
