//! What writes cost, for counting instructions:
//! `valgrind --tool=callgrind --toggle-collect=write_cost::measured target/release/examples/write_cost VERB N`.
//!
//! A server over a store in memory, asked in process on one thread, so that a busy machine changes little of the count; HTTP, TLS, the
//! store's thread and the disk are not in it, and it is not the product's allocator. Some of what a start still has to do is counted, too:
//! take the difference between two numbers of writes. Verbs: `create` (Pods of 2 kB), `status` (a strategic patch of a Pod's status),
//! `merge` (of a ConfigMap).

use std::hint::black_box;

use pintle_api::client::{Patch, Target, WriteOptions};
use pintle_api::{Client, GroupVersionResource};
use pintle_apiserver::auth::User;
use pintle_apiserver::{Config, LocalClient, Server, Storage};
use serde_json::{Value, json};

const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
const ACCOUNTS: GroupVersionResource = GroupVersionResource::constant("", "v1", "serviceaccounts");
const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
const NAMESPACE: &str = "bench";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let verb = args.next().ok_or("usage: write_cost VERB N")?;
    let times: usize = args.next().ok_or("usage: write_cost VERB N")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = std::env::temp_dir().join(format!("write-cost-{}", std::process::id()));
    let config = Config { storage: Storage::Memory, ..Config::new(&folder, "127.0.0.1:0".parse()?) };
    let (server, client) = runtime.block_on(async {
        let server = Server::start(config).await?;
        let client = server.local_client(User::loopback());
        create(&client, NAMESPACES, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})).await;
        create(&client, ACCOUNTS, json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": NAMESPACE}}))
            .await;
        Ok::<_, Box<dyn std::error::Error>>((server, client))
    })?;
    let bodies: Vec<String> = (0..times).map(|i| pod(i).to_string()).collect();
    if verb != "create" {
        runtime.block_on(async {
            for (i, body) in bodies.iter().enumerate() {
                create(&client, PODS, serde_json::from_str(body).unwrap_or_default()).await;
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{i}")}, "data": {"body": "x".repeat(900)}});
                create(&client, CONFIG_MAPS, map).await;
            }
        });
    }
    measured(&runtime, &client, &verb, &bodies);
    runtime.block_on(server.shutdown())?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

#[inline(never)]
fn measured(runtime: &tokio::runtime::Runtime, client: &LocalClient, verb: &str, bodies: &[String]) {
    runtime.block_on(async {
        for (i, body) in bodies.iter().enumerate() {
            match verb {
                "create" => create(client, PODS, serde_json::from_str(body).unwrap_or_default()).await,
                "status" => {
                    let condition = json!({"type": "Ready", "status": "False", "reason": format!("r{i}")});
                    let target = Target { subresource: Some("status".to_owned()), ..Target::object(PODS, Some(NAMESPACE), &format!("p{i}")) };
                    patch(client, target, Patch::Strategic(json!({"status": {"conditions": [condition]}}))).await;
                }
                "merge" => {
                    patch(client, Target::object(CONFIG_MAPS, Some(NAMESPACE), &format!("c{i}")), Patch::Merge(json!({"data": {"n": i.to_string()}})))
                        .await
                }
                _ => panic!("no such verb: {verb}"),
            }
        }
    });
}

async fn create(client: &LocalClient, resource: GroupVersionResource, object: Value) {
    let target = Target::collection(resource, Some(NAMESPACE));
    black_box(client.create(&target, object, &WriteOptions::default()).await.map(|made| made.revision).expect("it is created"));
}

async fn patch(client: &LocalClient, target: Target, patch: Patch) {
    black_box(client.patch(&target, patch, &WriteOptions::default()).await.map(|made| made.revision).expect("it is patched"));
}

/// As a Deployment makes them.
fn pod(i: usize) -> Value {
    let env: Vec<Value> = (0..10).map(|k| json!({"name": format!("SETTING_{k}"), "value": "some-value-of-a-usual-length"})).collect();
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("p{i}"), "namespace": NAMESPACE, "labels": {"app": "web", "shard": format!("s{}", i % 100), "pod-template-hash": "7d4b9"},
            "annotations": {"note": "a".repeat(200)}},
        "spec": {"schedulerName": "nobody", "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "registry.example/app:v1", "env": env, "ports": [{"containerPort": 8080}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}},
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}}}]}})
}
