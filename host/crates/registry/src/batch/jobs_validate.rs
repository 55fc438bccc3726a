//! Validation of Jobs, and of the Job inside a CronJob.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::{jobs_status as status, jobs_success as success};
use crate::checks::{IMMUTABLE, label_selector, nonnegative};
use crate::faults::{Faults, Path};
use crate::fields::{is_set, same};
use crate::internal;
use crate::podspec::{validate_template, validate_template_labels};
use crate::strategy::Part;

const SPEC: Path<'static> = Path::root("spec");
const MAX_INDEXED_PARALLELISM: i64 = 100_000;
const MAX_FAILED_INDEXES: i64 = 100_000;
const MAX_POLICY_RULES: usize = 20;
const MAX_MANAGED_BY_BYTES: usize = 63;

pub fn validate(job: &Value, faults: &mut Faults) {
    let spec = job.get("spec").unwrap_or(&Value::Null);
    validate_spec(spec, &SPEC, faults);
    pod_names(job, faults);
    selector(spec, faults);
    if !spec.bool_at(&["manualSelector"]) {
        generated_labels(job, faults);
    }
}

/// It must be there, be one, and select the pods that the job makes.
fn selector(spec: &Value, faults: &mut Faults) {
    let mut own = Faults::default();
    let selector = spec.get("selector").filter(|s| !s.is_null());
    match selector {
        None => faults.required(&SPEC.field("selector"), ""),
        Some(selector) => label_selector(selector, &SPEC.field("selector"), &mut own),
    }
    if own.is_empty() {
        // No selector selects nothing.
        let template = spec.get("template").unwrap_or(&Value::Null);
        validate_template_labels(selector.unwrap_or(&Value::Null), template, &SPEC.field("template"), faults);
    }
    own.into_causes().into_iter().for_each(|cause| faults.push(cause));
}

/// Pods of an indexed job are named after it, and their names are host names.
fn pod_names(job: &Value, faults: &mut Faults) {
    let (completions, name) = (job.i64_at(&["spec", "completions"]).unwrap_or(0), job.name());
    if job.str_at(&["spec", "completionMode"]) != "Indexed" || completions <= 0 || !job.resource_version().is_empty() {
        return;
    }
    let last = format!("{name}-{}", completions - 1);
    if !names::is_dns1123_label(&last) {
        faults.invalid_str(&Path::root("metadata.name"), name, &format!("will not able to create pod with invalid DNS label: {last}"));
    }
}

/// Labels that we make ourselves must not have been given another value.
fn generated_labels(job: &Value, faults: &mut Faults) {
    let path = SPEC.field("template.metadata.labels");
    let labels = job.at(&["spec", "template", "metadata", "labels"]).unwrap_or(&Value::Null);
    let selector = job.at(&["spec", "selector"]).unwrap_or(&Value::Null);
    let own = |key: &str| if key.ends_with("uid") { job.uid() } else { job.name() };
    for key in ["batch.kubernetes.io/controller-uid", "controller-uid", "batch.kubernetes.io/job-name", "job-name"] {
        match labels.get(key).and_then(Value::as_str) {
            None => faults.required(&path.key(key), &format!("must be '{}'", own(key))),
            Some(value) if value != own(key) => faults.invalid(&path.key(key), labels, &format!("must be '{}'", own(key))),
            Some(_) => {}
        }
    }
    let expected = serde_json::json!({"matchLabels": {"batch.kubernetes.io/controller-uid": job.uid()}});
    let older = serde_json::json!({"matchLabels": {"controller-uid": job.uid()}});
    if *selector != expected && *selector != older {
        faults.invalid(&SPEC.field("selector"), selector, "`selector` not auto-generated");
    }
}

pub fn validate_spec(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    for field in counts {
        nonnegative(spec.get(field), &path.field(field), faults);
    }
    if is_set(spec.get("maxFailedIndexes")) && !is_set(spec.get("backoffLimitPerIndex")) {
        faults.required(&path.field("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec.get("managedBy").and_then(Value::as_str) {
        managed_by(manager, &path.field("managedBy"), faults);
    }
    if let Some(policy) = spec.get("successPolicy").filter(|p| !p.is_null() && spec.str_at(&["completionMode"]) == "Indexed") {
        success::policy(policy, spec.i64_at(&["completions"]).unwrap_or(0), &path.field("successPolicy"), faults);
    }
    completion_mode(spec, path, faults);
    if let Some(policy) = spec.get("podFailurePolicy").filter(|p| !p.is_null()) {
        failure_policy(policy, spec, &path.field("podFailurePolicy"), faults);
    }
    replacement_policy(spec, &path.field("podReplacementPolicy"), faults);
    let template = path.field("template");
    validate_template(spec.get("template").unwrap_or(&Value::Null), &template, faults);
    restart_policy(spec, &template.field("spec.restartPolicy"), faults);
}

/// A name with a domain: `example.com/controller`.
fn managed_by(manager: &str, path: &Path<'_>, faults: &mut Faults) {
    if manager.is_empty() {
        return faults.required(path, "");
    }
    match manager.split_once('/') {
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            faults.texts(path, domain, names::dns1123_subdomain(domain));
        }
        _ => faults.invalid_str(path, manager, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
    if manager.len() > MAX_MANAGED_BY_BYTES {
        faults.too_long(path, MAX_MANAGED_BY_BYTES);
    }
}

fn completion_mode(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (completions, parallelism) = (spec.i64_at(&["completions"]), spec.i64_at(&["parallelism"]).unwrap_or(0));
    let failed = spec.i64_at(&["maxFailedIndexes"]);
    // A template of jobs may leave it to the default.
    match spec.get("completionMode").and_then(Value::as_str).unwrap_or("NonIndexed") {
        "Indexed" => {
            if completions.is_none() {
                faults.required(&path.field("completions"), "when completion mode is Indexed");
            }
            if parallelism > MAX_INDEXED_PARALLELISM {
                let detail = format!("must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed");
                faults.invalid(&path.field("parallelism"), &parallelism.into(), &detail);
            }
            if let (Some(completions), Some(failed)) = (completions, failed)
                && failed > completions
            {
                faults.invalid(&path.field("maxFailedIndexes"), &failed.into(), "must be less than or equal to completions");
            }
            if let Some(failed) = failed.filter(|n| *n > MAX_FAILED_INDEXES) {
                let detail = format!("must be less than or equal to {MAX_FAILED_INDEXES}");
                faults.invalid(&path.field("maxFailedIndexes"), &failed.into(), &detail);
            }
        }
        "NonIndexed" => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"].iter().filter(|f| is_set(spec.get(**f))) {
                let shown = match *field {
                    "successPolicy" => internal::shown(&spec[*field], "batch.SuccessPolicy"),
                    _ => spec[*field].to_string(),
                };
                faults.invalid_shown(&path.field(field), &shown, "requires indexed completion mode");
            }
        }
        other => faults.not_supported(&path.field("completionMode"), other, &["NonIndexed", "Indexed"]),
    }
}

fn replacement_policy(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    match (spec.str_at(&["podReplacementPolicy"]), is_set(spec.get("podFailurePolicy"))) {
        ("", _) | ("Failed", _) | ("TerminatingOrFailed", false) => {}
        (other, true) => faults.not_supported(path, other, &["Failed"]),
        (other, false) => faults.not_supported(path, other, &["Failed", "TerminatingOrFailed"]),
    }
}

fn restart_policy(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    match spec.str_at(&["template", "spec", "restartPolicy"]) {
        "" | "Always" => faults.required(path, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if is_set(spec.get("podFailurePolicy")) => {
            faults.invalid_str(path, "OnFailure", "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => faults.not_supported(path, other, &["OnFailure", "Never"]),
    }
}

fn failure_policy(policy: &Value, spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
    let list = path.field("rules");
    let rules = policy.list_at(&["rules"]);
    if rules.len() > MAX_POLICY_RULES {
        faults.too_many(&list, rules.len(), MAX_POLICY_RULES);
    }
    let containers: HashSet<&str> =
        ["containers", "initContainers"].iter().flat_map(|l| spec.list_at(&["template", "spec", l])).map(|c| c.str_at(&["name"])).collect();
    for (i, rule) in rules.iter().enumerate() {
        let here = list.index(i);
        let action = rule.str_at(&["action"]);
        if action.is_empty() {
            faults.required(&here.field("action"), "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]");
        } else if action == "FailIndex" && !is_set(spec.get("backoffLimitPerIndex")) {
            faults.invalid_str(&here.field("action"), action, "requires the backoffLimitPerIndex to be set");
        } else if !ACTIONS.contains(&action) {
            faults.not_supported(&here.field("action"), action, &ACTIONS);
        }
        let codes = rule.get("onExitCodes").filter(|c| !c.is_null());
        let conditions = rule.list_at(&["onPodConditions"]);
        match (codes, conditions.is_empty()) {
            (Some(_), false) => faults.invalid_without_value(&here, "specifying both OnExitCodes and OnPodConditions is not supported"),
            (None, true) => faults.invalid_without_value(&here, "specifying one of OnExitCodes and OnPodConditions is required"),
            (Some(codes), true) => exit_codes(codes, &containers, &here.field("onExitCodes"), faults),
            (None, false) => pod_conditions(conditions, &here.field("onPodConditions"), faults),
        }
    }
}

fn pod_conditions(conditions: &[Value], path: &Path<'_>, faults: &mut Faults) {
    for (i, condition) in conditions.iter().enumerate() {
        let here = path.index(i);
        let (kind, status) = (condition.str_at(&["type"]), condition.str_at(&["status"]));
        faults.texts(&here.field("type"), kind, names::qualified_name(kind));
        match status {
            "" => faults.required(&here.field("status"), "valid values: [\"False\" \"True\" \"Unknown\"]"),
            "False" | "True" | "Unknown" => {}
            other => faults.not_supported(&here.field("status"), other, &["False", "True", "Unknown"]),
        }
    }
}

fn exit_codes(codes: &Value, containers: &HashSet<&str>, path: &Path<'_>, faults: &mut Faults) {
    let operator = codes.str_at(&["operator"]);
    match operator {
        "" => faults.required(&path.field("operator"), "valid values: [\"In\" \"NotIn\"]"),
        "In" | "NotIn" => {}
        other => faults.not_supported(&path.field("operator"), other, &["In", "NotIn"]),
    }
    let container = codes.str_at(&["containerName"]);
    if !container.is_empty() && !containers.contains(container) {
        faults.invalid_str(&path.field("containerName"), container, "must be one of the container or initContainer names in the pod template");
    }
    let list = path.field("values");
    let values = codes.list_at(&["values"]);
    if values.is_empty() {
        faults.invalid(&list, codes.get("values").unwrap_or(&Value::Null), "at least one value is required");
    }
    let numbers: Vec<i64> = values.iter().map(|v| v.as_i64().unwrap_or(0)).collect();
    if numbers.windows(2).any(|pair| pair[0] > pair[1]) {
        faults.invalid(&list, &serde_json::json!(numbers), "must be ordered");
    }
    let mut seen = HashSet::new();
    for (i, value) in values.iter().enumerate() {
        if operator == "In" && value.as_i64() == Some(0) {
            faults.invalid(&list.index(i), value, "must not be 0 for the In operator");
        }
        if !seen.insert(value) {
            faults.duplicate(&list.index(i), value);
        }
    }
}

pub fn validate_change(new: &Value, old: &Value, part: Part, faults: &mut Faults) {
    if part == Part::Status {
        return status::validate(new, old, faults);
    }
    if part != Part::Main {
        return;
    }
    let (after, before) = (new.get("spec").unwrap_or(&Value::Null), old.get("spec").unwrap_or(&Value::Null));
    if after != before {
        // Upstream looks at the spec a second time.
        validate_spec(after, &SPEC, faults);
        selector(after, faults);
    }
    let mut fixed = vec!["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];
    let indexed = after.str_at(&["completionMode"]) == "Indexed";
    if !indexed {
        fixed.push("completions");
    }
    for field in fixed {
        if !same(after.get(field), before.get(field)) {
            faults.invalid_shown(&SPEC.field(field), &shown(field, after.get(field)), IMMUTABLE);
        }
    }
    if indexed && after.get("completions") != before.get("completions") && after.get("completions") != after.get("parallelism") {
        let detail = "can only be modified in tandem with spec.parallelism";
        faults.invalid(&SPEC.field("completions"), after.get("completions").unwrap_or(&Value::Null), detail);
    }
    template_change(new, old, faults);
}

/// A suspended job that has not started may still be told where its pods go and what they may use.
fn template_change(new: &Value, old: &Value, faults: &mut Faults) {
    let path = ["spec", "template"];
    let (Some(after), Some(before)) = (new.at(&path), old.at(&path)) else { return };
    if after == before {
        return;
    }
    let parked = old.bool_at(&["spec", "suspend"]) && !is_set(old.at(&["status", "startTime"]));
    let equal = if parked { without_directives(after) == without_directives(before) } else { false };
    if !equal {
        let spec = internal::pod_spec(after.get("spec").unwrap_or(&Value::Null));
        faults.invalid_shown(&SPEC.field("template").field("spec"), &internal::shown(&spec, "core.PodSpec"), IMMUTABLE);
    }
}

fn shown(field: &str, value: Option<&Value>) -> String {
    let value = value.unwrap_or(&Value::Null);
    match field {
        "selector" => internal::shown(value, "metav1.LabelSelector"),
        "successPolicy" => internal::shown(value, "batch.SuccessPolicy"),
        "podFailurePolicy" => internal::shown(value, "batch.PodFailurePolicy"),
        _ => value.to_string(),
    }
}

fn without_directives(template: &Value) -> Value {
    let mut copy = template.clone();
    for path in [
        &["spec", "nodeSelector"][..],
        &["spec", "tolerations"],
        &["spec", "schedulingGates"],
        &["spec", "affinity", "nodeAffinity"],
        &["metadata", "labels"],
        &["metadata", "annotations"],
    ] {
        copy.remove_at(path);
    }
    for list in ["containers", "initContainers"] {
        if let Some(containers) = copy.get_mut("spec").and_then(|s| s.get_mut(list)).and_then(Value::as_array_mut) {
            containers.iter_mut().for_each(|c| {
                c.remove_at(&["resources"]);
            });
        }
    }
    if copy.at(&["spec", "affinity"]).is_some_and(crate::fields::is_zero) {
        copy.remove_at(&["spec", "affinity"]);
    }
    if copy.at(&["metadata"]).is_some_and(crate::fields::is_zero) {
        copy.remove_at(&["metadata"]);
    }
    copy
}
