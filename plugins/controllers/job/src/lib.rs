//! Jobs: pods that run to their end, as many as asked for, each counted once.
//!
//! A reconcile claims the pods, judges them (`round`), makes or deletes pods (`manage`), counts and finishes (`track`). A finished Job is
//! deleted when its time to live is over.

mod backoff;
mod facts;
mod intervals;
mod manage;
mod policy;
mod round;
mod track;

use std::time::Duration;

use pintle_controller_common::claim::{Claimant, claim_marked};
use pintle_controller_common::fields::Fields;
use pintle_controller_common::route::{Owners, spec_selector};
use pintle_controller_common::{resources, time};
use pintle_sdk::controller::{Api, ApiError, Controller, DeleteOptions, EventType, Failure, Key, Query, Relation, Watch};
use serde_json::{Value, json};

use crate::backoff::Records;
use crate::round::{FAILED, Round, SUCCEEDED};

const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const OWNERS: Owners = Owners { resource: resources::JOBS, kind: "Job", selector: spec_selector };

#[derive(Default)]
pub struct JobController {
    records: Records,
}

impl Controller for JobController {
    fn watches() -> Vec<Watch> {
        vec![Watch::new(resources::JOBS, Relation::Primary), Watch::new(resources::PODS, Relation::Claimed("Job"))]
    }

    fn route(&mut self, api: &dyn Api, _index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        let mut keys = OWNERS.of(api, before, after);
        // A pod that lost its Job still bears our finalizer, and only we take it away.
        if let Some(orphan) = after.filter(|p| facts::is_tracked(p) && p.controller().is_none()) {
            let name = orphan.label(NAME_LABEL).to_owned();
            if !name.is_empty() {
                keys.push(Key { namespace: orphan.namespace().to_owned(), name });
            }
        }
        keys
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let job = match api.get(resources::JOBS, &key.namespace, &key.name) {
            Ok(job) => job,
            Err(ApiError::NotFound(_)) => {
                self.records.forget(key);
                return free_orphans(api, key).map(|()| None);
            }
            Err(error) => return Err(error.into()),
        };
        if facts::is_foreign(&job) {
            return Ok(None);
        }
        if facts::is_finished(&job) {
            self.records.forget(key);
            free_owned(api, &job)?;
            return expire(api, &job);
        }
        if !matches!(job.text(&["spec", "completionMode"]), "" | "NonIndexed" | "Indexed") {
            api.event(
                resources::JOBS,
                &key.namespace,
                &key.name,
                EventType::Warning,
                "UnknownCompletionMode",
                "Skipped Job sync because completion mode is unknown",
            );
            return Ok(None);
        }
        self.work(api, key, job)
    }
}

impl JobController {
    fn work(&mut self, api: &dyn Api, key: &Key, job: Value) -> Result<Option<Duration>, Failure> {
        let Some(selector) = spec_selector(&job) else { return Ok(None) };
        let claimant = Claimant { resource: resources::JOBS, object: &job, api_version: "batch/v1", kind: "Job", selector: &selector };
        let pods = claim_marked(api, &claimant, resources::PODS, facts::FINALIZER)?;
        let stored = job["status"].clone();
        let mut round = Round::new(api, job, pods);
        round.record = self.records.after(key, &round.job, &round.pods, &round.fresh(SUCCEEDED), &round.fresh(FAILED));
        round.judge();
        let (active, outcome) = act(&mut round);
        let status = &mut round.job["status"];
        if active > 0 {
            status["active"] = json!(active);
        } else {
            status.as_object_mut().expect("made an object").remove("active");
        }
        status["ready"] = json!(round.ready);
        status["terminating"] = json!(round.terminating);
        let changed = |field: &str| round.job["status"][field] != stored[field];
        let dirty = ["active", "ready", "terminating", "conditions"].into_iter().any(changed);
        track::track(&mut round, &mut self.records, dirty)?;
        outcome?;
        Ok(round.again.into_iter().min().map(|seconds| Duration::from_secs(seconds.max(1).unsigned_abs())))
    }
}

/// Brings the pods nearer to what is wanted. Returns how many run afterwards.
fn act(round: &mut Round<'_>) -> (i64, Result<(), Failure>) {
    if round.verdict.is_some() {
        let (left, outcome) = manage::delete_active(round);
        if left > 0 {
            round.verdict = None;
        }
        return (left, outcome);
    }
    let managed = !round.job.deleting();
    let (active, outcome) = if managed { manage::manage(round) } else { (round::count(round.active().iter()), Ok(())) };
    if round.is_complete(active) {
        round.verdict = Some(Round::complete());
    } else if managed {
        note_suspension(round);
    }
    (active, outcome)
}

/// The clock of the deadline stands still while the Job is suspended, and begins anew.
fn note_suspension(round: &mut Round<'_>) {
    if facts::is_suspended(&round.job) {
        if round.set_condition("Suspended", true, "JobSuspended", "Job suspended") {
            round.event(EventType::Normal, "Suspended", "Job suspended");
            round.job["status"].as_object_mut().expect("made an object").remove("startTime");
        }
    } else if round.set_condition("Suspended", false, "JobResumed", "Job resumed") {
        round.event(EventType::Normal, "Resumed", "Job resumed");
        round.job["status"]["startTime"] = json!(time::text(round.now));
    }
}

/// Pods left behind by a Job that is gone.
fn free_orphans(api: &dyn Api, key: &Key) -> Result<(), Failure> {
    let query = Query { namespace: &key.namespace, label_selector: format!("{NAME_LABEL}={}", key.name), ..Query::default() };
    for pod in api.list(resources::PODS, &query)? {
        let ours = pod.controller().is_none_or(|o| o.text(&["kind"]) == "Job" && o.text(&["name"]) == key.name);
        if ours {
            track::remove_finalizer(api, &pod)?;
        }
    }
    Ok(())
}

/// Pods that were still on their way out when their Job finished.
fn free_owned(api: &dyn Api, job: &Value) -> Result<(), Failure> {
    for pod in api.list(resources::PODS, &Query { namespace: job.namespace(), owner_uid: job.uid(), ..Query::default() })? {
        track::remove_finalizer(api, &pod)?;
    }
    Ok(())
}

/// Deletes a finished Job whose `ttlSecondsAfterFinished` is over, after a look past the caches.
fn expire(api: &dyn Api, job: &Value) -> Result<Option<Duration>, Failure> {
    let left = |job: &Value| {
        let ttl = job.integer(&["spec", "ttlSecondsAfterFinished"]).filter(|_| !job.deleting())?;
        Some(facts::finished_at(job)? + ttl - time::now_seconds(api))
    };
    let wait = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
    match left(job) {
        None => return Ok(None),
        Some(seconds) if seconds > 0 => return Ok(Some(wait(seconds))),
        Some(_) => {}
    }
    let live = match api.get_live(resources::JOBS, job.namespace(), job.name()) {
        Ok(live) => live,
        Err(ApiError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match left(&live) {
        None => Ok(None),
        Some(seconds) if seconds > 0 => Ok(Some(wait(seconds))),
        Some(_) => {
            let options = DeleteOptions { uid: live.uid(), propagation_policy: "Foreground", ..DeleteOptions::default() };
            match api.delete(resources::JOBS, live.namespace(), live.name(), &options) {
                Ok(()) | Err(ApiError::NotFound(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
    }
}

pintle_sdk::export_controller!(JobController);

#[cfg(test)]
mod tests;
