//! What a write of a Job's status may not say.

use std::collections::HashSet;

use pintle_api::object::ObjectExt;
use pintle_api::{Cause, CauseKind};
use serde_json::Value;

use super::jobs_success::count_indexes;
use crate::checks::nonnegative;
use crate::faults::{Faults, Path};
use crate::fields::is_set;

const STATUS: Path<'static> = Path::root("status");

pub fn validate(new: &Value, old: &Value, faults: &mut Faults) {
    let count = |job: &Value, field: &str| job.i64_at(&["status", field]).unwrap_or(0);
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        nonnegative(new.at(&["status", field]), &STATUS.field(field), faults);
    }
    for field in ["succeeded", "failed"].iter().filter(|f| count(new, f) < count(old, f)) {
        faults.invalid(&STATUS.field(field), &count(new, field).into(), &format!("cannot decrease the {field} counter"));
    }
    let ready = count(new, "ready");
    if new.at(&["status", "ready"]).is_some_and(|ready| !ready.is_null()) && ready > count(new, "active") {
        faults.invalid(&STATUS.field("ready"), &ready.into(), "cannot set more ready pods than active");
    }
    indexes(new, faults);
    ending(new, faults);
    let lists = STATUS.field("uncountedTerminatedPods");
    for field in ["succeeded", "failed"] {
        let (list, mut seen) = (lists.field(field), HashSet::new());
        for (i, uid) in new.list_at(&["status", "uncountedTerminatedPods", field]).iter().enumerate() {
            if uid.as_str().unwrap_or("").is_empty() {
                faults.invalid(&list.index(i), &"".into(), "must not be empty");
            } else if !seen.insert(uid) {
                faults.duplicate(&list.index(i), uid);
            }
        }
    }
}

fn indexes(job: &Value, faults: &mut Faults) {
    let indexed = job.str_at(&["spec", "completionMode"]) == "Indexed";
    let completions = job.i64_at(&["spec", "completions"]).unwrap_or(0);
    for field in ["completedIndexes", "failedIndexes"] {
        let text = job.str_at(&["status", field]);
        if text.is_empty() {
            continue;
        }
        if !indexed {
            faults.invalid_str(&STATUS.field(field), text, &format!("cannot set non-empty {field} when non-indexed completion mode"));
        } else if let Err(why) = count_indexes(text, completions) {
            faults.invalid_str(&STATUS.field(field), text, &format!("error parsing {field}: {why}"));
        }
    }
}

/// Conditions that end a job come in an order and with times.
fn ending(job: &Value, faults: &mut Faults) {
    let is = |kind: &str| job.list_at(&["status", "conditions"]).iter().any(|c| c.str_at(&["type"]) == kind && c.str_at(&["status"]) == "True");
    let has = |field: &str| is_set(job.at(&["status", field]));
    let (complete, failed) = (is("Complete"), is("Failed"));
    // These are told without a value.
    let mut conditions = |why: &str| faults.push(Cause::new(CauseKind::FieldValueInvalid, "status.conditions", format!("Invalid value: {why}")));
    if complete && failed {
        conditions("cannot set Complete=True and Failed=true conditions");
    }
    if complete && !is("SuccessCriteriaMet") {
        conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
    if failed && !is("FailureTarget") {
        conditions("cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if complete && !has("completionTime") {
        faults.required(&STATUS.field("completionTime"), "completionTime is required for Complete jobs");
    }
    if !complete && has("completionTime") {
        let why = "cannot set completionTime when there is no Complete=True condition";
        faults.invalid(&STATUS.field("completionTime"), job.at(&["status", "completionTime"]).unwrap_or(&Value::Null), why);
    }
    if (complete || failed) && !has("startTime") {
        faults.required(&STATUS.field("startTime"), "startTime is required for finished job");
    }
}
