//! The programs in Go, Python and JavaScript: each does the steps it is told, and asks for a crash of the server where a step wants one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{NAMESPACE, POD, kube_rs, tools};
use crate::e2e::cluster::{Cluster, Server};
use crate::e2e::run::{output, wait};

/// What every client does.
const COMMON: &[&str] = &[
    "paged-list",
    "expired-continue",
    "patch-json",
    "patch-merge",
    "patch-strategic",
    "patch-apply",
    "apply-conflict",
    "update-conflict",
    "watch-over-restart",
];

#[test]
fn client_go_and_controller_runtime_find_what_they_know() {
    drive(&tools::go().join("client"), &[], &["operator", "operator-on-restart"]);
}

#[test]
fn the_python_client_finds_what_it_knows() {
    drive(tools::python(), &[&tools::sources("python").join("client.py")], &["custom-kind"]);
}

#[test]
fn the_node_client_finds_what_it_knows() {
    drive(Path::new("node"), &[&tools::node().join("client.mjs")], &[]);
}

/// Runs the program through the common steps and its own, with a server of its own.
fn drive(program: &Path, script: &[&Path], own: &[&str]) {
    let mut server = Server::start_without_plugins();
    super::namespace(&server);
    let steps = [COMMON, own].concat();
    let mut command = Command::new(program);
    command.args(script).arg(NAMESPACE).args(&steps).env("KUBECONFIG", server.kubeconfig());
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(|e| panic!("starting {command:?}: {e}"));
    let mut program = Ended(child);
    let child = &mut program.0;
    let mut answers = child.stdin.take().expect("was piped");
    let mut done = Vec::new();
    for line in BufReader::new(child.stdout.take().expect("was piped")).lines() {
        let line = line.expect("is text");
        if line == "restart" {
            server.crash_and_restart_in_place();
            answers.write_all(b"done\n").expect("it reads");
        } else if let Some(step) = line.strip_prefix("done ") {
            done.push(step.to_owned());
        }
    }
    let status = child.wait().expect("it ended");
    assert!(status.success() && done == steps, "{command:?} did {done:?} and ended with {status}");
}

/// Nothing goes on when a test failed.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One cluster for all: exec is what needs a node.
#[test]
fn every_client_runs_commands_in_a_pod() {
    let cluster = Cluster::up("clients", 1);
    cluster.kubectl(&["create", "namespace", NAMESPACE]).ok();
    cluster.kubectl(&["-n", NAMESPACE, "wait", "--for=create", "serviceaccount/default"]).ok();
    cluster.apply(&format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{POD}", "namespace": "{NAMESPACE}"}},
            "spec": {{"containers": [{{"name": "main", "image": "pintle.dev/hello:v1", "command": ["sleep", "3600"]}}]}}}}"#
    ));
    wait("the pod", 60, || {
        let phase = cluster.kubectl(&["-n", NAMESPACE, "get", "pod", POD, "-o", "jsonpath={.status.phase}"]).ok();
        if phase == "Running" { Ok(()) } else { Err(phase) }
    });
    output(cluster.inside(tools::go().join("client")).args([NAMESPACE, "exec", "exec-fallback"])).ok();
    output(cluster.inside(tools::python()).arg(tools::sources("python").join("client.py")).args([NAMESPACE, "exec"])).ok();
    output(cluster.inside("node").arg(tools::node().join("client.mjs")).args([NAMESPACE, "exec"])).ok();
    kube_rs::executes(&cluster);
    for kubectl in tools::every_kubectl() {
        super::kubectl::executes(&cluster, &kubectl);
    }
}
