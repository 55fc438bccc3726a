//! What an answer or a body in protobuf costs beside the same in JSON. `cargo bench -p pintle-api --bench protobuf`.
//!
//! A Pod as a server holds it, with defaults, managed fields and status; and a list of a thousand of them.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use pintle_api::protobuf::{Encoder, ListEncoder, to_json};
use serde_json::{Value, json};

const ITEMS: usize = 1000;

fn main() {
    divan::main();
}

fn pod() -> String {
    let resources = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "128Mi"}});
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3});
    let tolerations: Vec<Value> = ["not-ready", "unreachable"]
        .map(|t| json!({"key": format!("node.kubernetes.io/{t}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}))
        .into();
    let conditions: Vec<Value> = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .map(|t| json!({"type": t, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-11-21T13:38:27Z", "observedGeneration": 1}))
        .into();
    let managed = json!({"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}, "f:name": {}, "f:ports": {".": {}, "k:{\"containerPort\":8080,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}, "f:restartPolicy": {}}});
    let manager = |name: &str| json!({"manager": name, "operation": "Update", "apiVersion": "v1", "time": "2026-11-21T13:38:27Z", "fieldsType": "FieldsV1", "fieldsV1": managed});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-6d4cf56db6-abcde", "generateName": "web-6d4cf56db6-", "namespace": "default", "uid": "557a6c7f-2623-46a7-8c61-eb50f313976e",
            "resourceVersion": "287", "generation": 1, "creationTimestamp": "2026-11-21T13:38:27Z", "labels": {"app": "web", "pod-template-hash": "6d4cf56db6"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4cf56db6", "uid": "1", "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [manager("controller"), manager("kubelet")]},
        "spec": {"containers": [{"name": "web", "image": "pintle.dev/hello:v1", "ports": [{"containerPort": 8080, "protocol": "TCP"}], "resources": resources,
                "env": [{"name": "A", "value": "b"}, {"name": "P", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
                "livenessProbe": probe, "readinessProbe": probe, "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent"}],
            "volumes": [{"name": "token", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}]}}],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "nodeName": "n1", "securityContext": {},
            "schedulerName": "default-scheduler", "serviceAccountName": "default", "serviceAccount": "default", "tolerations": tolerations, "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority"},
        "status": {"phase": "Running", "qosClass": "Burstable", "hostIP": "10.0.0.1", "podIP": "10.244.0.7", "podIPs": [{"ip": "10.244.0.7"}], "startTime": "2026-11-21T13:38:27Z", "conditions": conditions,
            "containerStatuses": [{"name": "web", "state": {"running": {"startedAt": "2026-11-21T13:38:28Z"}}, "lastState": {}, "ready": true, "restartCount": 0,
                "image": "pintle.dev/hello:v1", "imageID": "sha256:0", "containerID": "containerd://0", "started": true}]},
    })
    .to_string()
}

fn encoded(json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::of("v1", "Pod").unwrap().object(json.as_bytes(), &mut out).unwrap();
    out
}

#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let (json, mut encoder, mut out) = (pod(), Encoder::of("v1", "Pod").unwrap(), Vec::new());
    bencher.counter(BytesCount::of_str(&json)).bench_local(|| {
        out.clear();
        encoder.object(black_box(json.as_bytes()), &mut out).unwrap();
        out.len()
    });
}

/// As a single answer has it: nothing kept from the one before.
#[divan::bench]
fn encode_anew(bencher: Bencher<'_, '_>) {
    let json = pod();
    bencher.counter(BytesCount::of_str(&json)).bench_local(|| encoded(black_box(&json)));
}

#[divan::bench]
fn encode_list(bencher: Bencher<'_, '_>) {
    let json = pod();
    bencher.counter(BytesCount::new(json.len() * ITEMS)).bench_local(|| {
        let (mut encoder, mut out) = (ListEncoder::of("v1", "PodList").unwrap(), Vec::new());
        (0..ITEMS).for_each(|_| encoder.item(black_box(json.as_bytes()), &mut out).unwrap());
        encoder.around(&json!({"resourceVersion": "1"}), out.len() as u64).unwrap()
    });
}

#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let bytes = encoded(&pod());
    bencher.counter(BytesCount::of_slice(&bytes)).bench_local(|| to_json(black_box(&bytes), None).unwrap());
}

/// The same body in JSON.
#[divan::bench]
fn decode_json(bencher: Bencher<'_, '_>) {
    let json = pod();
    bencher.counter(BytesCount::of_str(&json)).bench_local(|| serde_json::from_str::<Value>(black_box(&json)).unwrap());
}

/// What encoding by way of a tree of values would cost before the first byte is written; and to write JSON from it.
#[divan::bench]
fn write_json_from_value(bencher: Bencher<'_, '_>) {
    let value: Value = serde_json::from_str(&pod()).unwrap();
    bencher.bench_local(|| serde_json::to_vec(black_box(&value)).unwrap());
}
