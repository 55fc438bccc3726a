//! The cells of `kubectl get` for each main kind.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{NOW, strategy};

fn check(resource: &str, object: Value, expected: Expect) {
    let strategy = strategy(resource);
    let cells = strategy.cells(&object, NOW.parse().unwrap());
    // A write makes them of all of the object, a list of what it reads of the text.
    let read = pintle_partial::read(object.to_string().as_bytes(), strategy.cells_need()).unwrap();
    assert_eq!(strategy.cells(&read, NOW.parse().unwrap()), cells);
    let row: Vec<String> =
        strategy.columns().iter().zip(cells).map(|(c, v)| format!("{}={}", c.name, v.as_str().map_or(v.to_string(), str::to_owned))).collect();
    expected.assert_eq(&row.join(" | "));
}

fn pod(status: Value) -> Value {
    json!({
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T11:57:30Z"},
        "spec": {"nodeName": "n", "containers": [{"name": "c"}, {"name": "d"}], "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]},
        "status": status,
    })
}

#[test]
fn pods() {
    check(
        "pods",
        pod(json!({"phase": "Pending"})),
        expect!["Name=p | Ready=0/3 | Status=Pending | Restarts=0 | Age=2m30s | IP=<none> | Node=n | Nominated Node=<none> | Readiness Gates=<none>"],
    );
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let running = json!({"running": {}});
    let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-01T11:59:00Z"}});
    check(
        "pods",
        pod(json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": waiting, "restartCount": 2, "lastState": ended}]})),
        expect![
            "Name=p | Ready=0/3 | Status=Init:CrashLoopBackOff | Restarts=2 (60s ago) | Age=2m30s | IP=<none> | Node=n | Nominated Node=<none> | Readiness Gates=<none>"
        ],
    );
    let init = json!([{"name": "i", "state": ended}, {"name": "s", "state": running, "started": true, "ready": true}]);
    let both = json!([{"name": "c", "state": running, "ready": true, "restartCount": 1, "lastState": ended}, {"name": "d", "state": ended}]);
    check(
        "pods",
        pod(
            json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.2"}], "initContainerStatuses": init, "containerStatuses": both, "conditions": [{"type": "Ready", "status": "True"}]}),
        ),
        expect![
            "Name=p | Ready=2/3 | Status=Running | Restarts=1 (60s ago) | Age=2m30s | IP=10.0.0.2 | Node=n | Nominated Node=<none> | Readiness Gates=<none>"
        ],
    );
    let mut deleted = pod(json!({"phase": "Running", "containerStatuses": both}));
    deleted["metadata"]["deletionTimestamp"] = NOW.into();
    check(
        "pods",
        deleted,
        expect![
            "Name=p | Ready=1/3 | Status=Terminating | Restarts=1 (60s ago) | Age=2m30s | IP=<none> | Node=n | Nominated Node=<none> | Readiness Gates=<none>"
        ],
    );
}

#[test]
fn workloads() {
    let meta = json!({"name": "w", "creationTimestamp": "2026-01-01T06:00:00Z"});
    let spec =
        json!({"replicas": 3, "selector": {"matchLabels": {"app": "w"}}, "template": {"spec": {"containers": [{"name": "c", "image": "i:v1"}]}}});
    let status = json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2});
    let object = json!({"metadata": meta, "spec": spec, "status": status});
    for (resource, expected) in [
        ("apps/deployments", expect!["Name=w | Ready=2/3 | Up-to-date=3 | Available=2 | Age=6h | Containers=c | Images=i:v1 | Selector=app=w"]),
        ("apps/replicasets", expect!["Name=w | Desired=3 | Current=3 | Ready=2 | Age=6h | Containers=c | Images=i:v1 | Selector=app=w"]),
        ("apps/statefulsets", expect!["Name=w | Ready=2/3 | Age=6h | Containers=c | Images=i:v1"]),
    ] {
        check(resource, object.clone(), expected);
    }
    let daemons = json!({"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberReady": 1});
    check(
        "apps/daemonsets",
        json!({"metadata": meta, "spec": spec, "status": daemons}),
        expect![
            "Name=w | Desired=2 | Current=2 | Ready=1 | Up-to-date=0 | Available=0 | Node Selector=<none> | Age=6h | Containers=c | Images=i:v1 | Selector=app=w"
        ],
    );
    let done = json!({"startTime": "2026-01-01T10:00:00Z", "completionTime": "2026-01-01T10:01:05Z", "succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]});
    check(
        "batch/jobs",
        json!({"metadata": meta, "spec": {"completions": 1, "template": spec["template"]}, "status": done}),
        expect!["Name=w | Status=Complete | Completions=1/1 | Duration=65s | Age=6h | Containers=c | Images=i:v1 | Selector=<none>"],
    );
}

#[test]
fn nodes_events_and_endpoints() {
    check(
        "nodes",
        json!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}, "creationTimestamp": "2025-12-01T00:00:00Z"},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.1.0.1"}],
                       "nodeInfo": {"kubeletVersion": "v1.36.3", "osImage": "Debian", "kernelVersion": "6.1", "architecture": "amd64", "containerRuntimeVersion": "containerd://1.6"}},
        }),
        expect![
            "Name=n | Status=Ready,SchedulingDisabled | Roles=control-plane | Age=31d | Version=v1.36.3 | Internal-IP=10.1.0.1 | External-IP=<none> | OS-Image=Debian | Kernel-Version=6.1 (amd64) | Container-Runtime=containerd://1.6"
        ],
    );
    check(
        "events",
        json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "Pulled", "message": " done\n", "involvedObject": {"kind": "Pod", "name": "p"},
               "source": {"component": "kubelet", "host": "n"}, "firstTimestamp": "2026-01-01T11:00:00Z", "lastTimestamp": "2026-01-01T11:59:58Z", "count": 3}),
        expect![
            "Last Seen=2s | Type=Normal | Reason=Pulled | Object=pod/p | Subobject= | Source=kubelet, n | Message=done | First Seen=60m | Count=3 | Name=e"
        ],
    );
    let addresses: Vec<Value> = (1..=5).map(|n| json!({"ip": format!("10.0.0.{n}")})).collect();
    check(
        "endpoints",
        json!({"metadata": {"name": "e"}, "subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}),
        expect!["Name=e | Endpoints=10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more... | Age=<unknown>"],
    );
    check(
        "discovery.k8s.io/endpointslices",
        json!({"metadata": {"name": "e"}, "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]}),
        expect!["Name=e | AddressType=IPv4 | Ports=80 | Endpoints=10.0.0.1 | Age=<unknown>"],
    );
}

#[test]
fn ages() {
    let shown: Vec<String> = [-5, 0, 119, 120, 599, 3600, 28_800, 172_800, 700_000, 40_000_000, 100_000_000].map(crate::print::duration).into();
    expect!["<invalid> 0s 119s 2m 9m59s 60m 8h 2d 8d 462d 3y62d"].assert_eq(&shown.join(" "));
}
