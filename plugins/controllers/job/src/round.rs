//! One reconcile of a Job: what its pods amount to, and whether the Job is done, failing, or goes on.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{pods, resources, time};
use pintle_sdk::controller::{Api, EventType, Failure};
use serde_json::{Value, json};

use crate::backoff::Record;
use crate::facts::{self, has_failed, is_tracked};
use crate::intervals::Intervals;
use crate::policy::{self, Ruling};

/// That the Job ends, and why. `announced`: the interim condition is there already.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub success: bool,
    pub announced: bool,
    pub reason: String,
    pub message: String,
}

pub struct Round<'a> {
    pub api: &'a dyn Api,
    pub job: Value,
    pub pods: Vec<Value>,
    pub now: i64,
    pub ready: i64,
    pub terminating: i64,
    pub succeeded: i64,
    pub failed: i64,
    /// Uids that the status holds and the counts do not.
    pub uncounted: [HashSet<String>; 2],
    pub record: Record,
    pub before: Intervals,
    pub done: Intervals,
    pub given_up: Option<Intervals>,
    /// By index: the failed pod that is kept until another takes over its count of failures.
    pub kept: BTreeMap<i64, Value>,
    pub verdict: Option<Verdict>,
    /// Seconds after which to look again.
    pub again: Vec<i64>,
}

/// Places in [`Round::uncounted`], and the names in the status.
pub const SUCCEEDED: usize = 0;
pub const FAILED: usize = 1;
pub const UNCOUNTED: [&str; 2] = ["succeeded", "failed"];

impl<'a> Round<'a> {
    pub fn new(api: &'a dyn Api, job: Value, pods: Vec<Value>) -> Self {
        let uids = |name: &str| job.items(&["status", "uncountedTerminatedPods", name]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let mut round = Self {
            api,
            now: time::now_seconds(api),
            ready: count(pods.iter().filter(|p| pods::is_active(p) && pods::is_ready(p))),
            terminating: count(pods.iter().filter(|p| facts::is_terminating(p))),
            succeeded: 0,
            failed: 0,
            uncounted: UNCOUNTED.map(uids),
            record: Record::default(),
            before: Intervals::default(),
            done: Intervals::default(),
            given_up: None,
            kept: BTreeMap::new(),
            verdict: None,
            again: Vec::new(),
            job,
            pods,
        };
        if !round.job["status"].is_object() {
            round.job["status"] = json!({});
        }
        let failed = round.fresh(FAILED);
        let counted = |round: &Self, field: &str| round.job.integer(&["status", field]).unwrap_or(0);
        round.failed = counted(&round, "failed")
            + count(failed.iter().filter(|p| policy::judge(&round.job, p).counts()))
            + count(round.uncounted[FAILED].iter());
        round.succeeded = counted(&round, "succeeded") + count(round.fresh(SUCCEEDED).iter()) + count(round.uncounted[SUCCEEDED].iter());
        if round.job.text(&["status", "startTime"]).is_empty() && !facts::is_suspended(&round.job) {
            round.job["status"]["startTime"] = json!(time::text(round.now));
        }
        round
    }

    /// Pods that ended so and are in no count yet.
    pub fn fresh(&self, how: usize) -> Vec<&Value> {
        let ended = |p: &&Value| if how == SUCCEEDED { pods::phase(p) == "Succeeded" } else { has_failed(&self.job, p) };
        self.pods.iter().filter(|p| self.is_valid(p) && !self.uncounted[how].contains(p.uid())).filter(ended).collect()
    }

    fn is_valid(&self, pod: &Value) -> bool {
        is_tracked(pod) && (!facts::is_indexed(&self.job) || facts::valid_index(&self.job, pod).is_some())
    }

    pub fn active(&self) -> Vec<&Value> {
        self.pods.iter().filter(|p| pods::is_active(p)).collect()
    }

    /// Failure before success, and what was announced before either.
    pub fn judge(&mut self) {
        self.verdict = self.announced().or_else(|| self.failure());
        if facts::is_indexed(&self.job) {
            self.count_indexes();
        }
    }

    fn announced(&self) -> Option<Verdict> {
        [("SuccessCriteriaMet", true), ("FailureTarget", false)].into_iter().find_map(|(kind, success)| {
            let condition = self.job.items(&["status", "conditions"]).iter().find(|c| c.text(&["type"]) == kind && c.text(&["status"]) == "True")?;
            Some(Verdict {
                success,
                announced: true,
                reason: condition.text(&["reason"]).to_owned(),
                message: condition.text(&["message"]).to_owned(),
            })
        })
    }

    fn failure(&mut self) -> Option<Verdict> {
        if facts::has_failure_policy(&self.job) {
            let mut rulings = self.pods.iter().filter(|p| has_failed(&self.job, p)).map(|p| policy::judge(&self.job, p));
            if let Some(Ruling::FailJob(why)) = rulings.find(|r| matches!(r, Ruling::FailJob(_))) {
                return Some(failing("PodFailurePolicy", &why));
            }
        }
        let limit = self.job.integer(&["spec", "backoffLimit"]).unwrap_or(6);
        if self.failed > limit || self.restarted_too_often(limit) {
            return Some(failing("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
        }
        let deadline = self.job.integer(&["spec", "activeDeadlineSeconds"]).filter(|_| !facts::is_suspended(&self.job))?;
        let started = time::seconds(self.job.text(&["status", "startTime"]))?;
        if self.now >= started + deadline {
            return Some(failing("DeadlineExceeded", "Job was active longer than specified deadline"));
        }
        self.again.push(started + deadline - self.now);
        None
    }

    /// With `restartPolicy: OnFailure` the containers' restarts count, not the pods.
    fn restarted_too_often(&self, limit: i64) -> bool {
        if self.job.text(&["spec", "template", "spec", "restartPolicy"]) != "OnFailure" {
            return false;
        }
        let running = self.pods.iter().filter(|p| matches!(pods::phase(p), "Running" | "Pending"));
        let lists = running.flat_map(|p| [p.items(&["status", "initContainerStatuses"]), p.items(&["status", "containerStatuses"])]);
        let restarts: i64 = lists.flatten().filter_map(|s| s.integer(&["restartCount"])).sum();
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    fn count_indexes(&mut self) {
        let completions = facts::completions(&self.job).unwrap_or(0);
        self.before = Intervals::parse(self.job.text(&["status", "completedIndexes"]), completions);
        let indexes = |wanted: &dyn Fn(&Value) -> bool| -> Intervals {
            let tracked = self.pods.iter().filter(|p| is_tracked(p) && wanted(p));
            Intervals::from(&tracked.filter_map(|p| facts::valid_index(&self.job, p)).collect::<BTreeSet<i64>>())
        };
        self.done = self.before.with(&indexes(&|p| pods::phase(p) == "Succeeded"));
        if let Some(limit) = facts::limit_per_index(&self.job) {
            let earlier = Intervals::parse(self.job.text(&["status", "failedIndexes"]), completions);
            self.given_up = Some(earlier.with(&indexes(&|p| self.gives_up(p, limit))));
        }
        self.succeeded = self.done.total();
        if let Some(given_up) = self.given_up.clone() {
            if self.verdict.is_none() {
                self.verdict = self.failure_by_index(&given_up, completions);
            }
            self.kept = self.kept_for_successors(&given_up);
        }
        if self.verdict.is_none() {
            self.verdict = policy::is_success(&self.job, completions, &self.done).map(|message| Verdict {
                success: true,
                announced: false,
                reason: "SuccessPolicy".to_owned(),
                message,
            });
        }
    }

    fn failure_by_index(&self, given_up: &Intervals, completions: i64) -> Option<Verdict> {
        let failed = given_up.total();
        if self.job.integer(&["spec", "maxFailedIndexes"]).is_some_and(|most| failed > most) {
            Some(failing("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"))
        } else if failed > 0 && failed + self.done.total() >= completions {
            Some(failing("FailedIndexes", "Job has failed indexes"))
        } else {
            None
        }
    }

    fn gives_up(&self, pod: &Value, limit: i64) -> bool {
        has_failed(&self.job, pod)
            && match policy::judge(&self.job, pod) {
                Ruling::FailIndex => true,
                ruling => ruling.counts() && facts::failures_before(pod, facts::INDEX_FAILURES) >= limit,
            }
    }

    fn kept_for_successors(&self, given_up: &Intervals) -> BTreeMap<i64, Value> {
        let running: BTreeSet<i64> = self.active().iter().filter_map(|p| facts::index_of(p)).collect();
        let all_failures = |p: &Value| facts::failures_before(p, facts::INDEX_FAILURES) + facts::failures_before(p, facts::INDEX_IGNORED_FAILURES);
        let rank = |p: &Value| (all_failures(p), crate::backoff::ended_at(p));
        let mut kept: BTreeMap<i64, Value> = BTreeMap::new();
        for pod in self.pods.iter().filter(|p| is_tracked(p) && has_failed(&self.job, p)) {
            let Some(index) = facts::valid_index(&self.job, pod) else { continue };
            if self.done.has(index) || given_up.has(index) || running.contains(&index) {
                continue;
            }
            if kept.get(&index).is_none_or(|other| rank(other) <= rank(pod)) {
                kept.insert(index, pod.clone());
            }
        }
        kept
    }

    /// True when every completion is there and nothing runs any more.
    pub fn is_complete(&self, active: i64) -> bool {
        let enough = match facts::completions(&self.job) {
            // Without a number, one success says that the work is done; the others may finish.
            None => self.succeeded > 0,
            Some(wanted) => self.succeeded >= wanted,
        };
        enough && active == 0
    }

    pub fn complete() -> Verdict {
        Verdict {
            success: true,
            announced: false,
            reason: "CompletionsReached".to_owned(),
            message: "Reached expected number of succeeded pods".to_owned(),
        }
    }

    pub fn event(&self, kind: EventType, reason: &str, message: &str) {
        self.api.event(resources::JOBS, self.job.namespace(), self.job.name(), kind, reason, message);
    }

    pub fn write_status(&mut self) -> Result<(), Failure> {
        self.job = self.api.update_status(resources::JOBS, self.job.namespace(), self.job.name(), &self.job)?;
        Ok(())
    }

    /// Sets a condition; one that is not there does not begin as false. True when something changed.
    pub fn set_condition(&mut self, kind: &str, status: bool, reason: &str, message: &str) -> bool {
        let now = time::text(self.now);
        let word = if status { "True" } else { "False" };
        let condition = json!({"type": kind, "status": word, "reason": reason, "message": message, "lastProbeTime": now, "lastTransitionTime": now});
        if !self.job["status"]["conditions"].is_array() {
            self.job["status"]["conditions"] = json!([]);
        }
        let list = self.job["status"]["conditions"].as_array_mut().expect("made a list above");
        match list.iter_mut().find(|c| c.text(&["type"]) == kind) {
            Some(old) if old.text(&["status"]) == word && old.text(&["reason"]) == reason && old.text(&["message"]) == message => false,
            Some(old) => {
                *old = condition;
                true
            }
            None if status => {
                list.push(condition);
                true
            }
            None => {
                if list.is_empty() {
                    self.job["status"].as_object_mut().expect("an object").remove("conditions");
                }
                false
            }
        }
    }
}

fn failing(reason: &str, message: &str) -> Verdict {
    Verdict { success: false, announced: false, reason: reason.to_owned(), message: message.to_owned() }
}

pub fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).unwrap_or(i64::MAX)
}
