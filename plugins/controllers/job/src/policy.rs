//! `podFailurePolicy` and `successPolicy`: what a Job's author says about failed pods and about being done. Pure.

use pintle_controller_common::fields::Fields;
use serde_json::Value;

use crate::intervals::Intervals;

/// What the first matching rule says of a failed pod.
#[derive(Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Counts towards the limits; no rule matched, or one that says so.
    Count,
    Ignore,
    FailIndex,
    /// The whole Job fails, for this reason.
    FailJob(String),
}

impl Ruling {
    pub fn counts(&self) -> bool {
        *self != Ruling::Ignore
    }
}

pub fn judge(job: &Value, pod: &Value) -> Ruling {
    for (place, rule) in job.items(&["spec", "podFailurePolicy", "rules"]).iter().enumerate() {
        let action = rule.text(&["action"]);
        let why = if let Some(wanted) = rule.at(&["onExitCodes"]).filter(|c| !c.is_null()) {
            exited_so(pod, wanted)
                .map(|(name, code)| format!("Container {name} for pod {}/{} failed with exit code {code}", pod.namespace(), pod.name()))
        } else {
            condition_of(pod, rule.items(&["onPodConditions"])).map(|kind| format!("Pod {}/{} has condition {kind}", pod.namespace(), pod.name()))
        };
        let Some(why) = why else { continue };
        match action {
            "Ignore" => return Ruling::Ignore,
            "FailIndex" => return Ruling::FailIndex,
            "Count" => return Ruling::Count,
            "FailJob" => return Ruling::FailJob(format!("{why} matching {action} rule at index {place}")),
            _ => {}
        }
    }
    Ruling::Count
}

/// The container, and its code, that ended as the requirement says; main containers before init containers. Success never matches.
fn exited_so<'a>(pod: &'a Value, wanted: &Value) -> Option<(&'a str, i64)> {
    let statuses = pod.items(&["status", "containerStatuses"]).iter().chain(pod.items(&["status", "initContainerStatuses"]));
    let name = wanted.text(&["containerName"]);
    let listed = |code: i64| wanted.items(&["values"]).iter().any(|v| v.as_i64() == Some(code));
    let mut ended = statuses.filter(|s| name.is_empty() || s.text(&["name"]) == name).filter_map(|s| {
        let code = s.integer(&["state", "terminated", "exitCode"]).filter(|c| *c != 0)?;
        Some((s.text(&["name"]), code))
    });
    ended.find(|(_, code)| match wanted.text(&["operator"]) {
        "In" => listed(*code),
        "NotIn" => !listed(*code),
        _ => false,
    })
}

fn condition_of<'a>(pod: &'a Value, patterns: &[Value]) -> Option<&'a str> {
    let matches = |c: &&Value| {
        let status = |p: &Value| if p.text(&["status"]).is_empty() { "True".to_owned() } else { p.text(&["status"]).to_owned() };
        patterns.iter().any(|p| p.text(&["type"]) == c.text(&["type"]) && status(p) == c.text(&["status"]))
    };
    pod.items(&["status", "conditions"]).iter().find(matches).map(|c| c.text(&["type"]))
}

/// Whether the indexes that succeeded suffice; says which rule holds.
pub fn is_success(job: &Value, completions: i64, succeeded: &Intervals) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let rules = job.items(&["spec", "successPolicy", "rules"]);
    let place = rules.iter().position(|rule| {
        let count = rule.integer(&["succeededCount"]);
        match rule.at(&["succeededIndexes"]).and_then(Value::as_str) {
            Some(text) => {
                let wanted = Intervals::parse(text, completions);
                let there = wanted.overlap(succeeded);
                !wanted.is_empty() && (there == wanted.total() || count.is_some_and(|c| there >= c))
            }
            None => count.is_some_and(|c| succeeded.total() >= c),
        }
    })?;
    Some(format!("Matched rules at index {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn check(status: Value, expected: Expect) {
        let job = json!({"spec": {"podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [1, 2]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [3]}},
        ]}}});
        expected.assert_eq(&format!("{:?}", judge(&job, &json!({"metadata": {"name": "p", "namespace": "n"}, "status": status}))));
    }

    fn exit(name: &str, code: i64) -> Value {
        json!({"containerStatuses": [{"name": name, "state": {"terminated": {"exitCode": code}}}]})
    }

    #[test]
    fn the_first_rule_that_matches_rules() {
        check(exit("main", 2), expect![[r#"FailJob("Container main for pod n/p failed with exit code 2 matching FailJob rule at index 1")"#]]);
        check(exit("side", 2), expect!["FailIndex"]);
        check(exit("side", 3), expect!["Count"]);
        check(exit("main", 0), expect!["Count"]);
        check(json!({"conditions": [{"type": "DisruptionTarget", "status": "True"}]}), expect!["Ignore"]);
    }

    #[test]
    fn success_may_ask_for_indexes_or_a_count() {
        let job = |rule: Value| json!({"spec": {"successPolicy": {"rules": [rule]}}});
        let done = Intervals::of([0, 2]);
        let met = |rule: Value| is_success(&job(rule), 5, &done).is_some();
        assert!(met(json!({"succeededIndexes": "0,2"})));
        assert!(!met(json!({"succeededIndexes": "0-2"})));
        assert!(met(json!({"succeededIndexes": "0-2", "succeededCount": 2})));
        assert!(!met(json!({"succeededCount": 3})));
    }
}
