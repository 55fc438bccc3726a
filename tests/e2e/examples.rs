//! The examples as an author has them: copied, tested and built with their own tools, applied to a live control plane, and watched doing
//! what their READMEs say.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::cluster::Server;
use super::run::{output, pintle, wait, workspace};

/// A copy of an example without what tools left in it.
struct Project {
    _folder: TempDir,
    path: PathBuf,
}

impl Project {
    fn copy(example: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("project");
        copy(&workspace().join("examples").join(example), &path);
        Self { _folder: folder, path }
    }

    /// Runs its tests and makes its component.
    fn tested_and_built(self) -> Self {
        for verb in ["test", "build"] {
            // One folder for all crates, so that dependencies are compiled once.
            let target = workspace().join("target/examples");
            output(Command::new(pintle()).args(["plugin", verb]).arg(&self.path).env("CARGO_TARGET_DIR", target)).ok();
        }
        self
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("is writable");
    for entry in std::fs::read_dir(from).expect("the example is there") {
        let entry = entry.expect("is readable");
        let name = entry.file_name().to_string_lossy().into_owned();
        let made = ["node_modules", "target", ".pintle"].contains(&name.as_str()) || name.ends_with(".wasm");
        match entry.file_type().expect("is readable").is_dir() {
            _ if made => {}
            true => copy(&entry.path(), &to.join(name)),
            false => drop(std::fs::copy(entry.path(), to.join(name)).expect("is writable")),
        }
    }
}

fn add_node(server: &Server, name: &str, holds: &str) {
    let node = serde_json::json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "annotations": {"data.example.com/holds": holds}},
        "status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}]},
    });
    server.make_node(&node.to_string());
}

fn get(server: &Server, what: &[&str], path: &str) -> String {
    server.kubectl(&[&["get"], what, &["--ignore-not-found", "-o", &format!("jsonpath={path}")]].concat()).ok()
}

fn wait_for(server: &Server, what: &[&str], path: &str, expected: &str) {
    wait(&format!("{what:?} {path}"), 30, || {
        let seen = get(server, what, path);
        if seen == expected { Ok(()) } else { Err(seen) }
    });
}

#[test]
fn pods_go_to_their_data() {
    let project = Project::copy("data-locality").tested_and_built();
    let server = Server::start();
    // Nobody reports for the nodes, so nobody may judge them by their reports.
    wait("the default plugins", 120, || match get(&server, &["plugin", "controller-node-lifecycle"], "{.status.stage}").as_str() {
        "Live" => Ok(()),
        other => Err(other.to_owned()),
    });
    server.kubectl(&["patch", "plugin", "controller-node-lifecycle", "--type=merge", "-p", r#"{"spec":{"paused":true}}"#]).ok();
    for (name, holds) in [("n1", ""), ("n2", "clicks,users"), ("n3", "clicks")] {
        add_node(&server, name, holds);
    }
    server.pintle(&["plugin", "apply", &project.shown(), "--name", "scheduler-default"]).ok();
    let run = |name: &str, annotations: &[&str]| {
        let annotations: Vec<String> = annotations.iter().map(|a| format!("--annotations=data.example.com/{a}")).collect();
        let annotations: Vec<&str> = annotations.iter().map(String::as_str).collect();
        server.kubectl(&[&["run", name, "--image=x"], annotations.as_slice()].concat()).ok();
    };
    for name in ["a", "b", "c"] {
        run(name, &["reads=clicks,users"]);
        wait_for(&server, &["pod", name], "{.spec.nodeName}", "n2");
    }
    // n2 holds it as well, and has three pods.
    run("d", &["reads=clicks"]);
    wait_for(&server, &["pod", "d"], "{.spec.nodeName}", "n3");
    run("e", &["reads=maps", "required=true"]);
    let message = "0/3 nodes are available: 3 node(s) lacked data that the pod requires.";
    wait("why a pod waits", 30, || {
        let seen = get(&server, &["pod", "e"], "{.status.conditions[0].message}");
        if seen.starts_with(message) { Ok(()) } else { Err(seen) }
    });
    server.kubectl(&["annotate", "node", "n1", "data.example.com/holds=maps", "--overwrite"]).ok();
    wait_for(&server, &["pod", "e"], "{.spec.nodeName}", "n1");
}

#[test]
fn websites_are_served_by_the_operator_in_javascript() {
    website("website/js");
}

#[test]
fn websites_are_served_by_the_operator_in_rust() {
    website("website/rust");
}

fn website(example: &str) {
    let project = Project::copy(example).tested_and_built();
    let server = Server::start();
    let folder = workspace().join("examples/website");
    server.kubectl(&["apply", "-f", &folder.join("crd.yaml").display().to_string()]).ok();
    server.kubectl(&["wait", "--for=condition=Established", "crd/websites.web.example.com", "--timeout=30s"]).ok();
    server.pintle(&["plugin", "apply", &project.shown()]).ok();
    // Grants that are narrower than a cluster stay so.
    assert_eq!(get(&server, &["plugin", "website"], "{.spec.grants[5].namespaces}"), r#"["default"]"#);
    let site = std::fs::read_to_string(folder.join("site.yaml")).expect("the example is there");
    server.kubectl_with_input(&["apply", "-f", "-"], &site).ok();

    let shop = ["website", "shop"];
    let reason = r#"{.status.conditions[?(@.type=="Ready")].reason}"#;
    wait_for(&server, &shop, reason, "Starting");
    assert_eq!(get(&server, &["ingress", "shop"], "{.spec.rules[0].host} {.spec.rules[0].http.paths[0].backend.service.name}"), "shop.example shop");
    assert_eq!(get(&server, &["service", "shop"], "{.spec.selector}"), r#"{"web.example.com/website":"shop"}"#);
    let owner = "{.spec.replicas} {.metadata.ownerReferences[0].kind}";
    assert_eq!(get(&server, &["deployment", "shop"], owner), "2 Website");
    // No node runs pods here: the Deployment's status is written for it, until its own controller is paused.
    server.kubectl(&["patch", "plugin", "controller-deployment", "--type=merge", "-p", r#"{"spec":{"paused":true}}"#]).ok();
    wait_for(&server, &["plugin", "controller-deployment"], "{.status.stage}", "Paused");
    let ready = r#"{"status":{"replicas":2,"readyReplicas":2,"availableReplicas":2}}"#;
    server.kubectl(&["patch", "deployment", "shop", "--subresource=status", "--type=merge", "-p", ready]).ok();
    wait_for(&server, &shop, reason, "Served");
    wait_for(&server, &shop, "{.status.readyReplicas}", "2");
    assert_eq!(
        server.pintle(&["get", "websites", "--no-headers"]).ok().split_whitespace().take(4).collect::<Vec<_>>(),
        ["shop", "shop.example", "2", "Served"]
    );

    server.kubectl(&["patch", "website", "shop", "--type=merge", "-p", r#"{"spec":{"replicas":3}}"#]).ok();
    wait_for(&server, &["deployment", "shop"], "{.spec.replicas}", "3");
    server.kubectl(&["delete", "service", "shop"]).ok();
    wait_for(&server, &["service", "shop"], "{.spec.ports[0].targetPort}", "http");
    server.kubectl_with_input(&["apply", "-f", "-"], &site.replace("name: shop", "name: copy")).ok();
    wait_for(&server, &["website", "copy"], reason, "HostTaken");
    assert_eq!(get(&server, &["deployment", "copy"], "{.metadata.name}"), "");

    // The finalizer gives the host back, what the site owned is collected, and who waited for the host gets it.
    server.kubectl(&["delete", "website", "shop", "--timeout=30s"]).ok();
    wait_for(&server, &["deployment", "shop"], "{.metadata.name}", "");
    wait_for(&server, &["website", "copy"], reason, "Starting");
    let claims = get(&server, &["configmap", "website-hosts"], "{.data}");
    assert_eq!(serde_json::from_str::<Value>(&claims).expect("JSON"), serde_json::json!({"shop.example": "default/copy"}));
    let events = get(&server, &["events"], r#"{.items[?(@.reason=="HostClaimed")].involvedObject.kind}"#);
    assert!(events.contains("Website"), "{events}");
}
