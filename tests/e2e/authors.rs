//! Policies in other languages than Rust: the examples are tested and built with their real tools, and decide on a live control plane.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cluster::Server;
use super::run::{output, pintle, wait, workspace};

/// Tools are fetched from package registries the first time, and a component of Python takes the server 20 s to compile.
const PATIENCE_SECONDS: u64 = 180;

/// The example's own tests, then its component.
fn built(example: &str) -> PathBuf {
    let folder = workspace().join("examples").join(example);
    output(std::process::Command::new(pintle()).args(["plugin", "test"]).arg(&folder)).ok();
    output(std::process::Command::new(pintle()).args(["plugin", "build"]).arg(&folder)).ok();
    folder
}

/// Puts the component where the server looks, for some are larger than an object, and waits until it decides. `scheduler`: whose pods it
/// places, where it is a scheduler.
fn apply(server: &Server, folder: &Path, scheduler: &str) {
    let name = folder.file_name().expect("a folder").to_string_lossy().into_owned();
    let there = server.data_dir().join("plugins/components");
    std::fs::create_dir_all(&there).expect("is writable");
    std::fs::copy(folder.join(format!("{name}.wasm")), there.join(format!("{name}.wasm"))).expect("was built");
    let timeout = format!("{PATIENCE_SECONDS}s");
    let folder = folder.display().to_string();
    let mut args = vec!["plugin", "apply", &folder, "--on-host", "--timeout", &timeout];
    if !scheduler.is_empty() {
        args.extend(["--scheduler-name", scheduler]);
    }
    server.pintle(&args).ok();
}

fn node(server: &Server, name: &str, cpu: &str, labels: &Value) {
    let size = json!({"cpu": cpu, "memory": "64Gi", "pods": "110"});
    let status = json!({"capacity": size, "allocatable": size, "conditions": [{"type": "Ready", "status": "True"}]});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status});
    server.make_node(&node.to_string());
}

/// Makes a pod for that scheduler and waits for its node.
fn placed(server: &Server, name: &str, scheduler: &str, more: &Value) -> String {
    let mut spec = json!({"schedulerName": scheduler, "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "x"}}, "spec": spec});
    server.kubectl_with_input(&["create", "-f", "-"], &pod.to_string()).ok();
    wait(&format!("a node for {name}"), PATIENCE_SECONDS, || {
        let node = server.kubectl(&["get", "pod", name, "-o", "jsonpath={.spec.nodeName}"]).ok();
        if node.is_empty() { Err(server.pintle(&["plugin", "logs", scheduler]).stdout) } else { Ok(node) }
    })
}

/// What the pod's condition says when no node takes it.
fn refusal(server: &Server, name: &str) -> String {
    wait(&format!("word about {name}"), PATIENCE_SECONDS, || {
        let told = server.kubectl(&["get", "pod", name, "-o", "jsonpath={.status.conditions[0].message}"]).ok();
        if told.is_empty() { Err("nothing yet".to_owned()) } else { Ok(told) }
    })
}

fn pod_that_fits_nowhere(server: &Server, scheduler: &str) {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "100"}}});
    let spec = json!({"schedulerName": scheduler, "containers": [container]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "huge"}, "spec": spec});
    server.kubectl_with_input(&["create", "-f", "-"], &pod.to_string()).ok();
}

/// Nobody reports for these nodes, so nobody may judge them by their reports.
fn server() -> Server {
    let server = Server::start();
    wait("the default plugins", 120, || {
        let paused = server.kubectl(&["patch", "plugin", "controller-node-lifecycle", "--type=merge", "-p", r#"{"spec":{"paused":true}}"#]);
        if paused.success { Ok(()) } else { Err(paused.stderr) }
    });
    server
}

/// The SDKs' own tests, with the tools of a project that has them.
#[test]
fn the_sdks_keep_what_every_pod_is_owed() {
    let environment = built("cost-aware").join(".venv/bin/python");
    let mut command = std::process::Command::new(environment);
    command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(workspace().join("sdk/python"));
    output(command.args(["-m", "pytest", "-p", "no:cacheprovider", "tests"])).ok();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = folder.path().join("rules").display().to_string();
    output(std::process::Command::new(pintle()).args(["plugin", "new", "scheduler", "rules", "--lang", "c", "--path", &project])).ok();
    std::fs::copy(workspace().join("sdk/c/tests/test_rules.c"), folder.path().join("rules/tests/test_rules.c")).expect("is writable");
    let told = output(std::process::Command::new(pintle()).args(["plugin", "test", &project])).ok();
    assert!(told.contains("ok   affinity_and_anti_affinity"), "{told}");
    let told = output(std::process::Command::new("go").args(["test", "./..."]).current_dir(workspace().join("sdk/go"))).ok();
    assert!(told.contains("ok  \tpintle.dev/sdk/scheduler"), "{told}");
}

#[test]
fn python_places_pods_on_the_cheapest_node_that_fits() {
    let folder = built("cost-aware");
    let server = server();
    let priced = |name: &str, price: &str, cpu: &str| node(&server, name, cpu, &json!({"example.com/price-per-hour": price}));
    priced("dear", "0.4", "16");
    priced("spot", "0.03", "2");
    priced("fair", "0.1", "4");
    apply(&server, &folder, "cost-aware");
    let found: Vec<String> = (0..5).map(|n| placed(&server, &format!("p{n}"), "cost-aware", &json!({}))).collect();
    assert_eq!(found, ["spot", "spot", "fair", "fair", "fair"]);
    // What every pod is owed comes before the price.
    let apart = json!([{"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "example.com/price-per-hour"}]);
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": apart}}});
    assert_eq!(placed(&server, "apart", "cost-aware", &apart), "dear");
    pod_that_fits_nowhere(&server, "cost-aware");
    assert_eq!(refusal(&server, "huge").split(" no new claims").next(), Some("0/3 nodes are available: 3 Insufficient cpu."));
}

#[test]
fn c_fills_a_node_before_it_uses_the_next() {
    let folder = built("bin-packing");
    let server = server();
    for name in ["a", "b", "c"] {
        node(&server, name, "3", &json!({"name": name}));
    }
    apply(&server, &folder, "bin-packing");
    let found: Vec<String> = (0..6).map(|n| placed(&server, &format!("p{n}"), "bin-packing", &json!({}))).collect();
    assert!(found[..3].iter().all(|n| *n == found[0]) && found[3..].iter().all(|n| *n == found[3]) && found[0] != found[3], "{found:?}");
    pod_that_fits_nowhere(&server, "bin-packing");
    assert_eq!(refusal(&server, "huge").split(" no new claims").next(), Some("0/3 nodes are available: 3 Insufficient cpu."));
}

/// A template builds, passes its own tests and runs as it comes.
#[test]
fn what_new_writes_for_python_and_c_works_as_it_comes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = |world: &str, language: &str| {
        let project = folder.path().join(format!("{language}-{world}"));
        let shown = project.display().to_string();
        let name = project.file_name().expect("a name").to_string_lossy().into_owned();
        output(std::process::Command::new(pintle()).args(["plugin", "new", world, &name, "--lang", language, "--path", &shown])).ok();
        let told = output(std::process::Command::new(pintle()).args(["plugin", "test", &shown])).ok();
        assert!(told.contains("1 passed") || told.contains("1 tests, 0 failures"), "{told}");
        output(std::process::Command::new(pintle()).args(["plugin", "build", &shown])).ok();
        project
    };
    let server = server();
    node(&server, "a", "4", &json!({}));
    for (language, scheduler) in [("python", "python-scheduler"), ("c", "c-scheduler")] {
        apply(&server, &made("scheduler", language), scheduler);
        assert_eq!(placed(&server, language, scheduler, &json!({})), "a");
    }
    apply(&server, &made("controller", "python"), "");
    server.kubectl(&["create", "configmap", "counted", "--from-literal=x=1", "--from-literal=y=2"]).ok();
    wait("the label of the controller", PATIENCE_SECONDS, || {
        let labels = server.kubectl(&["get", "configmap", "counted", "-o", "jsonpath={.metadata.labels}"]).ok();
        if labels == r#"{"python-controller/keys":"2"}"# { Ok(()) } else { Err(labels) }
    });
    apply(&server, &made("ingress", "python"), "");
}

#[test]
fn go_admits_changes_and_refuses() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = folder.path().join("go-owner");
    let shown = project.display().to_string();
    output(std::process::Command::new(pintle()).args(["plugin", "new", "admission", "go-owner", "--lang", "go", "--path", &shown])).ok();
    let run = |verb: &str| output(std::process::Command::new(pintle()).args(["plugin", verb, &shown])).ok();
    let tested = run("test");
    assert!(tested.contains("ok  \tgo-owner"), "{tested}");
    // What it reads of the cluster, and a word of its own.
    let policy = std::fs::read_to_string(project.join("policy.go")).expect("the template");
    let begins = "\tif request.Phase == admission.Mutate {\n";
    assert!(policy.contains(begins), "{policy}");
    let own = "\tif taken, err := cluster.List(admission.Query{Resource: configMaps, Namespace: request.Namespace, Labels: \"only\"}); err != nil || len(taken) > 0 {\n\
               \t\treturn admission.Deny(\"there is one already\")\n\t}\n\
               \tif _, err := cluster.Get(configMaps, request.Namespace, \"none\"); !admission.IsNotFound(err) {\n\t\tpanic(err)\n\t}\n";
    std::fs::write(project.join("policy.go"), policy.replace(begins, &format!("{own}{begins}"))).expect("is writable");
    run("build");
    let server = server();
    server.pintle(&["plugin", "apply", &shown, "--grant", "get,list:configmaps", "--timeout", "180s"]).ok();
    let map = |name: &str, labels: &str| {
        server.kubectl_with_input(
            &["create", "-f", "-"],
            &format!(r#"{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "{name}", "labels": {labels}}}, "data": {{"n": "1"}}}}"#),
        )
    };
    map("a", "{}").ok();
    let made = server.kubectl(&["get", "configmap", "a", "-o", "jsonpath={.metadata.labels} {.data}"]).ok();
    assert!(made.starts_with(r#"{"go-owner/owner":""#) && made.ends_with(r#"{"n":"1"}"#), "{made}");
    let stranger =
        server.kubectl(&["label", "configmap", "a", "go-owner/owner=other", "--overwrite", "--as=other", "--as-group=system:masters"]).refused();
    assert!(stranger.contains("may change the label go-owner/owner"), "{stranger}");
    map("b", r#"{"only": "b"}"#).ok();
    let second = map("c", "{}").refused();
    assert!(second.contains("there is one already"), "{second}");
}

/// Go, which is experimental: the template, then a policy with a word of its own and a fault.
#[test]
fn go_decides_refuses_and_says_why_it_panicked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = folder.path().join("go-scheduler");
    let shown = project.display().to_string();
    let new = ["plugin", "new", "scheduler", "go-scheduler", "--lang", "go", "--path", &shown];
    let told = output(std::process::Command::new(pintle()).args(new)).ok();
    assert!(told.contains("Go is experimental"), "{told}");
    let run = |verb: &str| output(std::process::Command::new(pintle()).args(["plugin", verb, &shown])).ok();
    // Small enough to go into the object.
    let apply = |server: &Server| server.pintle(&["plugin", "apply", &shown, "--scheduler-name", "go-scheduler", "--timeout", "180s"]).ok();
    let tested = run("test");
    assert!(tested.contains("ok  \tgo-scheduler"), "{tested}");
    run("build");
    let server = server();
    for (name, zone) in [("a", "z1"), ("b", "z1"), ("c", "z2")] {
        node(&server, name, "4", &json!({"zone": zone}));
    }
    apply(&server);
    // Spread by the policy's score, then by the pods' own constraint.
    let mut found: Vec<String> = (0..3).map(|n| placed(&server, &format!("p{n}"), "go-scheduler", &json!({}))).collect();
    found.sort();
    assert_eq!(found, ["a", "b", "c"]);
    let spread = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "x"}}}]);
    assert_eq!(placed(&server, "spread", "go-scheduler", &json!({"topologySpreadConstraints": spread})), "c");
    pod_that_fits_nowhere(&server, "go-scheduler");
    assert_eq!(refusal(&server, "huge").split(" no new claims").next(), Some("0/3 nodes are available: 3 Insufficient cpu."));

    let policy = std::fs::read_to_string(project.join("policy.go")).expect("the template");
    let own = "\tif pod.Name == \"boom\" {\n\t\tpanic(\"as asked\")\n\t}\n\tif node.Labels[\"zone\"] == \"z1\" {\n\t\treturn \"node(s) are in z1\"\n\t}\n\treturn \"\"";
    assert!(policy.contains("\treturn \"\""), "{policy}");
    std::fs::write(project.join("policy.go"), policy.replace("\treturn \"\"", own)).expect("is writable");
    run("build");
    apply(&server);
    assert_eq!(placed(&server, "own", "go-scheduler", &json!({})), "c");
    let boom = json!({"schedulerName": "go-scheduler", "containers": [{"name": "c", "image": "i"}]});
    let boom = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "boom"}, "spec": boom});
    server.kubectl_with_input(&["create", "-f", "-"], &boom.to_string()).ok();
    wait("the words of the panic", PATIENCE_SECONDS, || {
        let logged = server.pintle(&["plugin", "logs", "go-scheduler"]).ok();
        if logged.contains("schedule default/boom: trapped: panic: as asked") { Ok(()) } else { Err(logged) }
    });
    server.kubectl(&["delete", "pod", "boom", "--force", "--grace-period=0"]).ok();
    assert_eq!(placed(&server, "after", "go-scheduler", &json!({})), "c");
}
