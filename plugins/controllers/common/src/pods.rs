//! What controllers ask of a pod.

use serde_json::Value;

use crate::conditions;
use crate::fields::Fields;
use crate::time;

/// Neither ended nor on its way out.
pub fn is_active(pod: &Value) -> bool {
    !is_finished(pod) && !pod.deleting()
}

pub fn is_finished(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

pub fn phase(pod: &Value) -> &str {
    pod.text(&["status", "phase"])
}

pub fn is_ready(pod: &Value) -> bool {
    conditions::is_true(pod, "Ready")
}

/// Ready for at least so long. `Err(seconds)`: ready, and available after that many more seconds.
pub fn availability(pod: &Value, min_ready_seconds: i64, now: i64) -> Result<(), Option<i64>> {
    if !is_ready(pod) {
        return Err(None);
    }
    if min_ready_seconds == 0 {
        return Ok(());
    }
    let since = conditions::find(pod, "Ready").and_then(|c| time::seconds(c.text(&["lastTransitionTime"]))).unwrap_or(now);
    let left = since + min_ready_seconds - now;
    if left <= 0 { Ok(()) } else { Err(Some(left)) }
}

pub fn restarts(pod: &Value) -> i64 {
    pod.items(&["status", "containerStatuses"]).iter().filter_map(|c| c.integer(&["restartCount"])).max().unwrap_or(0)
}

/// Which pods to delete first when there are too many: unassigned, pending, not ready, many beside them on their node (`crowd`), ready
/// for a short time, restarted often, young. Lower sorts first.
pub fn deletion_rank(pod: &Value, crowd: i64) -> (bool, u8, bool, i64, std::cmp::Reverse<i64>, std::cmp::Reverse<i64>, std::cmp::Reverse<i64>) {
    let phase = match phase(pod) {
        "Pending" => 0,
        "Running" => 2,
        _ => 1,
    };
    let cost: i64 = pod.annotation("controller.kubernetes.io/pod-deletion-cost").parse().unwrap_or(0);
    let ready_since = conditions::find(pod, "Ready").and_then(|c| time::seconds(c.text(&["lastTransitionTime"]))).unwrap_or(0);
    (
        !pod.text(&["spec", "nodeName"]).is_empty(),
        phase,
        is_ready(pod),
        cost.saturating_mul(1_000) - crowd,
        std::cmp::Reverse(ready_since),
        std::cmp::Reverse(restarts(pod)),
        std::cmp::Reverse(pod.created()),
    )
}
