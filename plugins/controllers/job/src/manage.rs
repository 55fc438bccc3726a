//! As many running pods as the Job may have now: makes and deletes them.

use std::collections::BTreeSet;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{pod_control, pods, resources, template};
use pintle_sdk::controller::Failure;
use serde_json::{Value, json};

use crate::backoff::remaining_of_index;
use crate::facts::{self, FINALIZER, INDEX, INDEX_FAILURES, INDEX_IGNORED_FAILURES};
use crate::intervals::Intervals;
use crate::policy;
use crate::round::{Round, count};
use crate::track::remove_finalizer;

/// Most pods made or deleted in one go; the rest follows at once in the next.
const BURST: usize = 500;
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// A generated name's prefix leaves room for its suffix.
const MAX_PREFIX: usize = 58;

/// Returns how many run afterwards, and what went wrong.
pub fn manage(round: &mut Round<'_>) -> (i64, Result<(), Failure>) {
    let active = count(round.active().iter());
    if facts::is_suspended(&round.job) {
        let all = surplus(round, usize::try_from(active).unwrap_or(0));
        return delete(round, all, active);
    }
    let wanted = wanted(round, active);
    let mut excess = surplus(round, usize::try_from(active - wanted).unwrap_or(0));
    excess.truncate(BURST);
    if !excess.is_empty() {
        // Deleting and making wait for each other: the next reconcile makes.
        return delete(round, excess, active);
    }
    let leaving = if facts::waits_for_end(&round.job) { round.terminating } else { 0 };
    let missing = usize::try_from(wanted - leaving - active).unwrap_or(0).min(BURST);
    if missing == 0 { (active, Ok(())) } else { create(round, missing, active) }
}

fn wanted(round: &Round<'_>, active: i64) -> i64 {
    let parallelism = facts::parallelism(&round.job);
    match facts::completions(&round.job) {
        None if round.succeeded > 0 => active,
        None => parallelism,
        Some(completions) => (completions - round.succeeded).clamp(0, parallelism),
    }
}

/// At least so many running pods that should not: those without a valid index and all but the best of each index first, then the least ready.
fn surplus(round: &Round<'_>, at_least: usize) -> Vec<Value> {
    let mut running: Vec<&Value> = round.active();
    running.sort_by_cached_key(|p| pods::deletion_rank(p, 0));
    let mut surplus: Vec<Value> = Vec::new();
    if facts::is_indexed(&round.job) {
        let mut seen = BTreeSet::new();
        let mut keep = Vec::new();
        for pod in running.into_iter().rev() {
            match facts::valid_index(&round.job, pod) {
                Some(index) if seen.insert(index) => keep.push(pod),
                _ => surplus.push(pod.clone()),
            }
        }
        keep.reverse();
        running = keep;
    }
    let more = at_least.saturating_sub(surplus.len());
    surplus.extend(running.into_iter().take(more).cloned());
    surplus
}

/// These pods do not count: they lose the finalizer before they go.
fn delete(round: &mut Round<'_>, surplus: Vec<Value>, active: i64) -> (i64, Result<(), Failure>) {
    let mut active = active;
    for pod in surplus {
        let outcome = remove_finalizer(round.api, &pod).and_then(|_| pod_control::delete(round.api, resources::JOBS, &round.job, &pod));
        if outcome.is_err() {
            return (active, outcome);
        }
        gone(round, &pod);
        active -= 1;
    }
    (active, Ok(()))
}

/// Ends every running pod of a Job that is over. They keep their finalizer until they are counted. True when none is left running.
pub fn delete_active(round: &mut Round<'_>) -> (i64, Result<(), Failure>) {
    let running: Vec<Value> = round.active().into_iter().cloned().collect();
    let mut left = count(running.iter());
    for pod in running {
        if let Err(failure) = pod_control::delete(round.api, resources::JOBS, &round.job, &pod) {
            return (left, Err(failure));
        }
        gone(round, &pod);
        left -= 1;
    }
    (left, Ok(()))
}

fn gone(round: &mut Round<'_>, pod: &Value) {
    round.terminating += 1;
    round.ready -= i64::from(pods::is_ready(pod));
}

fn create(round: &mut Round<'_>, missing: usize, active: i64) -> (i64, Result<(), Failure>) {
    let per_index = facts::limit_per_index(&round.job).is_some();
    if !per_index {
        let wait = round.record.remaining(round.now);
        if wait > 0 {
            round.again.push(wait);
            return (active, Ok(()));
        }
    }
    let mut places: Vec<Option<i64>> = vec![None; missing];
    if facts::is_indexed(&round.job) {
        let waiting = |index: &i64| round.kept.get(index).map_or(0, |pod| remaining_of_index(pod, round.now));
        let (now, later): (Vec<i64>, Vec<i64>) = pending(round, missing).into_iter().partition(|i| waiting(i) == 0);
        let wait = later.iter().map(waiting).min();
        round.again.extend(wait);
        places = now.into_iter().map(Some).collect();
    }
    let mut active = active;
    for index in places {
        let pod = pod(round, index);
        if let Err(failure) = pod_control::create(round.api, resources::JOBS, &round.job, &pod) {
            return (active, Err(failure));
        }
        active += 1;
    }
    (active, Ok(()))
}

/// The lowest indexes that neither run, nor are done or given up.
fn pending(round: &Round<'_>, missing: usize) -> Vec<i64> {
    let leaving = facts::waits_for_end(&round.job);
    let occupied = round.pods.iter().filter(|p| pods::is_active(p) || leaving && facts::is_terminating(p));
    let mut taken = round.done.with(&Intervals::of(occupied.filter_map(facts::index_of)));
    if let Some(given_up) = &round.given_up {
        taken = taken.with(given_up);
    }
    taken.gaps(missing, facts::completions(&round.job).unwrap_or(0))
}

fn pod(round: &Round<'_>, index: Option<i64>) -> Value {
    let job = &round.job;
    let mut pod = template::pod(&job["spec"]["template"], job, "batch/v1", "Job");
    let mut finalizers = pod.items(&["metadata", "finalizers"]).to_vec();
    if !facts::is_tracked(&pod) {
        finalizers.push(json!(FINALIZER));
    }
    pod["metadata"]["finalizers"] = json!(finalizers);
    let Some(index) = index else { return pod };
    for list in ["initContainers", "containers"] {
        pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(add_variable);
    }
    let text = index.to_string();
    pod["metadata"]["generateName"] = json!(prefix(job.name(), index));
    pod["metadata"]["labels"][INDEX] = json!(text);
    pod["metadata"]["annotations"][INDEX] = json!(text);
    pod["spec"]["hostname"] = json!(format!("{}-{index}", job.name()));
    if facts::limit_per_index(job).is_some() {
        let (failures, ignored) = round.kept.get(&index).map_or((0, 0), |before| failures_after(job, before));
        pod["metadata"]["annotations"][INDEX_FAILURES] = json!(failures.to_string());
        if ignored > 0 {
            pod["metadata"]["annotations"][INDEX_IGNORED_FAILURES] = json!(ignored.to_string());
        }
    }
    pod
}

fn failures_after(job: &Value, before: &Value) -> (i64, i64) {
    let of = |annotation| facts::failures_before(before, annotation);
    let counts = policy::judge(job, before).counts();
    (of(INDEX_FAILURES) + i64::from(counts), of(INDEX_IGNORED_FAILURES) + i64::from(!counts))
}

fn add_variable(container: &mut Value) {
    let variables = container.items(&["env"]);
    if variables.iter().any(|v| v.text(&["name"]) == INDEX_VARIABLE) {
        return;
    }
    let mut variables = variables.to_vec();
    variables.push(json!({"name": INDEX_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": format!("metadata.labels['{INDEX}']")}}}));
    container["env"] = json!(variables);
}

fn prefix(job: &str, index: i64) -> String {
    let suffix = format!("-{index}-");
    let room = MAX_PREFIX.saturating_sub(suffix.len()).min(job.len());
    format!("{}{suffix}", &job[..job.floor_char_boundary(room)])
}
