//! A CronJob and its Jobs: making, deleting, and the list of those that run.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::template::controller_reference;
use pintle_controller_common::{resources, time};
use pintle_sdk::controller::{Api, ApiError, DeleteOptions, EventType, Failure};
use serde_json::{Value, json};

use crate::schedule::time_zone;

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

pub struct Cron<'a> {
    pub api: &'a dyn Api,
    /// Its status is changed here and written once.
    pub object: Value,
}

impl<'a> Cron<'a> {
    pub fn new(api: &'a dyn Api, mut object: Value) -> Self {
        if !object["status"].is_object() {
            object["status"] = json!({});
        }
        Self { api, object }
    }

    pub fn active(&self) -> &[Value] {
        self.object.items(&["status", "active"])
    }

    /// Deletes the oldest ended Jobs beyond the limits.
    pub fn clean_up(&mut self, children: &[Value]) {
        for (condition, limit) in [("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")] {
            let Some(limit) = self.object.integer(&["spec", limit]).and_then(|l| usize::try_from(l).ok()) else { continue };
            let mut ended: Vec<&Value> = children.iter().filter(|j| ended_as(j) == Some(condition) && !j.deleting()).collect();
            ended.sort_by_key(|j| {
                let started = time::seconds(j.text(&["status", "startTime"]));
                (started.is_none(), started, j.name().to_owned())
            });
            for job in ended.iter().take(ended.len().saturating_sub(limit)) {
                // What fails now is tried again with the next reconcile.
                let _ = self.delete(job);
            }
        }
    }

    pub fn note_ends(&mut self, children: &[Value]) {
        for job in children {
            let listed = self.active().iter().any(|a| a.uid_of_reference() == job.uid());
            match ended_as(job) {
                None if !listed && !job.deleting() => {
                    self.warn("UnexpectedJob", &format!("Saw a job that the controller did not create or forgot: {}", job.name()));
                }
                None => {}
                Some(condition) => {
                    if listed {
                        self.strike(job.uid());
                        self.event(EventType::Normal, "SawCompletedJob", &format!("Saw completed job: {}, condition: {condition}", job.name()));
                    }
                    self.note_success(job, condition);
                }
            }
        }
    }

    fn note_success(&mut self, job: &Value, condition: &str) {
        let ended = time::seconds(job.text(&["status", "completionTime"]));
        let known = time::seconds(self.object.text(&["status", "lastSuccessfulTime"]));
        if condition == "Complete" && ended.is_some() && ended > known {
            self.object["status"]["lastSuccessfulTime"] = job["status"]["completionTime"].clone();
        }
    }

    /// Listed Jobs that somebody deleted.
    pub fn note_missing(&mut self, children: &[Value]) -> Result<(), Failure> {
        for listed in self.active().to_vec() {
            let uid = listed.uid_of_reference();
            if children.iter().any(|j| j.uid() == uid) {
                continue;
            }
            match self.api.get_live(resources::JOBS, self.object.namespace(), listed.text(&["name"])) {
                Ok(_) => {}
                Err(ApiError::NotFound(_)) => {
                    self.event(EventType::Normal, "MissingJob", &format!("Active job went missing: {}", listed.text(&["name"])));
                    self.strike(uid);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub fn is_started(&self, at: i64) -> bool {
        let name = self.job_name(at);
        self.active().iter().any(|a| a.text(&["name"]) == name) || time::seconds(self.object.text(&["status", "lastScheduleTime"])) == Some(at)
    }

    fn job_name(&self, at: i64) -> String {
        format!("{}-{}", self.object.name(), at.div_euclid(60))
    }

    pub fn delete_active(&mut self) -> Result<(), Failure> {
        for listed in self.active().to_vec() {
            match self.api.get(resources::JOBS, self.object.namespace(), listed.text(&["name"])) {
                Ok(job) => self.delete(&job)?,
                Err(ApiError::NotFound(_)) => self.strike(listed.uid_of_reference()),
                Err(error) => {
                    self.warn("FailedGet", &format!("Get job: {error}"));
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    fn delete(&mut self, job: &Value) -> Result<(), Failure> {
        let options = DeleteOptions { uid: job.uid(), propagation_policy: "Background", ..DeleteOptions::default() };
        match self.api.delete(resources::JOBS, job.namespace(), job.name(), &options) {
            Ok(()) => {
                self.strike(job.uid());
                self.event(EventType::Normal, "SuccessfulDelete", &format!("Deleted job {}", job.name()));
                Ok(())
            }
            Err(ApiError::NotFound(_)) => {
                self.strike(job.uid());
                Ok(())
            }
            Err(error) => {
                self.warn("FailedDelete", &format!("Deleted job: {error}"));
                Err(error.into())
            }
        }
    }

    /// Makes the Job of this time and lists it. False: another object has its name.
    pub fn create(&mut self, at: i64) -> Result<bool, Failure> {
        let job = self.job(at);
        let made = match self.api.create(resources::JOBS, self.object.namespace(), &job) {
            Ok(made) => {
                self.event(EventType::Normal, "SuccessfulCreate", &format!("Created job {}", made.name()));
                made
            }
            // Made before, and the status could not be written.
            Err(ApiError::AlreadyExists(_)) => {
                let there = self.api.get_live(resources::JOBS, self.object.namespace(), job.name())?;
                if !there.is_controlled_by(self.object.uid()) {
                    return Ok(false);
                }
                there
            }
            Err(error) => {
                if !error.to_string().contains("because it is being terminated") {
                    self.warn("FailedCreate", &format!("Error creating job: {error}"));
                }
                return Err(Failure::Retry(error.to_string()));
            }
        };
        if ended_as(&made).is_none() {
            let mut active = self.active().to_vec();
            active.push(json!({"apiVersion": "batch/v1", "kind": "Job", "namespace": made.namespace(), "name": made.name(),
                               "uid": made.uid(), "resourceVersion": made["metadata"]["resourceVersion"]}));
            self.object["status"]["active"] = json!(active);
        }
        Ok(true)
    }

    fn job(&self, at: i64) -> Value {
        let template = &self.object["spec"]["jobTemplate"];
        let mut metadata = json!({
            "name": self.job_name(at), "namespace": self.object.namespace(),
            "ownerReferences": [controller_reference(&self.object, "batch/v1", "CronJob")],
        });
        for field in ["labels", "annotations"] {
            if let Some(value) = template.at(&["metadata", field]).filter(|v| v.is_object()) {
                metadata[field] = value.clone();
            }
        }
        metadata["annotations"][SCHEDULED_AT] = json!(local_time(at, self.object.text(&["spec", "timeZone"])));
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
    }

    fn strike(&mut self, uid: &str) {
        let left: Vec<Value> = self.active().iter().filter(|a| a.uid_of_reference() != uid).cloned().collect();
        let status = self.object["status"].as_object_mut().expect("made an object");
        if left.is_empty() {
            status.remove("active");
        } else {
            status.insert("active".to_owned(), json!(left));
        }
    }

    pub fn warn(&self, reason: &str, message: &str) {
        self.event(EventType::Warning, reason, message);
    }

    pub fn event(&self, kind: EventType, reason: &str, message: &str) {
        self.api.event(resources::CRON_JOBS, self.object.namespace(), self.object.name(), kind, reason, message);
    }
}

trait Reference {
    fn uid_of_reference(&self) -> &str;
}

impl Reference for Value {
    fn uid_of_reference(&self) -> &str {
        self.text(&["uid"])
    }
}

/// `Complete`, `Failed`, or not ended.
fn ended_as(job: &Value) -> Option<&str> {
    let ended = |c: &&Value| matches!(c.text(&["type"]), "Complete" | "Failed") && c.text(&["status"]) == "True";
    job.items(&["status", "conditions"]).iter().find(ended).map(|c| c.text(&["type"]))
}

fn local_time(at: i64, zone: &str) -> String {
    let Ok(timestamp) = jiff::Timestamp::from_second(at) else { return String::new() };
    match time_zone(zone) {
        Ok(zone) if zone != jiff::tz::TimeZone::UTC => timestamp.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        _ => timestamp.to_string(),
    }
}

/// `Tue, 14 Nov 2023 22:13:20 +0000`.
pub fn mail_time(at: i64) -> String {
    jiff::Timestamp::from_second(at).map(|t| t.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()).unwrap_or_default()
}
