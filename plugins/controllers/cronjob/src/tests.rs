//! The controller natively, against a cluster in memory.

use expect_test::{Expect, expect};
use pintle_controller_common::resources::{CRON_JOBS, JOBS};
use pintle_sdk::testing::FakeCluster;
use serde_json::{Value, json};

use super::*;

/// Begins at 2023-11-14T22:13:20Z.
fn cluster(spec: Value) -> FakeCluster {
    let cluster = FakeCluster::new();
    let mut whole = json!({"schedule": "*/5 * * * *", "concurrencyPolicy": "Allow", "suspend": false, "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1,
        "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {}}}}});
    whole.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
    cluster.add(CRON_JOBS, json!({"metadata": {"name": "c", "namespace": "d"}, "spec": whole}));
    cluster
}

fn end(cluster: &FakeCluster, name: &str, condition: &str) {
    let now = cluster.now_rfc3339();
    cluster.change(JOBS, "d", name, |j| {
        j["status"] = json!({"startTime": now, "completionTime": now, "conditions": [{"type": condition, "status": "True"}]});
    });
}

fn check(cluster: &FakeCluster, expected: Expect) {
    let outcome = cluster.reconcile(&mut CronJobController, "d", "c");
    let status = &cluster.object(CRON_JOBS, "d", "c").expect("is there")["status"];
    let active: Vec<&str> = status["active"].as_array().into_iter().flatten().map(|a| a["name"].as_str().unwrap_or_default()).collect();
    let wait = outcome.map(|after| after.map(|a| a.as_secs_f64()));
    expected.assert_eq(&format!(
        "{}\n{wait:?} active {active:?} last {} success {}",
        cluster.take_actions(),
        status["lastScheduleTime"],
        status["lastSuccessfulTime"]
    ));
}

#[test]
fn starts_notes_and_cleans_up() {
    let cluster = cluster(json!({"timeZone": "Asia/Kolkata"}));
    check(
        &cluster,
        expect![[r#"

        Ok(Some(100.1)) active [] last null success null"#]],
    );
    cluster.pass_seconds(100);
    check(
        &cluster,
        expect![[r#"
        create jobs d/c-28333335
        event c Normal SuccessfulCreate: Created job c-28333335
        status cronjobs d/c
        Ok(Some(300.1)) active ["c-28333335"] last "2023-11-14T22:15:00Z" success null"#]],
    );
    let job = cluster.all(JOBS).remove(0);
    expect![[r#"{"a":"b"} {"batch.kubernetes.io/cronjob-scheduled-timestamp":"2023-11-15T03:45:00+05:30"} [{"apiVersion":"batch/v1","blockOwnerDeletion":true,"controller":true,"kind":"CronJob","name":"c","uid":"uid-c"}]"#]].assert_eq(&format!("{} {} {}", job["metadata"]["labels"], job["metadata"]["annotations"], job["metadata"]["ownerReferences"]));
    end(&cluster, job.name(), "Complete");
    check(
        &cluster,
        expect![[r#"
        event c Normal SawCompletedJob: Saw completed job: c-28333335, condition: Complete
        status cronjobs d/c
        Ok(Some(300.1)) active [] last "2023-11-14T22:15:00Z" success "2023-11-14T22:15:00Z""#]],
    );
    cluster.pass_seconds(300);
    check(
        &cluster,
        expect![[r#"
        create jobs d/c-28333340
        event c Normal SuccessfulCreate: Created job c-28333340
        status cronjobs d/c
        Ok(Some(300.1)) active ["c-28333340"] last "2023-11-14T22:20:00Z" success "2023-11-14T22:15:00Z""#]],
    );
    end(&cluster, "c-28333340", "Complete");
    check(
        &cluster,
        expect![[r#"
        delete jobs d/c-28333335
        event c Normal SuccessfulDelete: Deleted job c-28333335
        event c Normal SawCompletedJob: Saw completed job: c-28333340, condition: Complete
        status cronjobs d/c
        Ok(Some(300.1)) active [] last "2023-11-14T22:20:00Z" success "2023-11-14T22:20:00Z""#]],
    );
}

#[test]
fn concurrency_is_allowed_forbidden_or_replaces() {
    for policy in ["Allow", "Forbid", "Replace"] {
        let cluster = cluster(json!({"concurrencyPolicy": policy}));
        for _ in 0..2 {
            cluster.pass_seconds(300);
            cluster.reconcile(&mut CronJobController, "d", "c").expect("works");
        }
        let jobs: Vec<String> = cluster.all(JOBS).iter().map(|j| j.name().to_owned()).collect();
        let expected: &[&str] = match policy {
            "Allow" => &["c-28333335", "c-28333340"],
            "Forbid" => &["c-28333335"],
            _ => &["c-28333340"],
        };
        assert_eq!(jobs, expected, "{policy}");
    }
}

#[test]
fn what_was_missed_starts_once_within_the_deadline() {
    let late = cluster(json!({"startingDeadlineSeconds": 30}));
    late.pass_seconds(200);
    check(
        &late,
        expect![[r#"

        Ok(Some(200.1)) active [] last null success null"#]],
    );
    let many = cluster(json!({"schedule": "* * * * *"}));
    many.pass_seconds(60 * 200);
    check(
        &many,
        expect![[r#"
        event c Warning TooManyMissedTimes: too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew
        create jobs d/c-28333533
        event c Normal SuccessfulCreate: Created job c-28333533
        status cronjobs d/c
        Ok(Some(40.1)) active ["c-28333533"] last "2023-11-15T01:33:00Z" success null"#]],
    );
    let asleep = cluster(json!({"suspend": true}));
    asleep.pass_seconds(1000);
    check(
        &asleep,
        expect![[r#"

        Ok(None) active [] last null success null"#]],
    );
    check(
        &cluster(json!({"schedule": "61 * * * *"})),
        expect![[r#"
        event c Warning UnparseableSchedule: unparseable schedule: "61 * * * *" : end of range (61) above maximum (59): 61
        Ok(None) active [] last null success null"#]],
    );
}
