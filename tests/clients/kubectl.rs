//! kubectl of the version that pintle follows, and the machine's.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{NAMESPACE, POD, tools};
use crate::e2e::cluster::{Cluster, Server};
use crate::e2e::run::{Output, output, output_with_input};

#[test]
fn kubectl_finds_what_it_knows() {
    for kubectl in tools::every_kubectl() {
        println!("{}", output(Command::new(&kubectl).args(["version", "--client"])).stdout);
        let mut server = Server::start_without_plugins();
        super::namespace(&server);
        let with = Kubectl { program: &kubectl, server: &server };
        with.lists_in_pages();
        with.patches();
        with.sees_conflicts();
        follows_over_a_restart(&kubectl, &mut server);
    }
}

struct Kubectl<'a> {
    program: &'a Path,
    server: &'a Server,
}

impl Kubectl<'_> {
    fn command(&self) -> Command {
        command(self.program, self.server)
    }

    fn run(&self, args: &[&str]) -> Output {
        output(self.command().args(args))
    }

    fn give(&self, args: &[&str], input: &str) -> Output {
        output_with_input(self.command().args(args), input)
    }

    fn lists_in_pages(&self) {
        let map = |n| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: page-{n:02}, labels: {{step: page}}}}\n");
        let maps: Vec<String> = (0..25).map(map).collect();
        self.give(&["create", "-f", "-"], &maps.join("---\n")).ok();
        let paged = self.run(&["get", "configmaps", "-l", "step=page", "--chunk-size=10", "-o", "name", "-v=8"]);
        assert_eq!(paged.stderr.matches("continue=").count(), 2, "{}", paged.stderr);
        assert_eq!(paged.ok().lines().count(), 25);
    }

    fn patches(&self) {
        self.run(&["create", "deployment", "patched", "--image=a:1", "--replicas=2"]).ok();
        let patch = |kind: &str, patch: &str| {
            self.run(&[
                "patch",
                "deployment",
                "patched",
                &format!("--type={kind}"),
                "-p",
                patch,
                "-o",
                "jsonpath={.spec.replicas} {.metadata.labels} {.spec.template.spec.containers[*].image}",
            ])
        };
        let check = |kind: &str, text: &str, wanted: &str| assert_eq!(patch(kind, text).ok(), wanted, "{kind}");
        check(
            "json",
            r#"[{"op": "test", "path": "/spec/replicas", "value": 2}, {"op": "replace", "path": "/spec/replicas", "value": 3}]"#,
            r#"3 {"app":"patched"} a:1"#,
        );
        check("merge", r#"{"metadata": {"labels": {"app": null, "new": "1"}}}"#, r#"3 {"new":"1"} a:1"#);
        check("strategic", r#"{"spec": {"template": {"spec": {"containers": [{"name": "b", "image": "b:1"}]}}}}"#, r#"3 {"new":"1"} b:1 a:1"#);
        let failed = patch("json", r#"[{"op": "test", "path": "/spec/replicas", "value": 2}]"#).refused();
        assert!(failed.contains("the server rejected our request due to an error in our request"), "{failed}");
    }

    fn sees_conflicts(&self) {
        let map =
            |value: &str| format!(r#"{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "contested"}}, "data": {{"x": "{value}"}}}}"#);
        let apply = |manager: &str, value: &str, more: &[&str]| {
            self.give(&[&["apply", "--server-side", "--field-manager", manager, "-f", "-"], more].concat(), &map(value))
        };
        apply("one", "1", &[]).ok();
        let refused = apply("two", "2", &[]).refused();
        assert!(refused.contains("Apply failed with 1 conflict: conflict with \"one\": .data.x"), "{refused}");
        apply("two", "2", &["--force-conflicts"]).ok();
        apply("one", "1", &[]).refused();
        let old = self.run(&["get", "configmap", "contested", "-o", "json"]).ok();
        self.run(&["label", "configmap", "contested", "a=b"]).ok();
        let stale = self.give(&["replace", "-f", "-"], &old).refused();
        assert!(stale.contains("the object has been modified; please apply your changes to the latest version and try again"), "{stale}");
    }
}

/// `rollout status` keeps an informer, and goes on after a crash of the server.
fn follows_over_a_restart(kubectl: &Path, server: &mut Server) {
    let status = |ready: u32| {
        let patch = format!(
            r#"{{"status": {{"observedGeneration": 9, "replicas": 3, "updatedReplicas": 3, "readyReplicas": {ready}, "availableReplicas": {ready}}}}}"#
        );
        [
            "patch".to_owned(),
            "deployment".to_owned(),
            "patched".to_owned(),
            "--subresource=status".to_owned(),
            "--type=merge".to_owned(),
            "-p".to_owned(),
            patch,
        ]
    };
    let patch = |server: &Server, ready: u32| output(command(kubectl, server).args(status(ready))).ok();
    patch(server, 1);
    let mut child = command(kubectl, server)
        .args(["rollout", "status", "deployment/patched", "--timeout=60s"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    let mut lines = BufReader::new(child.stdout.take().expect("was piped")).lines().map(|l| l.expect("is text"));
    assert_eq!(lines.next().as_deref(), Some("Waiting for deployment \"patched\" rollout to finish: 1 of 3 updated replicas are available..."));
    patch(server, 2);
    assert_eq!(lines.next().as_deref(), Some("Waiting for deployment \"patched\" rollout to finish: 2 of 3 updated replicas are available..."));
    server.crash_and_restart_in_place();
    patch(server, 3);
    let last = lines.filter(|l| !l.starts_with("Waiting")).last();
    assert_eq!(last.as_deref(), Some("deployment \"patched\" successfully rolled out"));
    assert!(child.wait().expect("it ended").success());
}

fn command(program: &Path, server: &Server) -> Command {
    let mut command = Command::new(program);
    command.args(["--namespace", NAMESPACE]).env("KUBECONFIG", server.kubeconfig());
    command
}

pub fn executes(cluster: &Cluster, kubectl: &Path) {
    let exec = |more: &[&str], command: &[&str], input: &str| {
        output_with_input(cluster.inside(kubectl).args(["-n", NAMESPACE, "exec", POD]).args(more).arg("--").args(command), input)
    };
    let seen = exec(&[], &["sh", "-c", "echo out; echo err >&2"], "");
    assert_eq!((seen.stdout.as_str(), seen.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(exec(&["-i"], &["cat"], "several\nlines\n").ok(), "several\nlines\n");
    let failed = exec(&[], &["sh", "-c", "exit 7"], "").refused();
    assert!(failed.contains("command terminated with exit code 7"), "{failed}");
}
