//! `cargo xtask bench`: what an operation costs the server, end to end over TLS.
//!
//! Starts `target/release/pintle server` on a free port with an empty data folder (or takes `--server PID --kubeconfig FILE` of one that
//! runs), drives it phase by phase and prints for each: operations a second, processor time of the server per operation, resident
//! memory after it. A wrong answer ends the run. The figures of record, and how they were taken, are in docs/performance.md.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use http::Method;
use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderValue};
use http_body_util::BodyExt;
use pintle_api::client::{ListOptions, Patch, Target, WatchOptions, WriteOptions};
use pintle_api::{Client, GroupVersionResource, Status};
use pintle_client::{HttpClient, kubeconfig::Kubeconfig};
use serde_json::{Value, json};

mod started;

use started::Started;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
const ACCOUNTS: GroupVersionResource = GroupVersionResource::constant("", "v1", "serviceaccounts");
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// Requests under way at a time.
const CLIENTS: usize = 32;
const WATCHERS: usize = 50;
const READY_WITHIN: Duration = Duration::from_secs(30);
const EVENTS_WITHIN: Duration = Duration::from_secs(60);

struct Bench {
    client: HttpClient,
    pid: u32,
    namespace: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let argument = |name: &str| std::env::args().skip_while(|a| a != name).nth(1);
    let objects: usize = argument("--objects").map_or(Ok(2000), |n| n.parse())?;
    let (pid, kubeconfig, _started) = match (argument("--server"), argument("--kubeconfig")) {
        (Some(pid), Some(file)) => (pid.parse()?, PathBuf::from(file), None),
        (None, None) => {
            let started = Started::new(&[])?;
            (started.pid(), started.kubeconfig(), Some(started))
        }
        _ => return Err("--server PID and --kubeconfig FILE go together".into()),
    };
    let client = ready(&kubeconfig).await?;
    let bench = Bench { client, pid, namespace: format!("bench-{}", std::process::id()) };
    println!("{:<22} {:>10} {:>12} {:>14} {:>10}", "phase", "operations", "per second", "CPU each (us)", "RSS (MiB)");
    bench.run(objects).await
}

async fn ready(kubeconfig: &Path) -> Result<HttpClient> {
    let until = Instant::now() + READY_WITHIN;
    loop {
        let config = Kubeconfig::load(kubeconfig);
        if let Ok(client) = config.map_err(|e| e.to_string()).and_then(|c| HttpClient::new(&c).map_err(|e| e.to_string()))
            && client.list(&Target::collection(NAMESPACES, None), &ListOptions::default()).await.is_ok()
        {
            return Ok(client);
        }
        if Instant::now() > until {
            return Err("the server is not ready in time".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Bench {
    async fn run(&self, objects: usize) -> Result<()> {
        let options = WriteOptions::default();
        let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        self.client.create(&Target::collection(NAMESPACES, None), space, &options).await?;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        // A controller may have been faster.
        let _ = self.client.create(&self.all(ACCOUNTS), account, &options).await;

        self.each("create configmap", objects, async |i| {
            self.client.create(&self.all(CONFIG_MAPS), config_map(i), &WriteOptions::default()).await.map(drop)
        })
        .await?;
        self.each("create pod", objects, async |i| self.client.create(&self.all(PODS), pod(i), &WriteOptions::default()).await.map(drop)).await?;
        self.each("get pod", objects * 4, async |i| self.client.get(&self.one(PODS, "p", i % objects)).await.map(drop)).await?;
        self.each("list pods", 20, async |_| {
            let listed = self.client.list(&self.all(PODS), &ListOptions::default()).await?;
            assert_eq!(listed.items.len(), objects, "a list of all pods");
            Ok(())
        })
        .await?;
        for (phase, accept, encoding) in
            [("list as a Table", TABLE, "identity"), ("list, gzip", "application/json", "gzip"), ("list, protobuf", PROTOBUF, "identity")]
        {
            self.each(phase, 20, async |_| self.fetch(PODS, accept, encoding).await).await?;
        }
        self.each("list by label", 100, async |i| {
            let label_selector = format!("shard=s{}", i % 100);
            self.client.list(&self.all(PODS), &ListOptions { label_selector, ..ListOptions::default() }).await.map(drop)
        })
        .await?;
        self.each("merge patch", objects, async |i| {
            let patch = Patch::Merge(json!({"data": {"touched": i.to_string()}}));
            self.client.patch(&self.one(CONFIG_MAPS, "c", i), patch, &WriteOptions::default()).await.map(drop)
        })
        .await?;
        self.each("strategic, status", objects, async |i| {
            let patch = Patch::Strategic(json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": format!("R{i}")}]}}));
            self.client.patch(&self.one(PODS, "p", i).subresource("status"), patch, &WriteOptions::default()).await.map(drop)
        })
        .await?;
        self.each("apply", objects, async |i| {
            let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{i}")}, "data": {"applied": i.to_string()}});
            let options = WriteOptions { field_manager: "bench".into(), force: true, ..WriteOptions::default() };
            self.client.patch(&self.one(CONFIG_MAPS, "c", i), Patch::Apply(config), &options).await.map(drop)
        })
        .await?;
        self.fan_out(objects).await?;
        self.each("delete", objects, async |i| self.client.delete(&self.one(CONFIG_MAPS, "c", i), &Default::default()).await.map(drop)).await?;
        self.client.delete(&Target::object(NAMESPACES, None, &self.namespace), &Default::default()).await?;
        Ok(())
    }

    /// A list whose form is none that the client's own lists ask for; it is read to its end.
    async fn fetch(&self, resource: GroupVersionResource, accept: &'static str, encoding: &'static str) -> pintle_api::client::Result<()> {
        let headers = [(ACCEPT, accept), (ACCEPT_ENCODING, encoding)].map(|(name, value)| (name, HeaderValue::from_static(value)));
        let answer = self.client.request(Method::GET, &self.all(resource).path(), headers.into_iter().collect(), "").await?;
        assert_eq!(answer.status(), 200, "a list as {accept}");
        answer.into_body().collect().await.map(drop).map_err(Status::internal)
    }

    /// Every watcher must see every write.
    async fn fan_out(&self, objects: usize) -> Result<()> {
        let writes = objects.min(500);
        let from = self.client.list(&self.all(CONFIG_MAPS), &ListOptions { limit: 1, ..ListOptions::default() }).await?.revision;
        let mut watchers = tokio::task::JoinSet::new();
        for _ in 0..WATCHERS {
            let options = WatchOptions { from_revision: Some(from), ..WatchOptions::default() };
            let mut events = self.client.watch(&self.all(CONFIG_MAPS), &options).await?;
            watchers.spawn(async move {
                let mut seen = 0;
                while seen < writes {
                    match events.next().await {
                        Some(Ok(pintle_api::client::WatchEvent::Modified(_))) => seen += 1,
                        Some(Ok(_)) => {}
                        Some(Err(why)) => return Err(why),
                        None => break,
                    }
                }
                Ok(seen)
            });
        }
        let (begun, cpu) = (Instant::now(), self.cpu());
        for i in 0..writes {
            let patch = Patch::Merge(json!({"data": {"seq": i.to_string()}}));
            self.client.patch(&self.one(CONFIG_MAPS, "c", i % objects), patch, &WriteOptions::default()).await?;
        }
        let all = async {
            while let Some(seen) = watchers.join_next().await {
                if seen?? != writes {
                    return Err::<(), Box<dyn std::error::Error + Send + Sync>>("a watch ended early".into());
                }
            }
            Ok(())
        };
        tokio::time::timeout(EVENTS_WITHIN, all).await.map_err(|_| "events were lost")??;
        self.report("watch events", writes * WATCHERS, begun, cpu);
        Ok(())
    }

    async fn each<F>(&self, phase: &str, count: usize, act: F) -> Result<()>
    where
        F: AsyncFn(usize) -> pintle_api::client::Result<()>,
    {
        let next = AtomicUsize::new(0);
        let (begun, cpu) = (Instant::now(), self.cpu());
        let worker = async || -> pintle_api::client::Result<()> {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= count {
                    return Ok(());
                }
                act(i).await?;
            }
        };
        futures::future::try_join_all((0..CLIENTS).map(|_| worker())).await?;
        self.report(phase, count, begun, cpu);
        Ok(())
    }

    fn report(&self, phase: &str, count: usize, begun: Instant, cpu: f64) {
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        let each = (self.cpu() - cpu) * 1e6 / count as f64;
        println!("{phase:<22} {count:>10} {rate:>12.0} {each:>14.1} {:>10.1}", self.resident());
    }

    fn all(&self, resource: GroupVersionResource) -> Target {
        Target::collection(resource, Some(&self.namespace))
    }
    fn one(&self, resource: GroupVersionResource, letter: &str, i: usize) -> Target {
        Target::object(resource, Some(&self.namespace), &format!("{letter}{i}"))
    }

    /// Seconds of processor time so far: user and system, at the kernel's hundred ticks a second.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / 100.0
    }
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }
}

fn config_map(i: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{i}"), "labels": {"shard": format!("s{}", i % 100)}}, "data": {"body": "x".repeat(900)}})
}

/// About what a Deployment makes; no scheduler answers to its scheduler's name.
fn pod(i: usize) -> Value {
    let env: Vec<Value> = (0..10).map(|k| json!({"name": format!("SETTING_{k}"), "value": "a value of some length"})).collect();
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("p{i}"), "labels": {"app": "web", "shard": format!("s{}", i % 100)}, "annotations": {"note": "a".repeat(200)}},
        "spec": {"schedulerName": "nobody", "automountServiceAccountToken": false, "containers": [{"name": "main", "image": "registry.example/app:v1", "env": env,
            "ports": [{"containerPort": 8080}], "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}}}]}})
}
