//! How far a rollout is, in words; one line for each change, until it is done.

use std::time::Duration;

use anyhow::{Result, bail};
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::cli::print;
use crate::cli::resolve::Found;
use crate::cli::session::Session;
use crate::cli::wait::{condition, duration, until};

/// A line, and whether it is the last.
type Progress = (String, bool);

pub async fn follow(session: &Session, target: &Found, watch: bool, timeout: &str, revision: i64) -> Result<()> {
    if !watch {
        print::line(&progress(&target.object, revision)?.0);
        return Ok(());
    }
    let mut shown = String::new();
    let done = until(session, &target.def, target.namespace(), target.name(), |object| {
        let Some(object) = object else { bail!("object has been deleted") };
        let (line, done) = progress(object, revision)?;
        if line != shown {
            print::line(&line);
            shown = line;
        }
        Ok(done)
    });
    match duration(timeout)? {
        Duration::ZERO => done.await,
        limit => match tokio::time::timeout(limit, done).await {
            Ok(done) => done,
            Err(_) => bail!("timed out waiting for the condition"),
        },
    }
}

fn progress(object: &Value, revision: i64) -> Result<Progress> {
    match object.kind() {
        "Deployment" => deployment(object, revision),
        "DaemonSet" => daemon_set(object),
        "StatefulSet" => stateful_set(object),
        other => bail!("no status viewer has been implemented for {other}"),
    }
}

fn number(object: &Value, path: &[&str]) -> i64 {
    object.i64_at(path).unwrap_or(0)
}

fn is_observed(object: &Value) -> bool {
    number(object, &["metadata", "generation"]) <= number(object, &["status", "observedGeneration"])
}

fn deployment(object: &Value, revision: i64) -> Result<Progress> {
    let name = object.name();
    if revision > 0 {
        let now = object.annotation("deployment.kubernetes.io/revision").and_then(|r| r.parse::<i64>().ok());
        if now != Some(revision) {
            bail!("desired revision ({revision}) is different from the running revision ({})", now.unwrap_or(0));
        }
    }
    if !is_observed(object) {
        return Ok(("Waiting for deployment spec update to be observed...".to_owned(), false));
    }
    if condition(object, "Progressing").is_some_and(|c| c["reason"] == "ProgressDeadlineExceeded") {
        bail!("deployment {name:?} exceeded its progress deadline");
    }
    let wanted = object.i64_at(&["spec", "replicas"]).unwrap_or(1);
    let status = |field| number(object, &["status", field]);
    let (all, updated, available) = (status("replicas"), status("updatedReplicas"), status("availableReplicas"));
    let waiting = |rest: String| Ok((format!("Waiting for deployment {name:?} rollout to finish: {rest}..."), false));
    if updated < wanted {
        return waiting(format!("{updated} out of {wanted} new replicas have been updated"));
    }
    if all > updated {
        return waiting(format!("{} old replicas are pending termination", all - updated));
    }
    if available < updated {
        return waiting(format!("{available} of {updated} updated replicas are available"));
    }
    Ok((format!("deployment {name:?} successfully rolled out"), true))
}

fn daemon_set(object: &Value) -> Result<Progress> {
    let name = object.name();
    if object.str_at(&["spec", "updateStrategy", "type"]) == "OnDelete" {
        bail!("rollout status is only available for RollingUpdate strategy type");
    }
    if !is_observed(object) {
        return Ok(("Waiting for daemon set spec update to be observed...".to_owned(), false));
    }
    let status = |field| number(object, &["status", field]);
    let (wanted, updated, available) = (status("desiredNumberScheduled"), status("updatedNumberScheduled"), status("numberAvailable"));
    let waiting = |rest: String| Ok((format!("Waiting for daemon set {name:?} rollout to finish: {rest}..."), false));
    if updated < wanted {
        return waiting(format!("{updated} out of {wanted} new pods have been updated"));
    }
    if available < wanted {
        return waiting(format!("{available} of {wanted} updated pods are available"));
    }
    Ok((format!("daemon set {name:?} successfully rolled out"), true))
}

fn stateful_set(object: &Value) -> Result<Progress> {
    if object.str_at(&["spec", "updateStrategy", "type"]) == "OnDelete" {
        bail!("rollout status is only available for RollingUpdate strategy type");
    }
    let status = |field| number(object, &["status", field]);
    if number(object, &["status", "observedGeneration"]) == 0 || !is_observed(object) {
        return Ok(("Waiting for statefulset spec update to be observed...".to_owned(), false));
    }
    let wanted = object.i64_at(&["spec", "replicas"]).unwrap_or(1);
    let (ready, updated) = (status("readyReplicas"), status("updatedReplicas"));
    if ready < wanted {
        return Ok((format!("Waiting for {} pods to be ready...", wanted - ready), false));
    }
    let partition = number(object, &["spec", "updateStrategy", "rollingUpdate", "partition"]);
    if partition > 0 {
        if updated < wanted - partition {
            return Ok((
                format!("Waiting for partitioned roll out to finish: {updated} out of {} new pods have been updated...", wanted - partition),
                false,
            ));
        }
        return Ok((format!("partitioned roll out complete: {updated} new pods have been updated..."), true));
    }
    let revision = object.str_at(&["status", "updateRevision"]);
    if revision != object.str_at(&["status", "currentRevision"]) {
        return Ok((format!("waiting for statefulset rolling update to complete {updated} pods at revision {revision}..."), false));
    }
    Ok((
        format!(
            "statefulset rolling update complete {} pods at revision {}...",
            status("currentReplicas"),
            object.str_at(&["status", "currentRevision"])
        ),
        true,
    ))
}
