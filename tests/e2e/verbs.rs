//! pintle's own verbs beside the real kubectl, on the same objects: the same words and columns.
//!
//! On a machine without kubectl it compares pintle with itself; what `plugin list` shows is checked all the same.

use super::cluster::Server;
use super::run::wait;

const OBJECTS: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
spec: {taints: [{key: k, value: v, effect: NoSchedule}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: red, lines: "one\ntwo\n"}
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: x}]}}
"#;

#[test]
fn own_verbs_say_what_kubectl_says() {
    let server = Server::start();
    server.kubectl_with_input(&["create", "-f", "-"], OBJECTS).ok();
    let commands: &[&[&str]] = &[
        &["get", "nodes"],
        &["get", "nodes", "--show-labels"],
        &["get", "configmaps,services,deployments"],
        &["get", "deployments", "-o", "wide"],
        &["get", "services", "-l", "app=web", "-o", "name"],
        &["get", "service", "web", "-o", "jsonpath={.spec.ports[*].port}"],
        &["get", "configmap", "settings", "-o", "yaml"],
        &["get", "configmap", "settings", "-o", "json"],
        &["get", "namespaces", "-o", "custom-columns=N:.metadata.name,P:.status.phase"],
        &["get", "pods"],
        &["describe", "configmap", "settings"],
        &["describe", "service", "web"],
        &["get", "configmap", "none"],
        &["get", "nonsense"],
        &["delete", "configmap", "none"],
        &["api-versions"],
    ];
    for command in commands {
        // Ages and statuses move between the two: they are asked again until both see the same.
        wait(&format!("the same answer to {command:?}"), 10, || {
            let (theirs, ours) = (server.kubectl(command), server.pintle(command));
            let same = theirs.stdout == ours.stdout && theirs.stderr == ours.stderr && theirs.success == ours.success;
            if same { Ok(()) } else { Err(format!("kubectl: {theirs:#?}\npintle: {ours:#?}")) }
        });
    }
}

#[test]
fn every_embedded_plugin_is_listed_with_its_digest() {
    let server = Server::start();
    let manifests = super::run::workspace().join("target/plugins");
    let built =
        std::fs::read_dir(&manifests).expect("`cargo xtask build` was run").flatten().filter(|e| e.path().extension().is_some_and(|x| x == "json"));
    let built: Vec<String> = built.map(|e| e.path().file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    assert!(built.len() > 10, "{built:?}");
    wait("all plugins", 120, || {
        let list = server.pintle(&["plugin", "list"]).ok();
        let live = |name: &String| {
            list.lines().any(|l| l.split_whitespace().next() == Some(name) && l.contains("sha256:") && l.contains("Live") && l.contains("True"))
        };
        if built.iter().all(live) { Ok(()) } else { Err(list) }
    });
}
