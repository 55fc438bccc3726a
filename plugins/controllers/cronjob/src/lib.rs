//! CronJobs: a Job at each time of a schedule.
//!
//! A Job's name holds its minute, so a start that is tried twice makes one Job. Order of a reconcile: delete old Jobs, note what ended,
//! start what is due, write status; then the key comes back at the next time.

mod jobs;
mod missed;
mod schedule;

use std::time::Duration;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{resources, time};
use pintle_sdk::controller::{Api, ApiError, Controller, EventType, Failure, Key, Query, Relation, Watch};
use serde_json::{Value, json};

use crate::jobs::Cron;
use crate::schedule::{Schedule, parse, time_zone};

/// Added to each wait: clocks differ, and too early would be in vain.
const PADDING: Duration = Duration::from_millis(100);

#[derive(Default)]
pub struct CronJobController;

impl Controller for CronJobController {
    fn watches() -> Vec<Watch> {
        vec![Watch::new(resources::CRON_JOBS, Relation::Primary), Watch::new(resources::JOBS, Relation::Owned("CronJob"))]
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let object = match api.get(resources::CRON_JOBS, &key.namespace, &key.name) {
            Ok(object) => object,
            Err(ApiError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let children = api.list(resources::JOBS, &Query { namespace: &key.namespace, owner_uid: object.uid(), ..Query::default() })?;
        let mut cron = Cron::new(api, object);
        let stored = cron.object["status"].clone();
        cron.clean_up(&children);
        let outcome = work(&mut cron, &children);
        if cron.object["status"] != stored {
            match api.update_status(resources::CRON_JOBS, &key.namespace, &key.name, &cron.object) {
                Ok(_) | Err(ApiError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        outcome
    }
}

fn work(cron: &mut Cron<'_>, children: &[Value]) -> Result<Option<Duration>, Failure> {
    cron.note_ends(children);
    cron.note_missing(children)?;
    if cron.object.deleting() {
        return Ok(None);
    }
    let zone = cron.object.text(&["spec", "timeZone"]).to_owned();
    if let Err(why) = time_zone(&zone) {
        cron.warn("UnknownTimeZone", &format!("invalid timeZone: {zone:?}: {why}"));
        return Ok(None);
    }
    if cron.object.flag(&["spec", "suspend"]) {
        return Ok(None);
    }
    let text = cron.object.text(&["spec", "schedule"]).to_owned();
    if text.contains("TZ") {
        cron.warn("UnsupportedSchedule", &format!("CRON_TZ or TZ used in schedule {text:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"));
    }
    let schedule = match parse(&text, &zone) {
        Ok(schedule) => schedule,
        Err(why) => {
            cron.warn("UnparseableSchedule", &format!("unparseable schedule: {text:?} : {why}"));
            return Ok(None);
        }
    };
    start_due(cron, &schedule)
}

fn start_due(cron: &mut Cron<'_>, schedule: &Schedule) -> Result<Option<Duration>, Failure> {
    let now = time::now_seconds(cron.api);
    let due = match missed::due(&cron.object, schedule, now, true) {
        Ok(due) => due,
        Err(why) => {
            let text = cron.object.text(&["spec", "schedule"]).to_owned();
            cron.warn("InvalidSchedule", &format!("invalid schedule: {text} : {why}"));
            return Ok(None);
        }
    };
    if due.latest.is_some() && due.is_suspicious() {
        cron.warn("TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew");
    }
    if let Some(at) = due.latest {
        start(cron, at, now)?;
    }
    Ok(missed::following(&cron.object, schedule, now).map(|next| until(cron.api, next)))
}

fn start(cron: &mut Cron<'_>, at: i64, now: i64) -> Result<(), Failure> {
    if cron.object.integer(&["spec", "startingDeadlineSeconds"]).is_some_and(|deadline| at + deadline < now) {
        cron.warn("MissSchedule", &format!("Missed scheduled time to start a job: {}", jobs::mail_time(at)));
        return Ok(());
    }
    if cron.is_started(at) {
        return Ok(());
    }
    match cron.object.text(&["spec", "concurrencyPolicy"]) {
        "Forbid" if !cron.active().is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            cron.event(EventType::Normal, "JobAlreadyActive", message);
            return Ok(());
        }
        "Replace" => cron.delete_active()?,
        _ => {}
    }
    if cron.create(at)? {
        cron.object["status"]["lastScheduleTime"] = json!(time::text(at));
    }
    Ok(())
}

fn until(api: &dyn Api, next: i64) -> Duration {
    let next = Duration::from_secs(u64::try_from(next).unwrap_or(0));
    next.saturating_sub(Duration::from_nanos(api.now_nanoseconds())) + PADDING
}

pintle_sdk::export_controller!(CronJobController);

#[cfg(test)]
mod tests;
