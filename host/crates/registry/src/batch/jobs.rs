//! `batch/v1` Job. The selector is made from the Job's uid unless the author manages it.

use pintle_api::Status;
use pintle_api::metadata::Repeats;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::jobs_validate as check;
use crate::context::WriteContext;
use crate::def::namespaced;
use crate::fields::{Fields, default_empty, default_missing, each_mut, ensure_object, is_set, is_zero, object_mut, spec_mut};
use crate::kind::Kind;
use crate::podspec::default_template;
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, SELECTOR, age, between, since, text};
use crate::strategy::Column;
use crate::warnings;

const BACKOFF_LIMIT: i64 = 6;
const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "State of the job."),
    text("Completions", "Pods that succeeded, of those wanted."),
    text("Duration", "Time from start to completion."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub fn kind() -> Kind {
    Kind {
        warn: warnings::job,
        repeats: Repeats::UPDATE,
        template: "/spec/template",
        generation: true,
        propagation: "orphan",
        default,
        create,
        before_commit: label_as_template,
        validate: check::validate,
        validate_change: check::validate_change,
        fields: &[("status.successful", |j| j.i64_at(&["status", "succeeded"]).unwrap_or(0).to_string())],
        ..Kind::new(namespaced("batch/v1", "jobs", "Job").in_all().status()).table(COLUMNS, cells)
    }
}

fn default(job: &mut Value) {
    let labels = template_labels(job);
    if let Some(spec) = spec_mut(job) {
        default_spec(spec);
    }
    default_labels(job, labels);
}

/// Shared with the template of a CronJob.
pub fn default_job_template_spec(spec: &mut Fields) {
    default_policy(spec);
    default_template(spec);
}

fn default_spec(spec: &mut Fields) {
    if !is_set(spec.get("completions")) && !is_set(spec.get("parallelism")) {
        spec.insert("completions".to_owned(), 1.into());
    }
    default_missing(spec, "parallelism", 1);
    let limit = if is_set(spec.get("backoffLimitPerIndex")) { i64::from(i32::MAX) } else { BACKOFF_LIMIT };
    default_missing(spec, "backoffLimit", limit);
    default_missing(spec, "completionMode", "NonIndexed");
    default_missing(spec, "suspend", false);
    let replacement = if is_set(spec.get("podFailurePolicy")) { "Failed" } else { "TerminatingOrFailed" };
    default_missing(spec, "podReplacementPolicy", replacement);
    default_missing(spec, "manualSelector", false);
    default_policy(spec);
    default_template(spec);
}

fn default_policy(spec: &mut Fields) {
    if let Some(policy) = object_mut(spec, "podFailurePolicy") {
        for pattern in each_mut(policy, "rules").flat_map(|rule| each_mut(rule, "onPodConditions")) {
            default_empty(pattern, "status", "True");
        }
    }
}

fn create(job: &mut Value, _: &WriteContext<'_>) {
    if job.bool_at(&["spec", "manualSelector"]) {
        return;
    }
    let (name, uid) = (job.name().to_owned(), job.uid().to_owned());
    let Some(spec) = spec_mut(job) else { return };
    let labels = ensure_object(ensure_object(ensure_object(spec, "template"), "metadata"), "labels");
    for key in ["job-name", "batch.kubernetes.io/job-name"] {
        labels.entry(key).or_insert_with(|| name.clone().into());
    }
    for key in ["controller-uid", "batch.kubernetes.io/controller-uid"] {
        labels.entry(key).or_insert_with(|| uid.clone().into());
    }
    let selected = ensure_object(ensure_object(spec, "selector"), "matchLabels");
    selected.entry("batch.kubernetes.io/controller-uid").or_insert(json!(uid));
}

/// Upstream does it when it reads what it stored, so after validation: labels that were made for the template are judged once.
fn label_as_template(job: &mut Value, _: Option<&Value>, _: &WriteContext<'_>) -> Result<(), Status> {
    default_labels(job, template_labels(job));
    Ok(())
}

fn template_labels(job: &Value) -> Option<Value> {
    job.at(&["spec", "template", "metadata", "labels"]).filter(|labels| !is_zero(labels)).cloned()
}

fn default_labels(job: &mut Value, labels: Option<Value>) {
    if let (Some(labels), true) = (labels, job.at(&["metadata", "labels"]).is_none_or(is_zero)) {
        job.set_at(&["metadata", "labels"], labels);
    }
}

fn cells(job: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let [containers, images] = print::template_containers(job);
    let succeeded = job.i64_at(&["status", "succeeded"]).unwrap_or(0);
    let completions = match (job.i64_at(&["spec", "completions"]), job.i64_at(&["spec", "parallelism"]).unwrap_or(0)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration = match (job.str_at(&["status", "startTime"]), job.str_at(&["status", "completionTime"])) {
        ("", _) => String::new(),
        (start, "") => since(start, now),
        (start, end) => between(start, end),
    };
    vec![
        job.name().into(),
        state(job).into(),
        completions.into(),
        duration.into(),
        age(job, now),
        containers,
        images,
        print::selector(job.at(&["spec", "selector"])),
    ]
}

fn state(job: &Value) -> &'static str {
    let is = |kind: &str| {
        job.list_at(&["status", "conditions"]).iter().find(|c| c.str_at(&["type"]) == kind).is_some_and(|c| c.str_at(&["status"]) == "True")
    };
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if job.is_being_deleted() {
        "Terminating"
    } else {
        ["Suspended", "FailureTarget", "SuccessCriteriaMet"].into_iter().find(|kind| is(kind)).unwrap_or("Running")
    }
}
