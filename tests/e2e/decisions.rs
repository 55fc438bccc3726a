//! What plugins decided, asked for as a user does: in words, as objects, under RBAC, and replayed offline.

use serde_json::Value;

use super::cluster::Server;
use super::plugins::{bound_pods, with_a_node};
use super::run::{wait, workspace};

fn with_pods() -> (Server, String) {
    let server = with_a_node();
    server.kubectl(&["create", "deployment", "web", "--image=x", "--replicas=3"]).ok();
    let pods = wait("three pods", 60, || {
        let pods = bound_pods(&server);
        if pods.len() == 3 { Ok(pods) } else { Err(format!("{pods:?}")) }
    });
    let name = pods[0].split(' ').next().unwrap_or_default().to_owned();
    (server, name)
}

#[test]
fn why_tells_who_placed_a_pod_who_made_it_and_what_a_controller_wrote() {
    let (server, pod) = with_pods();
    let told = server.pintle(&["why", &format!("pod/{pod}"), "--nodes"]).ok();
    for words in [
        &format!("Pod default/{pod} was placed on n1: 1 of 1 nodes fit.") as &str,
        "scheduler-default, revision 1 (sha256:",
        "Scores of n1:",
        "Nodes, as they were:",
        "controller-replicaset, revision 1 (sha256:",
        "reconciling replicasets.apps web-",
    ] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    let told = server.pintle(&["why", "deployment", "web", "--last", "50"]).ok();
    assert!(told.contains("Deployment default/web was reconciled:") && told.contains("create replicasets.apps web-"), "{told}");
    let list: Value = serde_json::from_str(&server.pintle(&["why", &format!("pod/{pod}"), "-o", "json"]).ok()).expect("JSON");
    let outcomes: Vec<&Value> = list["items"].as_array().into_iter().flatten().map(|d| &d["outcome"]).collect();
    assert!(list["kind"] == "DecisionList" && outcomes.iter().any(|o| **o == "Scheduled"), "{list:#}");

    server
        .kubectl(&[
            "run",
            "huge",
            "--image=x",
            "--overrides",
            r#"{"spec":{"containers":[{"name":"huge","image":"x","resources":{"requests":{"cpu":"1000"}}}]}}"#,
        ])
        .ok();
    let told = wait("the failed attempt", 30, || {
        let told = server.pintle(&["why", "pod/huge"]).ok();
        if told.contains("is not scheduled") { Ok(told) } else { Err(told) }
    });
    assert!(told.contains("Pod default/huge is not scheduled: 0/1 nodes are available: 1 Insufficient cpu."), "{told}");
    let table = server.kubectl(&["get", "decisions"]).ok();
    assert!(
        table.lines().next().is_some_and(|head| head.contains("REGARDING") && head.contains("OUTCOME")) && table.contains("pods/huge"),
        "{table}"
    );
    assert!(server.kubectl(&["get", "--raw", "/metrics"]).ok().contains("pintle_decision_log_decisions_total{world=\"scheduler\"}"));
}

#[test]
fn decisions_are_for_those_who_may_list_them() {
    let (server, pod) = with_pods();
    let ask = |user: &str| server.pintle(&["why", &format!("pod/{pod}"), "--as", user]);
    let refused = ask("jane").refused();
    let words = "decisions.pintle.dev is forbidden: User \"jane\" cannot list resource \"decisions\" in API group \"pintle.dev\" in the namespace \"default\"";
    assert!(refused.contains(words), "{refused}");
    server.kubectl(&["create", "rolebinding", "jane", "--clusterrole=view", "--user=jane"]).ok();
    let told = wait("the binding to count", 10, || {
        let output = ask("jane");
        if output.success { Ok(output.stdout) } else { Err(output.stderr) }
    });
    assert!(told.contains("was placed on n1"), "{told}");
    let everywhere = server.kubectl(&["get", "decisions", "-A", "--as", "jane"]).refused();
    assert!(everywhere.contains("at the cluster scope"), "{everywhere}");
    let of_plugin = server.pintle(&["plugin", "decisions", "scheduler-default", "--as", "jane"]).refused();
    assert!(of_plugin.contains("forbidden"), "{of_plugin}");
}

#[test]
fn an_export_replays_to_what_was_decided() {
    let (server, _) = with_pods();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for plugin in ["scheduler-default", "controller-replicaset"] {
        let log = folder.path().join(plugin).display().to_string();
        server.pintle(&["plugin", "decisions", plugin, "--export", &log]).ok();
        let component = workspace().join(format!("target/plugins/{plugin}.wasm")).display().to_string();
        let replay = || server.pintle(&["plugin", "replay", &component, "--from", &log, "-o", "json", "--exit-code"]).ok();
        let first: Value = serde_json::from_str(&replay()).expect("JSON");
        assert!(first["decisions"].as_u64().is_some_and(|n| n > 0) && first["identical"] == first["decisions"], "{first:#}");
        assert_eq!(serde_json::from_str::<Value>(&replay()).expect("JSON"), first, "twice the same");
    }
}
