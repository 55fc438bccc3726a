//! When a failed pod may be followed by another: ten seconds after the first failure, twice as long after each more, ten minutes at most.
//! A success starts it anew.

use std::collections::HashMap;

use pintle_controller_common::conditions;
use pintle_controller_common::fields::Fields;
use pintle_controller_common::{pods, time};
use pintle_sdk::controller::Key;
use serde_json::Value;

use crate::facts;

const FIRST_SECONDS: i64 = 10;
const MAX_SECONDS: i64 = 600;

/// Failures in a row of each Job's pods. A Job not known yet is judged by the pods that are still there.
#[derive(Default)]
pub struct Records(HashMap<Key, (String, Record)>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub failures: i64,
    pub last: i64,
}

impl Records {
    /// The record as it is after these pods ended. Not kept yet: see [`Records::keep`].
    pub fn after(&self, key: &Key, job: &Value, all: &[Value], succeeded: &[&Value], failed: &[&Value]) -> Record {
        let known = self.0.get(key).filter(|(uid, _)| uid == job.uid()).map(|(_, record)| *record);
        let before = known.unwrap_or_else(|| {
            let counted = |phase: &'static str| all.iter().filter(move |p| !facts::is_tracked(p) && pods::phase(p) == phase);
            Record::default().add(&counted("Succeeded").collect::<Vec<_>>(), &counted("Failed").collect::<Vec<_>>())
        });
        before.add(succeeded, failed)
    }

    pub fn keep(&mut self, key: &Key, job: &Value, record: Record) {
        self.0.insert(key.clone(), (job.uid().to_owned(), record));
    }

    pub fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }
}

impl Record {
    fn add(self, succeeded: &[&Value], failed: &[&Value]) -> Self {
        let last_success = succeeded.iter().map(|p| ended_at(p)).max();
        let times = failed.iter().map(|p| ended_at(p)).filter(|t| last_success.is_none_or(|s| *t > s));
        let (count, last) = times.fold((0, None), |(count, last): (i64, Option<i64>), t| (count + 1, Some(last.map_or(t, |l| l.max(t)))));
        let before = if last_success.is_some() { Self::default() } else { self };
        Self { failures: before.failures + count, last: last.unwrap_or(before.last) }
    }

    /// Seconds until the next pod may be made.
    pub fn remaining(self, now: i64) -> i64 {
        if self.failures == 0 {
            return 0;
        }
        let doublings = u32::try_from(self.failures - 1).unwrap_or(u32::MAX).min(10);
        let pause = (FIRST_SECONDS << doublings).min(MAX_SECONDS);
        (self.last + pause - now).max(0)
    }
}

/// When an index whose last pod failed may be tried again.
pub fn remaining_of_index(last_failed: &Value, now: i64) -> i64 {
    let failures =
        facts::failures_before(last_failed, facts::INDEX_FAILURES) + facts::failures_before(last_failed, facts::INDEX_IGNORED_FAILURES) + 1;
    Record { failures, last: ended_at(last_failed) }.remaining(now)
}

/// When a pod ended: by its containers, by its Ready condition, by its deletion, and at the least when it was made.
pub fn ended_at(pod: &Value) -> i64 {
    let of_containers = || {
        let sidecar = |s: &&Value| {
            let spec = pod.items(&["spec", "initContainers"]).iter().find(|c| c.text(&["name"]) == s.text(&["name"]));
            spec.is_some_and(|c| c.text(&["restartPolicy"]) == "Always")
        };
        let sidecars = pod.items(&["status", "initContainerStatuses"]).iter().filter(sidecar);
        let ends =
            pod.items(&["status", "containerStatuses"]).iter().chain(sidecars).map(|s| time::seconds(s.text(&["state", "terminated", "finishedAt"])));
        ends.collect::<Option<Vec<i64>>>()?.into_iter().max()
    };
    let of_condition =
        || conditions::find(pod, "Ready").filter(|c| c.text(&["status"]) == "False").and_then(|c| time::seconds(c.text(&["lastTransitionTime"])));
    let of_deletion = || {
        let grace = pod.integer(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
        time::seconds(pod.text(&["metadata", "deletionTimestamp"])).map(|t| t - grace)
    };
    of_containers().or_else(of_condition).or_else(of_deletion).unwrap_or_else(|| pod.created())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn failures_double_the_pause_and_a_success_ends_it() {
        let pod = |at: i64| json!({"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": time::text(at)}]}});
        let (a, b, c) = (pod(100), pod(130), pod(200));
        let once = Record::default().add(&[], &[&a]);
        assert_eq!(once.remaining(104), 6);
        let thrice = once.add(&[], &[&b, &c]);
        assert_eq!((thrice.failures, thrice.remaining(200)), (3, 40));
        assert_eq!(thrice.add(&[&b], &[&c]), Record { failures: 1, last: 200 });
        assert_eq!(Record { failures: 40, last: 0 }.remaining(0), 600);
    }
}
