//! The README's tour, on a cluster of two nodes, driven by the real kubectl. One test: each stop builds on the one before.

use serde_json::Value;

use super::cluster::Cluster;
use super::machine::{Marks, interfaces};
use super::run::wait;

#[test]
fn the_tour() {
    let before = interfaces();
    let mut cluster = Cluster::up("tour", 2);
    let marks = Marks::of(&cluster.data_dir(), cluster.status()["server"]["pid"].as_u64().expect("a process"));
    let found = marks.found();
    for kind in ["process", "cgroup", "network namespace"] {
        assert!(found.iter().any(|f| f.starts_with(kind)), "{kind}: {found:#?}");
    }
    nodes_are_ready(&cluster);
    a_deployment_runs_rolls_and_rolls_back(&cluster);
    logs_and_exec_reach_the_container(&cluster);
    services_answer(&cluster);
    configuration_follows_changes(&cluster);
    workloads_of_every_kind(&cluster);
    a_claim_gets_a_volume_and_keeps_it(&cluster);
    an_ingress_routes(&cluster);
    a_drained_node_loses_its_pods(&cluster);
    cluster.down().ok();
    let left = marks.found();
    assert!(left.is_empty(), "`pintle down` left something behind: {left:#?}");
    drop(cluster);
    assert_eq!(interfaces(), before, "interfaces of the machine");
}

fn nodes_are_ready(cluster: &Cluster) {
    let nodes = cluster.kubectl(&["get", "nodes", "--no-headers"]).ok();
    assert_eq!(nodes.lines().filter(|l| l.split_whitespace().nth(1) == Some("Ready")).count(), 2, "{nodes}");
    let status = cluster.status();
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(2), "{status}");
    for plugin in cluster.json(&["get", "plugins"])["items"].as_array().expect("a list") {
        assert_eq!(condition(plugin, "Ready"), "True", "{plugin:#}");
    }
}

fn a_deployment_runs_rolls_and_rolls_back(cluster: &Cluster) {
    cluster.kubectl(&["create", "deployment", "web", "--image=pintle.dev/hello:v1", "--replicas=3"]).ok();
    rolled_out(cluster, "deployment/web");
    cluster.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=8080"]).ok();
    answers(cluster, &service_ip(cluster, "web"), "Hello from pintle v1");
    cluster.kubectl(&["set", "image", "deployment/web", "*=pintle.dev/hello:v2"]).ok();
    rolled_out(cluster, "deployment/web");
    answers(cluster, &service_ip(cluster, "web"), "Hello from pintle v2");
    let history = cluster.kubectl(&["rollout", "history", "deployment/web"]).ok();
    assert!(history.lines().any(|l| l.starts_with('1')) && history.lines().any(|l| l.starts_with('2')), "{history}");
    cluster.kubectl(&["rollout", "undo", "deployment/web"]).ok();
    rolled_out(cluster, "deployment/web");
    answers(cluster, &service_ip(cluster, "web"), "Hello from pintle v1");
    cluster.kubectl(&["scale", "deployment/web", "--replicas=2"]).ok();
    wait("two replicas", 60, || {
        let pods = pods(cluster, "app=web");
        if pods.len() == 2 { Ok(()) } else { Err(format!("{} pods", pods.len())) }
    });
    let described = cluster.kubectl(&["describe", "deployment", "web"]).ok();
    assert!(described.contains("ScalingReplicaSet"), "{described}");
}

fn logs_and_exec_reach_the_container(cluster: &Cluster) {
    let pod = pods(cluster, "app=web").remove(0);
    let name = pod["metadata"]["name"].as_str().expect("a name");
    let logs = cluster.kubectl(&["logs", name]).ok();
    assert!(logs.contains(&format!("hello v1 on {name} listens on port 8080")), "{logs}");
    assert_eq!(cluster.kubectl(&["exec", name, "--", "echo", "from inside"]).ok().trim(), "from inside");
    let failed = cluster.kubectl(&["exec", name, "--", "sh", "-c", "exit 7"]);
    assert!(failed.stderr.contains("exit code 7"), "{failed:?}");
    let service = cluster.kubectl(&["exec", name, "--", "sh", "-c", "wget -qO- http://web"]).ok();
    assert!(service.contains("Hello from pintle v1"), "by DNS name: {service}");
}

fn services_answer(cluster: &Cluster) {
    cluster.kubectl(&["expose", "deployment", "web", "--name=web-node", "--type=NodePort", "--port=80", "--target-port=8080"]).ok();
    let port = cluster.json(&["get", "service", "web-node"])["spec"]["ports"][0]["nodePort"].clone();
    for address in ["10.89.0.1", "10.89.0.2"] {
        answers(cluster, &format!("{address}:{port}"), "Hello from pintle v1");
    }
    every_node_leads_a_pod_to_every_endpoint(cluster, &port);
    let pod = pods(cluster, "app=web").remove(0);
    let gone = pod["metadata"]["name"].as_str().expect("a name").to_owned();
    cluster.kubectl(&["delete", "pod", &gone]).ok();
    rolled_out(cluster, "deployment/web");
    answers(cluster, &service_ip(cluster, "web"), "Hello from pintle v1");
    cluster.kubectl(&["patch", "service", "web", "-p", r#"{"spec":{"sessionAffinity":"ClientIP"}}"#]).ok();
    let address = service_ip(cluster, "web");
    wait("one pod for one client", 30, || {
        let hosts: std::collections::BTreeSet<String> =
            (0..6).filter_map(|_| cluster.http_get(&format!("http://{address}"), &[]).ok()).map(|t| pod_of(&t)).collect();
        if hosts.len() == 1 { Ok(()) } else { Err(format!("{hosts:?}")) }
    });
}

/// Also to those on the pod's own node, by another node's port.
fn every_node_leads_a_pod_to_every_endpoint(cluster: &Cluster, port: &serde_json::Value) {
    let web = pods(cluster, "app=web");
    let from = web[0]["metadata"]["name"].as_str().expect("a name");
    for address in ["10.89.0.1", "10.89.0.2"] {
        let ask = format!("for i in $(seq 40); do timeout 2 /bin/wget -qO- http://{address}:{port} || echo none; done");
        let answers = cluster.kubectl(&["exec", from, "--", "sh", "-c", &ask]).ok();
        assert!(!answers.contains("none"), "by {address}: {answers}");
        let hosts: std::collections::BTreeSet<&str> = answers.lines().filter_map(|l| l.strip_prefix("pod: ")).collect();
        assert_eq!(hosts.len(), web.len(), "by {address}: {answers}");
    }
}

fn configuration_follows_changes(cluster: &Cluster) {
    cluster.kubectl(&["create", "configmap", "settings", "--from-literal=colour=red"]).ok();
    cluster.kubectl(&["create", "secret", "generic", "credentials", "--from-literal=password=hunter2"]).ok();
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: configured}
spec:
  initContainers:
  - {name: first, image: "pintle.dev/hello:v1", command: [sh, -c, "echo prepared > /shared/note"], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: main
    image: pintle.dev/hello:v1
    env:
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: credentials, key: password}}}
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 200m, memory: 64Mi}}
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
    volumeMounts: [{name: settings, mountPath: /settings}, {name: shared, mountPath: /shared}]
  - {name: side, image: "pintle.dev/hello:v1", command: [sleep, "3600"], volumeMounts: [{name: shared, mountPath: /shared}]}
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: shared, emptyDir: {}}
"#,
    );
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/configured", "--timeout=90s"]).ok();
    let inside =
        |container: &str, script: &str| cluster.kubectl(&["exec", "configured", "-c", container, "--", "sh", "-c", script]).ok().trim().to_owned();
    assert_eq!(inside("main", "echo $COLOUR $PASSWORD"), "red hunter2");
    assert_eq!(inside("side", "cat /shared/note"), "prepared");
    assert_eq!(inside("main", "cat /settings/colour"), "red");
    cluster.kubectl(&["patch", "configmap", "settings", "-p", r#"{"data":{"colour":"blue"}}"#]).ok();
    wait("the mounted file to follow", 90, || {
        let colour = inside("main", "cat /settings/colour");
        if colour == "blue" { Ok(()) } else { Err(colour) }
    });
    cluster.kubectl(&["delete", "pod", "configured", "--grace-period=1"]).ok();
}

fn workloads_of_every_kind(cluster: &Cluster) {
    cluster.apply(
        r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template: {metadata: {labels: {app: everywhere}}, spec: {containers: [{name: c, image: "pintle.dev/hello:v1"}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  completions: 3
  parallelism: 2
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: "pintle.dev/hello:v1", command: [sh, -c, "echo done"]}]}}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: "pintle.dev/hello:v1"}]}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: often}
spec:
  schedule: "* * * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "pintle.dev/hello:v1", command: ["true"]}]}}}}
"#,
    );
    rolled_out(cluster, "daemonset/everywhere");
    let nodes: std::collections::BTreeSet<String> = pods(cluster, "app=everywhere").iter().map(|p| p["spec"]["nodeName"].to_string()).collect();
    assert_eq!(nodes.len(), 2, "a DaemonSet runs on both nodes");
    cluster.kubectl(&["wait", "--for=condition=Complete", "job/once", "--timeout=120s"]).ok();
    rolled_out(cluster, "statefulset/db");
    let found = cluster.kubectl(&["exec", "db-0", "--", "sh", "-c", "wget -qO- http://db-1.db:8080"]).ok();
    assert_eq!(pod_of(&found), "db-1");
    wait("a job of the CronJob", 90, || {
        let jobs = cluster.kubectl(&["get", "jobs", "-o", "name"]).ok();
        if jobs.contains("job.batch/often-") { Ok(()) } else { Err(jobs) }
    });
    cluster.kubectl(&["delete", "cronjob/often", "job/once", "daemonset/everywhere", "statefulset/db", "service/db"]).ok();
}

fn a_claim_gets_a_volume_and_keeps_it(cluster: &Cluster) {
    let folder = format!("{}/disk", cluster.data_dir());
    cluster.apply(&format!(
        r#"
apiVersion: v1
kind: PersistentVolume
metadata: {{name: disk}}
spec:
  storageClassName: by-hand
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  hostPath: {{path: {folder}, type: DirectoryOrCreate}}
  nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [pintle-2]}}]}}]}}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: keeper}}
spec:
  serviceName: keeper
  selector: {{matchLabels: {{app: keeper}}}}
  template:
    metadata: {{labels: {{app: keeper}}}}
    spec: {{containers: [{{name: c, image: "pintle.dev/hello:v1", volumeMounts: [{{name: data, mountPath: /data}}]}}]}}
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{storageClassName: by-hand, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 500Mi}}}}}}
"#
    ));
    rolled_out(cluster, "statefulset/keeper");
    let claim = cluster.json(&["get", "pvc", "data-keeper-0"]);
    assert_eq!((&claim["status"]["phase"], &claim["spec"]["volumeName"]), (&"Bound".into(), &"disk".into()), "{claim:#}");
    assert_eq!(pods(cluster, "app=keeper")[0]["spec"]["nodeName"], "pintle-2", "the volume's node");
    cluster.kubectl(&["exec", "keeper-0", "--", "sh", "-c", "echo kept > /data/note"]).ok();
    assert_eq!(std::fs::read_to_string(format!("{folder}/note")).expect("what the pod wrote"), "kept\n");

    cluster.kubectl(&["delete", "pvc", "data-keeper-0", "--wait=false"]).ok();
    let held = cluster.json(&["get", "pvc", "data-keeper-0"]);
    assert!(held["metadata"]["deletionTimestamp"].is_string() && held["status"]["phase"] == "Bound", "{held:#}");
    cluster.kubectl(&["delete", "statefulset/keeper", "--cascade=foreground"]).ok();
    cluster.kubectl(&["wait", "--for=delete", "pvc/data-keeper-0", "--timeout=60s"]).ok();
    cluster.kubectl(&["wait", "--for=jsonpath={.status.phase}=Released", "pv/disk", "--timeout=60s"]).ok();
    cluster.kubectl(&["delete", "pv", "disk"]).ok();
}

fn an_ingress_routes(cluster: &Cluster) {
    cluster.apply(
        r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: site}
spec:
  rules:
  - host: a.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
  - host: b.example.com
    http: {paths: [{path: /sub, pathType: Prefix, backend: {service: {name: web-node, port: {number: 80}}}}]}
"#,
    );
    let by = |host: &str, path: &str| cluster.http_get(&format!("http://{host}{path}"), &["--resolve", &format!("{host}:80:10.89.0.1")]);
    wait("the first host", 60, || by("a.example.com", "/x").and_then(|t| if t.contains("path: /x") { Ok(()) } else { Err(t) }));
    wait("the second host's path", 30, || by("b.example.com", "/sub/y").and_then(|t| if t.contains("path: /sub/y") { Ok(()) } else { Err(t) }));
    assert!(by("b.example.com", "/other").expect_err("no such path").contains("404"));
}

fn a_drained_node_loses_its_pods(cluster: &Cluster) {
    cluster.kubectl(&["scale", "deployment/web", "--replicas=4"]).ok();
    rolled_out(cluster, "deployment/web");
    cluster.kubectl(&["drain", "pintle-2", "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=120s"]).ok();
    rolled_out(cluster, "deployment/web");
    let nodes: std::collections::BTreeSet<String> = pods(cluster, "app=web").iter().map(|p| p["spec"]["nodeName"].to_string()).collect();
    assert_eq!(nodes.into_iter().collect::<Vec<_>>(), ["\"pintle-1\""]);
    cluster.kubectl(&["uncordon", "pintle-2"]).ok();
}

fn rolled_out(cluster: &Cluster, what: &str) {
    cluster.kubectl(&["rollout", "status", what, "--timeout=120s"]).ok();
}

/// Pods that are not on their way out.
fn pods(cluster: &Cluster, selector: &str) -> Vec<Value> {
    let list = cluster.json(&["get", "pods", "-l", selector]);
    let items = list["items"].as_array().cloned().expect("a list");
    items.into_iter().filter(|p| p["metadata"]["deletionTimestamp"].is_null()).collect()
}

fn service_ip(cluster: &Cluster, name: &str) -> String {
    cluster.json(&["get", "service", name])["spec"]["clusterIP"].as_str().expect("an address").to_owned()
}

fn answers(cluster: &Cluster, address: &str, wanted: &str) {
    wait(&format!("{address} to answer {wanted:?}"), 30, || {
        cluster.http_get(&format!("http://{address}"), &[]).and_then(|text| if text.contains(wanted) { Ok(()) } else { Err(text) })
    });
}

/// Which pod wrote the demo server's answer.
fn pod_of(answer: &str) -> String {
    answer.lines().find_map(|l| l.strip_prefix("pod: ")).unwrap_or_default().to_owned()
}

fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|c| c["type"] == kind).map(|c| c["status"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}
