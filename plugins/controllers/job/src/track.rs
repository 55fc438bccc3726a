//! Counting each ended pod exactly once: its uid goes into the status, then its finalizer goes, then the count rises and the uid leaves.
//! A crash between two of these loses and repeats nothing. When everything is counted and gone, the Job finishes.

use std::collections::HashSet;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{pods, resources, time};
use pintle_sdk::controller::{Api, ApiError, EventType, Failure, PatchType};
use serde_json::{Value, json};

use crate::backoff::Records;
use crate::facts::{self, FINALIZER, has_failed, is_tracked};
use crate::intervals::Intervals;
use crate::policy;
use crate::round::{FAILED, Round, SUCCEEDED, UNCOUNTED};

/// Uids that the status holds at a time: it must stay small.
const MAX_UNCOUNTED: usize = 500;

pub fn track(round: &mut Round<'_>, records: &mut Records, mut dirty: bool) -> Result<(), Failure> {
    let mut tracked: HashSet<String> = round.pods.iter().filter(|p| is_tracked(p)).map(|p| p.uid().to_owned()).collect();
    dirty |= settle(&mut round.job["status"], &tracked);
    let (leaving, full, more) = collect(round);
    dirty |= more;
    dirty |= note_indexes(round);
    dirty |= announce(round);
    let record = round.record;
    if dirty {
        round.write_status()?;
    }
    let key = pintle_sdk::controller::Key { namespace: round.job.namespace().to_owned(), name: round.job.name().to_owned() };
    records.keep(&key, &round.job, record);

    let mut refused = Ok(());
    for pod in &leaving {
        match remove_finalizer(round.api, pod) {
            Ok(()) => {
                tracked.remove(pod.uid());
            }
            Err(failure) => refused = Err(failure),
        }
    }
    let mut dirty = settle(&mut round.job["status"], &tracked);
    let finished = refused.is_ok() && !full && finish(round);
    dirty |= finished;
    if dirty {
        round.write_status()?;
    }
    if finished {
        tell(round);
    }
    refused
}

/// Uids whose pods have lost their finalizer become counts.
fn settle(status: &mut Value, tracked: &HashSet<String>) -> bool {
    let mut changed = false;
    if !status["uncountedTerminatedPods"].is_object() {
        status["uncountedTerminatedPods"] = json!({});
    }
    for name in UNCOUNTED {
        let uids = status.items(&["uncountedTerminatedPods", name]);
        let left: Vec<Value> = uids.iter().filter(|u| u.as_str().is_some_and(|u| tracked.contains(u))).cloned().collect();
        let settled = i64::try_from(uids.len() - left.len()).unwrap_or(0);
        if settled > 0 {
            changed = true;
            status[name] = json!(status.integer(&[name]).unwrap_or(0) + settled);
            put_uids(status, name, left);
        }
    }
    changed
}

fn put_uids(status: &mut Value, name: &str, uids: Vec<Value>) {
    let lists = status["uncountedTerminatedPods"].as_object_mut().expect("made an object above");
    if uids.is_empty() {
        lists.remove(name);
    } else {
        lists.insert(name.to_owned(), json!(uids));
    }
}

/// The pods that lose their finalizer now; whether the status is full; whether it changed.
fn collect(round: &mut Round<'_>) -> (Vec<Value>, bool, bool) {
    let indexed = facts::is_indexed(&round.job);
    let mut order: Vec<Value> = round.pods.iter().filter(|p| is_tracked(p)).cloned().collect();
    if indexed {
        order.sort_by_key(|p| facts::index_of(p).unwrap_or(-1));
    }
    let mut lists = UNCOUNTED.map(|name| round.job.items(&["status", "uncountedTerminatedPods", name]).to_vec());
    let (mut leaving, mut indexes, mut changed, mut full) = (Vec::new(), Vec::new(), false, false);
    let failing = round.verdict.as_ref().is_some_and(|v| !v.success);
    for pod in order {
        let failed = has_failed(&round.job, &pod);
        if !may_leave(round, &pod, failed) {
            continue;
        }
        let index = facts::valid_index(&round.job, &pod);
        if pods::phase(&pod) == "Succeeded" && !round.uncounted[FAILED].contains(pod.uid()) {
            if indexed {
                // The index in the status is as good as a uid.
                indexes.extend(index.filter(|i| !round.before.has(*i)));
            } else if !round.uncounted[SUCCEEDED].contains(pod.uid()) {
                lists[SUCCEEDED].push(json!(pod.uid()));
                changed = true;
            }
        } else if (failed || failing)
            && !round.uncounted[FAILED].contains(pod.uid())
            && (!indexed || index.is_some())
            && policy::judge(&round.job, &pod).counts()
        {
            lists[FAILED].push(json!(pod.uid()));
            changed = true;
        }
        leaving.push(pod);
        if indexes.len() + lists[SUCCEEDED].len() + lists[FAILED].len() >= MAX_UNCOUNTED {
            full = true;
            break;
        }
    }
    if indexed {
        round.done = round.before.with(&Intervals::of(indexes));
    }
    for (name, list) in UNCOUNTED.into_iter().zip(lists) {
        put_uids(&mut round.job["status"], name, list);
    }
    (leaving, full, changed)
}

fn may_leave(round: &Round<'_>, pod: &Value, failed: bool) -> bool {
    if round.job.deleting() || round.verdict.is_some() || pods::phase(pod) == "Succeeded" {
        return true;
    }
    failed && facts::index_of(pod).and_then(|i| round.kept.get(&i)).is_none_or(|kept| kept.uid() != pod.uid())
}

fn note_indexes(round: &mut Round<'_>) -> bool {
    if !facts::is_indexed(&round.job) {
        return false;
    }
    let before = round.job["status"].clone();
    let status = round.job["status"].as_object_mut().expect("made an object");
    let total = round.done.total();
    let mut put = |field: &str, value: Option<Value>| match value {
        Some(value) => drop(status.insert(field.to_owned(), value)),
        None => drop(status.remove(field)),
    };
    put("succeeded", (total > 0).then(|| json!(total)));
    put("completedIndexes", (total > 0).then(|| json!(round.done.to_string())));
    put("failedIndexes", round.given_up.as_ref().map(|f| json!(f.to_string())));
    round.job["status"] != before
}

/// The interim condition tells of the end before the finalizers, and with them the pods, go.
fn announce(round: &mut Round<'_>) -> bool {
    let Some(verdict) = round.verdict.clone().filter(|v| !v.announced) else { return false };
    let kind = if verdict.success { "SuccessCriteriaMet" } else { "FailureTarget" };
    round.set_condition(kind, true, &verdict.reason, &verdict.message)
}

/// Everything is counted and no pod is on its way out: the Job is over.
fn finish(round: &mut Round<'_>) -> bool {
    let Some(verdict) = round.verdict.clone() else { return false };
    let uncounted = |name: &str| !round.job.items(&["status", "uncountedTerminatedPods", name]).is_empty();
    if UNCOUNTED.into_iter().any(uncounted) || round.terminating > 0 {
        return false;
    }
    round.set_condition(if verdict.success { "Complete" } else { "Failed" }, true, &verdict.reason, &verdict.message);
    if verdict.success {
        round.job["status"]["completionTime"] = json!(time::text(round.now));
    }
    true
}

fn tell(round: &Round<'_>) {
    let Some(verdict) = &round.verdict else { return };
    if !verdict.success {
        return round.event(EventType::Warning, &verdict.reason, &verdict.message);
    }
    if facts::completions(&round.job).is_some_and(|c| round.job.integer(&["status", "succeeded"]).unwrap_or(0) > c) {
        round.event(EventType::Warning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached");
    }
    round.event(EventType::Normal, "Completed", "Job completed");
}

/// A pod that is gone has none.
pub fn remove_finalizer(api: &dyn Api, pod: &Value) -> Result<(), Failure> {
    if !is_tracked(pod) {
        return Ok(());
    }
    let body = json!({"metadata": {"uid": pod.uid(), "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
    match api.patch(resources::PODS, pod.namespace(), pod.name(), "", PatchType::Strategic, &body) {
        Ok(_) | Err(ApiError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
