//! Small questions about Jobs and their pods.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{pods, time};
use serde_json::Value;

/// Keeps a pod from vanishing before it was counted.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Annotation and label of a pod's completion index.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub const INDEX_IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const CONTROLLER: &str = "kubernetes.io/job-controller";

pub fn is_finished(job: &Value) -> bool {
    finished_at(job).is_some()
}

/// Since when it is Complete or Failed.
pub fn finished_at(job: &Value) -> Option<i64> {
    let ended = |c: &&Value| matches!(c.text(&["type"]), "Complete" | "Failed") && c.text(&["status"]) == "True";
    let condition = job.items(&["status", "conditions"]).iter().find(ended)?;
    Some(time::seconds(condition.text(&["lastTransitionTime"])).unwrap_or(0))
}

/// Somebody else's, by `spec.managedBy`.
pub fn is_foreign(job: &Value) -> bool {
    !matches!(job.text(&["spec", "managedBy"]), "" | CONTROLLER)
}

pub fn is_indexed(job: &Value) -> bool {
    job.text(&["spec", "completionMode"]) == "Indexed"
}

pub fn is_suspended(job: &Value) -> bool {
    job.flag(&["spec", "suspend"])
}

pub fn completions(job: &Value) -> Option<i64> {
    job.integer(&["spec", "completions"])
}

pub fn parallelism(job: &Value) -> i64 {
    job.integer(&["spec", "parallelism"]).unwrap_or(1)
}

pub fn limit_per_index(job: &Value) -> Option<i64> {
    job.integer(&["spec", "backoffLimitPerIndex"]).filter(|_| is_indexed(job))
}

/// A pod on its way out is replaced only when it has ended.
pub fn waits_for_end(job: &Value) -> bool {
    job.text(&["spec", "podReplacementPolicy"]) == "Failed" || has_failure_policy(job)
}

pub fn has_failure_policy(job: &Value) -> bool {
    job.at(&["spec", "podFailurePolicy"]).is_some_and(|p| !p.is_null())
}

/// Failed, or deleted before it could succeed.
pub fn has_failed(job: &Value, pod: &Value) -> bool {
    match pods::phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => pod.deleting() && !waits_for_end(job),
    }
}

pub fn is_terminating(pod: &Value) -> bool {
    pod.deleting() && !pods::is_finished(pod)
}

pub fn is_tracked(pod: &Value) -> bool {
    pod.items(&["metadata", "finalizers"]).iter().any(|f| f == FINALIZER)
}

pub fn index_of(pod: &Value) -> Option<i64> {
    pod.annotation(INDEX).parse().ok().filter(|i| *i >= 0)
}

/// An index that the Job asks for.
pub fn valid_index(job: &Value, pod: &Value) -> Option<i64> {
    index_of(pod).filter(|i| *i < completions(job).unwrap_or(0))
}

pub fn failures_before(pod: &Value, annotation: &str) -> i64 {
    pod.annotation(annotation).parse().ok().filter(|n| (0..=i64::from(i32::MAX)).contains(n)).unwrap_or(0)
}
