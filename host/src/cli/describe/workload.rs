//! Deployments, ReplicaSets and the other kinds that make pods.

use anyhow::Result;
use pintle_api::object::ObjectExt;
use pintle_api::table::human_duration;
use serde_json::Value;

use super::pod;
use super::text::{Text, joined, long_time, or_none};
use crate::cli::jsonpath::show;
use crate::cli::print::pairs;
use crate::cli::session::{Session, collection_path, with_query};
use crate::cli::workloads::{label_selector, selector_text};

fn number(object: &Value, path: &[&str]) -> i64 {
    object.i64_at(path).unwrap_or(0)
}

pub async fn deployment(session: &Session, object: &Value, text: &mut Text) -> Result<()> {
    let (spec, status) = (&object["spec"], |field| number(object, &["status", field]));
    text.head(object);
    text.field(0, "CreationTimestamp", long_time(object.str_at(&["metadata", "creationTimestamp"])));
    text.labels_and_annotations(object);
    text.field(0, "Selector", label_selector(&spec["selector"]));
    text.field(
        0,
        "Replicas",
        format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            number(spec, &["replicas"]),
            status("updatedReplicas"),
            status("replicas"),
            status("availableReplicas"),
            status("unavailableReplicas")
        ),
    );
    text.field(0, "StrategyType", spec.str_at(&["strategy", "type"]));
    text.field(0, "MinReadySeconds", number(spec, &["minReadySeconds"]));
    if let Some(rolling) = spec.at(&["strategy", "rollingUpdate"]) {
        text.field(
            0,
            "RollingUpdateStrategy",
            format!("{} max unavailable, {} max surge", show(&rolling["maxUnavailable"]), show(&rolling["maxSurge"])),
        );
    }
    pod::template(&spec["template"], text);
    text.conditions(object);
    replica_sets(session, object, text).await
}

/// The set with the Deployment's template is the new one.
async fn replica_sets(session: &Session, object: &Value, text: &mut Text) -> Result<()> {
    let def = session.discovery().await?.find("replicasets.apps")?;
    let query = [("labelSelector", &*label_selector(&object["spec"]["selector"]))];
    let mut sets = session.list(&with_query(&collection_path(def, Some(object.namespace())), &query)).await?;
    sets.retain(|s| s.controller_ref().is_some_and(|r| r["uid"] == object["metadata"]["uid"]));
    let is_new = |set: &&Value| {
        let mut template = set["spec"]["template"].clone();
        template.remove_at(&["metadata", "labels", "pod-template-hash"]);
        crate::cli::rollout::same_template(&template, &object["spec"]["template"])
    };
    let name =
        |set: &Value| format!("{} ({}/{} replicas created)", set.name(), number(set, &["status", "replicas"]), number(set, &["spec", "replicas"]));
    let old: Vec<String> = sets.iter().filter(|s| !is_new(s)).map(name).collect();
    let new: Vec<String> = sets.iter().filter(is_new).map(name).collect();
    if !sets.is_empty() {
        text.field(0, "OldReplicaSets", or_none(&old.join(", ")));
        text.field(0, "NewReplicaSet", or_none(&new.join(", ")));
    }
    Ok(())
}

/// ReplicaSets and ReplicationControllers.
pub async fn replicas(session: &Session, object: &Value, text: &mut Text) -> Result<()> {
    let selector = if object.kind() == "ReplicaSet" { label_selector(&object["spec"]["selector"]) } else { pairs(object.at(&["spec", "selector"])) };
    text.head(object);
    text.field(0, "Selector", selector);
    text.labels_and_annotations(object);
    text.controlled_by(object);
    text.field(0, "Replicas", format!("{} current / {} desired", number(object, &["status", "replicas"]), number(object, &["spec", "replicas"])));
    text.field(0, "Pods Status", pods_status(session, object).await?);
    pod::template(&object["spec"]["template"], text);
    text.conditions(object);
    Ok(())
}

pub async fn daemon_set(session: &Session, object: &Value, text: &mut Text) -> Result<()> {
    let status = |field| number(object, &["status", field]);
    text.head(object);
    text.field(0, "Selector", label_selector(&object["spec"]["selector"]));
    text.field(0, "Node-Selector", pairs(object.at(&["spec", "template", "spec", "nodeSelector"])));
    text.labels_and_annotations(object);
    text.line(0, &format!("Desired Number of Nodes Scheduled: {}", status("desiredNumberScheduled")));
    text.line(0, &format!("Current Number of Nodes Scheduled: {}", status("currentNumberScheduled")));
    text.line(0, &format!("Number of Nodes Scheduled with Up-to-date Pods: {}", status("updatedNumberScheduled")));
    text.line(0, &format!("Number of Nodes Scheduled with Available Pods: {}", status("numberAvailable")));
    text.line(0, &format!("Number of Nodes Misscheduled: {}", status("numberMisscheduled")));
    text.field(0, "Pods Status", pods_status(session, object).await?);
    pod::template(&object["spec"]["template"], text);
    Ok(())
}

pub async fn stateful_set(session: &Session, object: &Value, text: &mut Text) -> Result<()> {
    let spec = &object["spec"];
    text.head(object);
    text.field(0, "CreationTimestamp", long_time(object.str_at(&["metadata", "creationTimestamp"])));
    text.field(0, "Selector", label_selector(&spec["selector"]));
    text.labels_and_annotations(object);
    text.field(0, "Replicas", format!("{} desired | {} total", number(spec, &["replicas"]), number(object, &["status", "replicas"])));
    text.field(0, "Update Strategy", spec.str_at(&["updateStrategy", "type"]));
    text.some(1, "Partition", &spec["updateStrategy"]["rollingUpdate"]["partition"]);
    text.field(0, "Pods Status", pods_status(session, object).await?);
    pod::template(&spec["template"], text);
    let claims = spec.list_at(&["volumeClaimTemplates"]);
    text.line(0, if claims.is_empty() { "Volume Claims:\t<none>" } else { "Volume Claims:" });
    for claim in claims {
        text.field(1, "Name", claim.name());
        text.field(1, "StorageClass", claim.str_at(&["spec", "storageClassName"]));
        text.pairs("  Labels", "=", claim.at(&["metadata", "labels"]));
        text.pairs("  Annotations", "=", claim.at(&["metadata", "annotations"]));
        text.field(1, "Capacity", claim.at(&["spec", "resources", "requests", "storage"]).map_or("<default>".to_owned(), show));
        text.field(1, "Access Modes", format!("[{}]", joined(claim.list_at(&["spec", "accessModes"]), " ")));
    }
    Ok(())
}

pub fn job(object: &Value, text: &mut Text) {
    let (spec, status) = (&object["spec"], &object["status"]);
    text.head(object);
    text.field(0, "Selector", label_selector(&spec["selector"]));
    text.labels_and_annotations(object);
    text.controlled_by(object);
    text.some(0, "Parallelism", &spec["parallelism"]);
    text.field(0, "Completions", spec.i64_at(&["completions"]).map_or("<unset>".to_owned(), |n| n.to_string()));
    text.some(0, "Completion Mode", &spec["completionMode"]);
    text.some(0, "Suspend", &spec["suspend"]);
    text.some(0, "Backoff Limit", &spec["backoffLimit"]);
    text.some(0, "TTL Seconds After Finished", &spec["ttlSecondsAfterFinished"]);
    let time = |field| status.str_at(&[field]).parse::<jiff::Timestamp>().ok();
    if let Some(start) = status["startTime"].as_str() {
        text.field(0, "Start Time", long_time(start));
    }
    if let Some(end) = status["completionTime"].as_str() {
        text.field(0, "Completed At", long_time(end));
    }
    if let (Some(start), Some(end)) = (time("startTime"), time("completionTime")) {
        text.field(0, "Duration", human_duration(end.duration_since(start).as_secs()));
    }
    if let Some(seconds) = spec.i64_at(&["activeDeadlineSeconds"]) {
        text.field(0, "Active Deadline Seconds", format!("{seconds}s"));
    }
    let count = |field| number(status, &[field]);
    let ready = status.i64_at(&["ready"]).map_or(String::new(), |n| format!(" ({n} Ready)"));
    text.field(0, "Pods Statuses", format!("{} Active{ready} / {} Succeeded / {} Failed", count("active"), count("succeeded"), count("failed")));
    if spec.str_at(&["completionMode"]) == "Indexed" {
        text.field(0, "Completed Indexes", or_none(status.str_at(&["completedIndexes"])));
    }
    pod::template(&spec["template"], text);
}

pub fn cron_job(object: &Value, text: &mut Text) {
    let spec = &object["spec"];
    let or_unset = |path: &[&str], unit: &str| spec.at(path).map_or("<unset>".to_owned(), |v| format!("{}{unit}", show(v)));
    text.head(object);
    text.labels_and_annotations(object);
    text.field(0, "Schedule", spec.str_at(&["schedule"]));
    text.field(0, "Concurrency Policy", spec.str_at(&["concurrencyPolicy"]));
    text.field(0, "Suspend", spec["suspend"].as_bool().map_or("<unset>", |s| if s { "True" } else { "False" }));
    text.field(0, "Time Zone", or_unset(&["timeZone"], ""));
    text.field(0, "Successful Job History Limit", or_unset(&["successfulJobsHistoryLimit"], ""));
    text.field(0, "Failed Job History Limit", or_unset(&["failedJobsHistoryLimit"], ""));
    text.field(0, "Starting Deadline Seconds", or_unset(&["startingDeadlineSeconds"], "s"));
    let job = &spec["jobTemplate"]["spec"];
    text.field(0, "Selector", job.at(&["selector"]).map_or("<unset>".to_owned(), label_selector));
    text.field(0, "Parallelism", or_unset(&["jobTemplate", "spec", "parallelism"], ""));
    text.field(0, "Completions", or_unset(&["jobTemplate", "spec", "completions"], ""));
    pod::template(&job["template"], text);
    text.field(0, "Last Schedule Time", object["status"]["lastScheduleTime"].as_str().map_or("<unset>".to_owned(), long_time));
    let active: Vec<&str> = object.list_at(&["status", "active"]).iter().map(|j| j.str_at(&["name"])).collect();
    text.field(0, "Active Jobs", or_none(&active.join(", ")));
}

/// Of the pods that the workload itself owns.
async fn pods_status(session: &Session, object: &Value) -> Result<String> {
    let def = session.discovery().await?.find("pods")?;
    let query = [("labelSelector", &*selector_text(object)?)];
    let pods = session.list(&with_query(&collection_path(def, Some(object.namespace())), &query)).await?;
    let ours = pods.iter().filter(|p| p.controller_ref().is_some_and(|r| r["uid"] == object["metadata"]["uid"]));
    let phases: Vec<&str> = ours.map(|p| p.str_at(&["status", "phase"])).collect();
    let count = |phase: &str| phases.iter().filter(|p| **p == phase).count();
    Ok(format!("{} Running / {} Waiting / {} Succeeded / {} Failed", count("Running"), count("Pending"), count("Succeeded"), count("Failed")))
}
