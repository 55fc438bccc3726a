//! What a new author does: a project from the template, its tests, its component, and the loop of edit and try, on a live control plane.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::cluster::Server;
use super::run::{output, pintle, wait};

fn new(world: &str, folder: &Path) {
    output(Command::new(pintle()).args(["plugin", "new", world, "mine", "--lang", "js", "--path"]).arg(folder)).ok();
}

fn in_javascript(world: &str, replaced: &str) -> Server {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = folder.path().join("mine");
    new(world, &project);
    for verb in ["test", "build"] {
        output(Command::new(pintle()).args(["plugin", verb]).arg(&project)).ok();
    }
    let server = Server::start();
    let applied = server.pintle(&["plugin", "apply", &project.display().to_string(), "--name", replaced]).ok();
    assert!(applied.contains("Ready: Live"), "{applied}");
    server
}

#[test]
fn a_scheduler_from_the_template_in_javascript_serves() {
    let server = in_javascript("scheduler", "scheduler-default");
    let pod = "{.status.conditions[0].message}";
    server.kubectl(&["run", "a", "--image=x"]).ok();
    wait("a word on the pod", 30, || {
        let seen = server.kubectl(&["get", "pod", "a", "-o", &format!("jsonpath={pod}")]).ok();
        if seen.starts_with("no nodes available") || seen.starts_with("0/0 nodes") { Ok(()) } else { Err(seen) }
    });
}

#[test]
fn a_controller_from_the_template_in_javascript_serves() {
    let server = in_javascript("controller", "mine");
    server.kubectl(&["create", "configmap", "three", "--from-literal=a=1", "--from-literal=b=ü", "--from-literal=c=3"]).ok();
    wait("the label", 30, || {
        let seen = server.kubectl(&["get", "configmap", "three", "-o", r"jsonpath={.metadata.labels.mine/keys} {.data.b}"]).ok();
        if seen == "3 ü" { Ok(()) } else { Err(seen) }
    });
}

#[test]
fn an_ingress_controller_from_the_template_in_javascript_serves() {
    let server = in_javascript("ingress", "ingress-nginx-like");
    server.kubectl(&["create", "ingress", "web", "--rule=a.example/*=web:80"]).ok();
    wait("the problem as an event", 30, || {
        let seen = server.kubectl(&["get", "events", "-o", r#"jsonpath={.items[?(@.reason=="NoEndpoints")].message}"#]).ok();
        if seen.contains("nothing answers for /") { Ok(()) } else { Err(seen) }
    });
}

/// `pintle plugin dev`, ended with the test.
struct Loop(Child);

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_save_reaches_the_cluster_and_a_broken_one_does_not_end_the_loop() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = folder.path().join("mine");
    new("controller", &project);
    let server = Server::start();
    let (running, log) = dev(&server, &project, &["--live"]);
    let told = |what: &str, times: usize| says(&log, what, times);
    told("s after the save", 1);
    let policy = std::fs::read_to_string(project.join("policy.js")).expect("the template");
    std::fs::write(project.join("policy.js"), "export const watches = [").expect("is writable");
    told("error: ", 1);
    std::fs::write(project.join("policy.js"), policy.replace("mine/keys", "mine/count")).expect("is writable");
    told("s after the save", 2);
    server.kubectl(&["create", "configmap", "two", "--from-literal=a=1", "--from-literal=b=2"]).ok();
    wait("the label of the second save", 30, || {
        let seen = server.kubectl(&["get", "configmap", "two", "-o", "jsonpath={.metadata.labels.mine/count}"]).ok();
        if seen == "2" { Ok(()) } else { Err(seen) }
    });
    drop(running);
    let (_running, log) = dev(&server, &project, &[]);
    says(&log, "Shadow, ", 1);
    assert_eq!(server.kubectl(&["get", "plugin", "mine", "-o", "jsonpath={.status.candidate.stage} {.status.stage}"]).ok(), "Shadow Live");
}

fn dev(server: &Server, project: &Path, options: &[&str]) -> (Loop, PathBuf) {
    let log = project.with_file_name(format!("log{}", options.concat()));
    let file = std::fs::File::create(&log).expect("is writable");
    let mut command = Command::new(pintle());
    command.args(["plugin", "dev"]).args(options).arg(project).env("KUBECONFIG", server.kubeconfig());
    command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file);
    (Loop(command.spawn().expect("pintle starts")), log)
}

#[track_caller]
fn says(log: &Path, what: &str, times: usize) {
    wait(what, 60, || {
        let seen = std::fs::read_to_string(log).unwrap_or_default();
        if seen.matches(what).count() >= times { Ok(()) } else { Err(seen) }
    });
}
