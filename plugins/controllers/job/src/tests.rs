//! The controller natively, against a cluster in memory.

use expect_test::{Expect, expect};
use pintle_controller_common::resources::{JOBS, PODS};
use pintle_sdk::testing::FakeCluster;
use serde_json::{Value, json};

use super::*;

fn cluster(spec: Value) -> FakeCluster {
    let cluster = FakeCluster::new();
    let mut whole = json!({"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "uid-j"}},
        "template": {"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "uid-j", "batch.kubernetes.io/job-name": "j"}},
                     "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "v1"}]}}});
    whole.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
    cluster.add(JOBS, json!({"metadata": {"name": "j", "namespace": "d", "generation": 1}, "spec": whole}));
    cluster
}

/// The pods end so, in the order of their names.
fn end(cluster: &FakeCluster, phases: &[&str]) {
    let running: Vec<Value> = cluster.all(PODS).into_iter().filter(|p| p["status"]["phase"].is_null()).collect();
    for (pod, phase) in running.iter().zip(phases) {
        let now = cluster.now_rfc3339();
        cluster.change(PODS, "d", pod.name(), |p| {
            let code = if *phase == "Failed" { 3 } else { 0 };
            p["status"] =
                json!({"phase": phase, "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": now}}}]});
        });
    }
}

fn step(cluster: &FakeCluster, controller: &mut JobController) -> String {
    let outcome = cluster.reconcile(controller, "d", "j");
    let acts = cluster.take_actions();
    let mut text: Vec<String> =
        acts.lines().map(|line| line.replace("\"$deleteFromPrimitiveList/finalizers\":[\"batch.kubernetes.io/job-tracking\"]", "unmark")).collect();
    if !matches!(outcome, Ok(None)) {
        text.push(format!("{outcome:?}"));
    }
    if let Some(job) = cluster.object(JOBS, "d", "j") {
        let mut status = job["status"].clone();
        let conditions: Vec<String> = job
            .items(&["status", "conditions"])
            .iter()
            .map(|c| format!("{}={}({})", c.text(&["type"]), c.text(&["status"]), c.text(&["reason"])))
            .collect();
        status["conditions"] = json!(conditions.join(" "));
        text.push(status.to_string());
    }
    text.join("\n")
}

fn check(cluster: &FakeCluster, controller: &mut JobController, expected: Expect) {
    expected.assert_eq(&step(cluster, controller));
}

#[test]
fn runs_counts_and_completes() {
    let cluster = cluster(json!({"parallelism": 2, "completions": 2}));
    let mut controller = JobController::default();
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        create pods d/j-2
        event j Normal SuccessfulCreate: Created pod: j-2
        create pods d/j-3
        event j Normal SuccessfulCreate: Created pod: j-3
        status jobs d/j
        {"active":2,"conditions":"","ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    check(
        &cluster,
        &mut controller,
        expect![[r#"{"active":2,"conditions":"","ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    end(&cluster, &["Succeeded"]);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        status jobs d/j
        patch pods d/j-2 {"metadata":{unmark,"uid":"uid-j-2"}}
        status jobs d/j
        {"active":1,"conditions":"","ready":0,"startTime":"2023-11-14T22:13:20Z","succeeded":1,"terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    end(&cluster, &["Succeeded"]);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        status jobs d/j
        patch pods d/j-3 {"metadata":{unmark,"uid":"uid-j-3"}}
        status jobs d/j
        event j Normal Completed: Job completed
        {"completionTime":"2023-11-14T22:13:20Z","conditions":"SuccessCriteriaMet=True(CompletionsReached) Complete=True(CompletionsReached)","ready":0,"startTime":"2023-11-14T22:13:20Z","succeeded":2,"terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
}

#[test]
fn failures_wait_and_then_end_the_job() {
    let cluster = cluster(json!({"backoffLimit": 1}));
    let mut controller = JobController::default();
    step(&cluster, &mut controller);
    end(&cluster, &["Failed"]);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        status jobs d/j
        patch pods d/j-2 {"metadata":{unmark,"uid":"uid-j-2"}}
        status jobs d/j
        Ok(Some(10s))
        {"conditions":"","failed":1,"ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    cluster.pass_seconds(10);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        create pods d/j-8
        event j Normal SuccessfulCreate: Created pod: j-8
        status jobs d/j
        {"active":1,"conditions":"","failed":1,"ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    end(&cluster, &["Failed"]);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        status jobs d/j
        patch pods d/j-8 {"metadata":{unmark,"uid":"uid-j-8"}}
        status jobs d/j
        event j Warning BackoffLimitExceeded: Job has reached the specified backoff limit
        {"conditions":"FailureTarget=True(BackoffLimitExceeded) Failed=True(BackoffLimitExceeded)","failed":2,"ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
}

#[test]
fn an_index_fails_alone() {
    let cluster =
        cluster(json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX}));
    let mut controller = JobController::default();
    step(&cluster, &mut controller);
    let pod = cluster.all(PODS).remove(0);
    expect![[r#"{"batch.kubernetes.io/job-completion-index":"0","batch.kubernetes.io/job-index-failure-count":"0"} {"batch.kubernetes.io/controller-uid":"uid-j","batch.kubernetes.io/job-completion-index":"0","batch.kubernetes.io/job-name":"j"} ["batch.kubernetes.io/job-tracking"] {"containers":[{"env":[{"name":"JOB_COMPLETION_INDEX","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['batch.kubernetes.io/job-completion-index']"}}}],"image":"v1","name":"c"}],"hostname":"j-0","restartPolicy":"Never"}"#]].assert_eq(&format!("{} {} {} {}", pod["metadata"]["annotations"], pod["metadata"]["labels"], pod["metadata"]["finalizers"], pod["spec"]));
    end(&cluster, &["Failed", "Succeeded", "Succeeded"]);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        status jobs d/j
        patch pods d/j-1-3 {"metadata":{unmark,"uid":"uid-j-1-3"}}
        patch pods d/j-2-4 {"metadata":{unmark,"uid":"uid-j-2-4"}}
        Ok(Some(10s))
        {"completedIndexes":"1,2","conditions":"","failedIndexes":"","ready":0,"startTime":"2023-11-14T22:13:20Z","succeeded":2,"terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    cluster.pass_seconds(10);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        create pods d/j-0-12
        event j Normal SuccessfulCreate: Created pod: j-0-12
        status jobs d/j
        {"active":1,"completedIndexes":"1,2","conditions":"","failedIndexes":"","ready":0,"startTime":"2023-11-14T22:13:20Z","succeeded":2,"terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    // The first pod is let go now that the second one knows of its failure.
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        status jobs d/j
        patch pods d/j-0-2 {"metadata":{unmark,"uid":"uid-j-0-2"}}
        status jobs d/j
        {"active":1,"completedIndexes":"1,2","conditions":"","failed":1,"failedIndexes":"","ready":0,"startTime":"2023-11-14T22:13:20Z","succeeded":2,"terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    end(&cluster, &["Failed"]);
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        status jobs d/j
        patch pods d/j-0-12 {"metadata":{unmark,"uid":"uid-j-0-12"}}
        status jobs d/j
        event j Warning FailedIndexes: Job has failed indexes
        {"completedIndexes":"1,2","conditions":"FailureTarget=True(FailedIndexes) Failed=True(FailedIndexes)","failed":2,"failedIndexes":"0","ready":0,"startTime":"2023-11-14T22:13:20Z","succeeded":2,"terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
}

#[test]
fn suspending_deletes_and_resuming_makes_anew() {
    let cluster = cluster(json!({}));
    let mut controller = JobController::default();
    step(&cluster, &mut controller);
    cluster.change(JOBS, "d", "j", |j| j["spec"]["suspend"] = json!(true));
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        patch pods d/j-2 {"metadata":{unmark,"uid":"uid-j-2"}}
        delete pods d/j-2
        event j Normal SuccessfulDelete: Deleted pod: j-2
        event j Normal Suspended: Job suspended
        status jobs d/j
        {"conditions":"Suspended=True(JobSuspended)","ready":0,"terminating":1,"uncountedTerminatedPods":{}}"#]],
    );
    cluster.pass_seconds(60);
    cluster.change(JOBS, "d", "j", |j| j["spec"]["suspend"] = json!(false));
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        create pods d/j-8
        event j Normal SuccessfulCreate: Created pod: j-8
        event j Normal Resumed: Job resumed
        status jobs d/j
        {"active":1,"conditions":"Suspended=False(JobResumed)","ready":0,"startTime":"2023-11-14T22:14:20Z","terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
}

#[test]
fn a_policy_or_a_deadline_ends_the_job_and_its_pods() {
    let policy = json!({"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}]});
    let first = cluster(json!({"parallelism": 2, "completions": 2, "podFailurePolicy": policy}));
    let mut controller = JobController::default();
    step(&first, &mut controller);
    end(&first, &["Failed"]);
    check(
        &first,
        &mut controller,
        expect![[r#"
        delete pods d/j-3
        event j Normal SuccessfulDelete: Deleted pod: j-3
        status jobs d/j
        patch pods d/j-2 {"metadata":{unmark,"uid":"uid-j-2"}}
        patch pods d/j-3 {"metadata":{unmark,"uid":"uid-j-3"}}
        status jobs d/j
        {"conditions":"FailureTarget=True(PodFailurePolicy)","failed":2,"ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":1,"uncountedTerminatedPods":{}}"#]],
    );
    check(
        &first,
        &mut controller,
        expect![[r#"
        status jobs d/j
        status jobs d/j
        event j Warning PodFailurePolicy: Container c for pod d/j-2 failed with exit code 3 matching FailJob rule at index 0
        {"conditions":"FailureTarget=True(PodFailurePolicy) Failed=True(PodFailurePolicy)","failed":2,"ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":0,"uncountedTerminatedPods":{}}"#]],
    );

    let second = cluster(json!({"activeDeadlineSeconds": 5, "ttlSecondsAfterFinished": 7}));
    let mut controller = JobController::default();
    check(
        &second,
        &mut controller,
        expect![[r#"
        create pods d/j-2
        event j Normal SuccessfulCreate: Created pod: j-2
        status jobs d/j
        Ok(Some(5s))
        {"active":1,"conditions":"","ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    second.pass_seconds(5);
    check(
        &second,
        &mut controller,
        expect![[r#"
        delete pods d/j-2
        event j Normal SuccessfulDelete: Deleted pod: j-2
        status jobs d/j
        patch pods d/j-2 {"metadata":{unmark,"uid":"uid-j-2"}}
        status jobs d/j
        {"conditions":"FailureTarget=True(DeadlineExceeded)","failed":1,"ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":1,"uncountedTerminatedPods":{}}"#]],
    );
    check(
        &second,
        &mut controller,
        expect![[r#"
        status jobs d/j
        status jobs d/j
        event j Warning DeadlineExceeded: Job was active longer than specified deadline
        {"conditions":"FailureTarget=True(DeadlineExceeded) Failed=True(DeadlineExceeded)","failed":1,"ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    check(
        &second,
        &mut controller,
        expect![[r#"
        Ok(Some(7s))
        {"conditions":"FailureTarget=True(DeadlineExceeded) Failed=True(DeadlineExceeded)","failed":1,"ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    second.pass_seconds(7);
    check(&second, &mut controller, expect!["delete jobs d/j"]);
}

#[test]
fn adopts_releases_and_frees() {
    let cluster = cluster(json!({}));
    let mut controller = JobController::default();
    step(&cluster, &mut controller);
    let name = cluster.all(PODS)[0].name().to_owned();
    cluster.change(PODS, "d", &name, |p| p["metadata"]["ownerReferences"] = json!([]));
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        patch pods d/j-2 {"metadata":{"finalizers":["batch.kubernetes.io/job-tracking"],"ownerReferences":[{"apiVersion":"batch/v1","blockOwnerDeletion":true,"controller":true,"kind":"Job","name":"j","uid":"uid-j"}],"resourceVersion":"4","uid":"uid-j-2"}}
        {"active":1,"conditions":"","ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    cluster.change(PODS, "d", &name, |p| p["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] = json!("other"));
    check(
        &cluster,
        &mut controller,
        expect![[r#"
        patch pods d/j-2 {"metadata":{"finalizers":[],"ownerReferences":[],"resourceVersion":"6","uid":"uid-j-2"}}
        create pods d/j-8
        event j Normal SuccessfulCreate: Created pod: j-8
        {"active":1,"conditions":"","ready":0,"startTime":"2023-11-14T22:13:20Z","terminating":0,"uncountedTerminatedPods":{}}"#]],
    );
    cluster.remove(JOBS, "d", "j");
    check(&cluster, &mut controller, expect![[r#"patch pods d/j-8 {"metadata":{unmark,"uid":"uid-j-8"}}"#]]);
}
