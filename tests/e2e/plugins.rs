//! Policies as components, on a live control plane: swapped, rolled back, refused, removed.

use serde_json::Value;

use super::cluster::Server;
use super::run::wait;

const NODE: &str = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"capacity": {"cpu": "64", "memory": "64Gi", "pods": "500"},
    "allocatable": {"cpu": "64", "memory": "64Gi", "pods": "500"}, "conditions": [{"type": "Ready", "status": "True"}]}}"#;

pub fn with_a_node() -> Server {
    let server = Server::start();
    wait("the default plugins", 120, || {
        let plugins = server.kubectl(&["get", "plugins", "-o", "json"]).ok();
        let plugins: Value = serde_json::from_str(&plugins).expect("kubectl prints JSON");
        let items = plugins["items"].as_array().cloned().unwrap_or_default();
        let waiting: Vec<String> = items.iter().filter(|p| !is_ready(p)).map(|p| p["metadata"]["name"].to_string()).collect();
        if !items.is_empty() && waiting.is_empty() { Ok(()) } else { Err(format!("not ready: {waiting:?}")) }
    });
    // Nobody reports for the node, so nobody may judge it by its reports.
    server.kubectl(&["patch", "plugin", "controller-node-lifecycle", "--type=merge", "-p", r#"{"spec":{"paused":true}}"#]).ok();
    server.make_node(NODE);
    server
}

fn is_ready(plugin: &Value) -> bool {
    plugin["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

pub fn bound_pods(server: &Server) -> Vec<String> {
    let text = server.kubectl(&["get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{\"\\n\"}{end}"]).ok();
    text.lines().filter(|l| l.split(' ').nth(1).is_some_and(|n| !n.is_empty())).map(str::to_owned).collect()
}

#[test]
fn without_the_replicaset_plugin_replicasets_stand_still_and_nothing_else_does() {
    let server = with_a_node();
    server.kubectl(&["create", "deployment", "web", "--image=x", "--replicas=2"]).ok();
    wait("two pods", 30, || if bound_pods(&server).len() == 2 { Ok(()) } else { Err(format!("{:?}", bound_pods(&server))) });
    server.kubectl(&["patch", "plugin", "controller-replicaset", "--type=merge", "-p", r#"{"spec":{"paused":true}}"#]).ok();
    server.kubectl(&["create", "deployment", "other", "--image=x", "--replicas=1"]).ok();
    wait("the Deployment controller to go on", 30, || {
        let sets = server.kubectl(&["get", "replicasets", "-l", "app=other", "-o", "name"]).ok();
        if sets.trim().is_empty() { Err("no ReplicaSet yet".to_owned()) } else { Ok(()) }
    });
    server.kubectl(&["run", "single", "--image=x"]).ok();
    wait("the scheduler to go on", 30, || {
        if bound_pods(&server).iter().any(|p| p.starts_with("single ")) { Ok(()) } else { Err("not bound".to_owned()) }
    });
    assert_eq!(server.kubectl(&["get", "pods", "-l", "app=other", "-o", "name"]).ok(), "");
    server.kubectl(&["patch", "plugin", "controller-replicaset", "--type=merge", "-p", r#"{"spec":{"paused":false}}"#]).ok();
    wait(
        "the ReplicaSet to resume",
        30,
        || if bound_pods(&server).iter().any(|p| p.starts_with("other-")) { Ok(()) } else { Err("no pod".to_owned()) },
    );
}

#[test]
fn a_plugin_that_is_no_component_says_so_and_harms_nothing() {
    let server = with_a_node();
    let plugin = r#"{"apiVersion": "pintle.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": "broken"},
        "spec": {"world": "controller", "source": {"inline": "bm90IHdhc20="}}}"#;
    server.kubectl_with_input(&["create", "-f", "-"], plugin).ok();
    let message = wait("the condition", 30, || {
        let text = server.kubectl(&["get", "plugin", "broken", "-o", "json"]).ok();
        let plugin: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
        let loaded = plugin["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == "Loaded").cloned();
        loaded.filter(|c| c["status"] == "False").map(|c| c["message"].as_str().unwrap_or_default().to_owned()).ok_or(text)
    });
    assert!(message.contains("not a component"), "{message}");
    server.kubectl(&["create", "deployment", "web", "--image=x"]).ok();
    wait("a pod all the same", 30, || if bound_pods(&server).len() == 1 { Ok(()) } else { Err("not bound".to_owned()) });
}

/// The tour's sixth stop: a policy of one's own, written from the template, decides from one pod to the next, and goes again.
#[test]
fn a_scheduler_is_swapped_under_load_and_rolled_back() {
    let server = with_a_node();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = folder.path().join("my-policy").display().to_string();
    let refused = server.pintle(&["plugin", "rollback", "scheduler-default"]).refused();
    assert!(refused.contains("nobody would place the pods of default-scheduler"), "{refused}");
    server.pintle(&["plugin", "new", "scheduler", "my-policy", "--lang", "rust", "--path", &project]).ok();
    server.pintle(&["plugin", "build", &project]).ok();
    server.kubectl(&["create", "deployment", "web", "--image=x", "--replicas=40"]).ok();
    server.pintle(&["plugin", "apply", &project, "--name", "scheduler-default"]).ok();
    server.kubectl(&["scale", "deployment", "web", "--replicas=80"]).ok();
    wait(
        "every pod to be placed",
        90,
        || if bound_pods(&server).len() == 80 { Ok(()) } else { Err(format!("{} placed", bound_pods(&server).len())) },
    );
    assert_eq!(revision(&server), "2");
    server.pintle(&["plugin", "rollback", "scheduler-default"]).ok();
    server.kubectl(&["scale", "deployment", "web", "--replicas=100"]).ok();
    wait(
        "pods after the rollback",
        90,
        || if bound_pods(&server).len() == 100 { Ok(()) } else { Err(format!("{} placed", bound_pods(&server).len())) },
    );
    assert_ne!(revision(&server), "2");
}

#[test]
fn a_refused_apply_leaves_the_live_policy_as_it_was() {
    let server = with_a_node();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("broken.wasm");
    std::fs::write(&file, "no component").expect("is writable");
    let refused = server.pintle(&["plugin", "apply", &file.display().to_string(), "--name", "scheduler-default", "--world", "scheduler"]).refused();
    assert!(refused.contains("not a component"), "{refused}");
    server.kubectl(&["run", "after", "--image=x"]).ok();
    wait("the old policy to place a pod", 30, || if bound_pods(&server).len() == 1 { Ok(()) } else { Err("not bound".to_owned()) });
}

fn revision(server: &Server) -> String {
    server.kubectl(&["get", "plugin", "scheduler-default", "-o", "jsonpath={.status.activeRevision}"]).ok()
}

/// One policy spreads, the other fills up: seen to disagree in the shadow, promoted, rolled back.
#[test]
fn a_scheduler_in_the_shadow_disagrees_is_promoted_and_rolled_back() {
    let server = with_a_node();
    server.make_node(&NODE.replace("\"n1\"", "\"n2\""));
    let component = super::run::workspace().join("target/plugins/scheduler-default.wasm").display().to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("config.json").display().to_string();
    std::fs::write(&config, r#"{"weights": {"NodeResourcesFit": 100}, "scoringStrategy": "MostAllocated"}"#).expect("is writable");
    let pods = |prefix: &str, before: usize| {
        for number in 0..6 {
            // Large enough that a point of the score is not a rounding error.
            let pod = format!(
                r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{prefix}-{number}"}}, "spec": {{"containers": [
                    {{"name": "c", "image": "x", "resources": {{"requests": {{"cpu": "3", "memory": "3Gi"}}}}}}]}}}}"#
            );
            server.kubectl_with_input(&["create", "-f", "-"], &pod).ok();
            let count = before + number + 1;
            wait("the pod to be placed", 30, || if bound_pods(&server).len() == count { Ok(()) } else { Err(format!("{:?}", bound_pods(&server))) });
        }
        let on = |node: &str| bound_pods(&server).iter().filter(|l| l.starts_with(prefix) && l.ends_with(node)).count();
        (on("n1"), on("n2"))
    };
    let name = "scheduler-default";
    server.pintle(&["plugin", "apply", &component, "--name", name, "--config", &config, "--stage", "Shadow"]).ok();
    assert_eq!(pods("live", 0), (3, 3), "the live policy decides");
    let diff = wait("a difference", 30, || {
        let output = server.pintle(&["plugin", "diff", name]);
        if output.stdout.contains("Choice pod default/live-") { Ok(output) } else { Err(format!("{output:?}")) }
    });
    assert!(!diff.success && diff.stdout.contains("the candidate scores NodeResourcesFit"), "{}", diff.stdout);
    let list = server.pintle(&["plugin", "list"]).ok();
    assert!(list.lines().any(|l| l.starts_with(name) && l.contains("Shadow") && l.contains('%')), "{list}");
    let metrics = server.kubectl(&["get", "--raw", "/metrics"]).ok();
    let told = |line: &str| metrics.lines().any(|l| l.starts_with(line) && !l.ends_with(" 0"));
    for family in ["calls_total", "compared_total", "fuel_total", "memory_bytes"] {
        assert!(told(&format!("pintle_plugin_{family}{{plugin=\"{name}\",stage=\"shadow\"")), "{family}: {metrics}");
    }
    server.pintle(&["plugin", "promote", name]).ok();
    assert_eq!(revision(&server), "2");
    let promoted = pods("promoted", 6);
    assert!(promoted == (6, 0) || promoted == (0, 6), "it fills one node up: {promoted:?}");
    server.pintle(&["plugin", "rollback", name]).ok();
    assert_eq!(revision(&server), "1");
    let after = pods("after", 12);
    assert_eq!(after, (promoted.1, promoted.0), "the emptier node gets them");
    let refused = server.pintle(&["plugin", "diff", name]).refused();
    assert!(refused.contains("has no candidate"), "{refused}");
    // An extender has candidates as well.
    let extender = ["plugin", "apply", &component, "--name", "beside", "--extender", "--grant", "list,watch:nodes,pods"];
    server.pintle(&extender).ok();
    server.pintle(&[&extender[..], &["--config", &config, "--stage", "Shadow"]].concat()).ok();
    pods("beside", 18);
    wait("a difference in scores", 30, || {
        let output = server.pintle(&["plugin", "diff", "beside"]);
        if output.stdout.contains("Scores pod default/beside-") { Ok(()) } else { Err(format!("{output:?}")) }
    });
    server.pintle(&["plugin", "promote", "beside"]).ok();
}
