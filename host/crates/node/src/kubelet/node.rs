//! The node's own object: registered at start, its status kept true, its lease renewed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use pintle_api::client::{Patch, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{Client, Reason, Status};
use serde_json::{Map, Value, json};

use super::admission::OwnNode;
use super::cri::Cri;
use super::follow::{Change, LEASES, NODES, changes};
use super::recorder::{Recorder, seconds};

pub const KUBELET_VERSION: &str = "v1.36.3";
/// Pods that a node takes at most.
const MAX_PODS: u32 = 110;
/// Memory kept from pods, in bytes: below it the kernel would have to kill.
const RESERVED_MEMORY_BYTES: u64 = 100 << 20;
/// How often the node looks at itself; how often it reports when nothing changed; how often it renews its lease; in seconds.
const LOOK_SECONDS: u64 = 10;
const REPORT_SECONDS: i64 = 300;
const LEASE_SECONDS: u64 = 10;
const LEASE_LIFE_SECONDS: i64 = 40;
/// Pause between looks until the node is ready for the first time, in milliseconds.
const FIRST_LOOK_MS: u64 = 200;
/// Images listed in the status, the largest first.
const MAX_IMAGES: usize = 50;
/// The file system is under pressure below this share of free space, in per cent.
const DISK_PRESSURE_PERCENT: u64 = 1;

pub struct NodeSettings {
    pub name: String,
    pub addresses: Vec<String>,
    pub port: u16,
    pub pod_cidr: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub unschedulable: bool,
}

#[derive(Clone, Debug)]
pub struct Machine {
    pub cpus: usize,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
}

impl Machine {
    pub fn measure(data_dir: &Path) -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:")).and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok());
        let disk = rustix::fs::statvfs(data_dir).map(|s| s.f_blocks * s.f_frsize).unwrap_or(0);
        Self { cpus: std::thread::available_parallelism().map_or(1, usize::from), memory_bytes: total.unwrap_or(0) << 10, disk_bytes: disk }
    }
    pub fn capacity(&self) -> BTreeMap<String, String> {
        self.amounts(self.memory_bytes, self.disk_bytes)
    }
    pub fn allocatable(&self) -> BTreeMap<String, String> {
        self.amounts(self.memory_bytes.saturating_sub(RESERVED_MEMORY_BYTES), self.disk_bytes / 10 * 9)
    }
    fn amounts(&self, memory: u64, disk: u64) -> BTreeMap<String, String> {
        let list = [
            ("cpu", self.cpus.to_string()),
            ("memory", format!("{}Ki", memory >> 10)),
            ("ephemeral-storage", format!("{}Ki", disk >> 10)),
            ("pods", MAX_PODS.to_string()),
            ("hugepages-1Gi", "0".into()),
            ("hugepages-2Mi", "0".into()),
        ];
        list.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }
}

pub struct NodeKeeper {
    pub client: Arc<dyn Client>,
    pub cri: Cri,
    pub recorder: Recorder,
    pub settings: NodeSettings,
    pub machine: Machine,
    pub data_dir: std::path::PathBuf,
    pub own: OwnNode,
}

impl NodeKeeper {
    /// Makes the object if it is not there, and follows it.
    pub async fn register(&self) {
        let mut delay = 100;
        while let Err(error) = self.try_register().await {
            tracing::warn!(%error, "node not registered yet");
            tokio::time::sleep(Duration::from_millis(delay)).await;
            delay = (delay * 2).min(5_000);
        }
        self.recorder.node(&self.settings.name, false, "Starting", "Starting kubelet.");
        let (own, name) = (self.own.clone(), self.settings.name.clone());
        let mut source = changes(self.client.clone(), Target::collection(NODES, None), format!("metadata.name={name}"));
        tokio::spawn(async move {
            while let Some(change) = source.recv().await {
                let newest = match change {
                    Change::Reset(list) => list.into_iter().next(),
                    Change::Put(served) => Some(served),
                    Change::Gone(_) => None,
                };
                let node = newest.and_then(|s| s.parse_as::<Node>().ok());
                *own.write().unwrap_or_else(PoisonError::into_inner) = node;
            }
        });
    }

    /// Keeps the status true until dropped.
    pub async fn keep_status(&self) {
        let mut last: Option<(Value, Timestamp)> = None;
        loop {
            let (status, ready) = self.status().await;
            let now = Timestamp::now();
            let due = last.as_ref().is_none_or(|(known, at)| *known != status || now.duration_since(*at).as_secs() >= REPORT_SECONDS);
            if due {
                match self.write(&status, now).await {
                    Ok(()) => last = Some((status, now)),
                    Err(e) if e.is(Reason::NotFound) => {
                        last = None;
                        self.try_register().await.ok();
                    }
                    Err(error) => tracing::warn!(%error, "node status not written"),
                }
            }
            let pause = if ready && last.is_some() { Duration::from_secs(LOOK_SECONDS) } else { Duration::from_millis(FIRST_LOOK_MS) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Renews the lease until dropped.
    pub async fn keep_lease(&self) {
        let mut every = tokio::time::interval(Duration::from_secs(LEASE_SECONDS));
        loop {
            every.tick().await;
            if let Err(error) = self.renew().await {
                tracing::warn!(%error, "node lease not renewed");
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.renew().await.ok();
            }
        }
    }

    async fn try_register(&self) -> Result<(), Status> {
        let s = &self.settings;
        let mut labels: BTreeMap<String, String> = s.labels.clone();
        for prefix in ["kubernetes.io", "beta.kubernetes.io"] {
            labels.insert(format!("{prefix}/os"), "linux".into());
            labels.insert(format!("{prefix}/arch"), arch().into());
        }
        labels.insert("kubernetes.io/hostname".into(), s.name.clone());
        let mut spec = Map::new();
        if let Some(cidr) = &s.pod_cidr {
            spec.insert("podCIDR".into(), json!(cidr));
            spec.insert("podCIDRs".into(), json!([cidr]));
        }
        if s.unschedulable {
            spec.insert("unschedulable".into(), json!(true));
        }
        // Until it has looked at itself the node is not ready: without a condition its first taint would be taken away too early.
        let now = seconds(Timestamp::now());
        let ready = json!({"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "the container runtime was not looked at yet",
                           "lastHeartbeatTime": now, "lastTransitionTime": now});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": s.name, "labels": labels}, "spec": spec,
                          "status": {"conditions": [ready]}});
        match self.client.create(&Target::collection(NODES, None), node, &WriteOptions::default()).await {
            Ok(_) => Ok(()),
            Err(e) if e.is(Reason::AlreadyExists) => {
                let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
                self.client.patch(&Target::object(NODES, None, &s.name), patch, &WriteOptions::default()).await.map(drop)
            }
            Err(e) => Err(e),
        }
    }

    /// The status without times, and whether the node is ready.
    async fn status(&self) -> (Value, bool) {
        let s = &self.settings;
        let (conditions, version, images) = tokio::join!(self.cri.conditions(), self.cri.version(), self.cri.images());
        let runtime = version.map(|v| format!("{}://{}", v.runtime_name, v.runtime_version.trim_start_matches('v').split('~').next().unwrap_or("")));
        let trouble = match &conditions {
            Err(error) => Some(format!("container runtime is down: {error}")),
            Ok(list) => list
                .iter()
                .find(|c| !c.status)
                .map(|c| format!("container runtime network not ready: {}=false reason:{} message:{}", c.r#type, c.reason, c.message)),
        };
        let ready = trouble.is_none();
        let disk = rustix::fs::statvfs(&self.data_dir).ok();
        let disk_pressure = disk.is_some_and(|d| d.f_bavail * 100 < d.f_blocks * DISK_PRESSURE_PERCENT);
        let plain = |kind: &str, bad: bool, reason: [&str; 2], message: [&str; 2]| {
            let at = usize::from(bad);
            json!({"type": kind, "status": if bad { "True" } else { "False" }, "reason": reason[at], "message": message[at]})
        };
        let ready_condition = match &trouble {
            None => json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}),
            Some(text) => json!({"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": text}),
        };
        let mut addresses: Vec<Value> = s.addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
        addresses.push(json!({"type": "Hostname", "address": s.name}));
        let status = json!({
            "capacity": self.machine.capacity(), "allocatable": self.machine.allocatable(),
            "addresses": addresses,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": s.port}},
            "nodeInfo": node_info(&runtime.unwrap_or_else(|_| "containerd://unknown".into())),
            "images": image_list(images.unwrap_or_default()),
            "conditions": [
                plain("MemoryPressure", false, ["KubeletHasSufficientMemory", "KubeletHasInsufficientMemory"], ["kubelet has sufficient memory available", "kubelet has insufficient memory available"]),
                plain("DiskPressure", disk_pressure, ["KubeletHasNoDiskPressure", "KubeletHasDiskPressure"], ["kubelet has no disk pressure", "kubelet has disk pressure"]),
                plain("PIDPressure", false, ["KubeletHasSufficientPID", "KubeletHasInsufficientPID"], ["kubelet has sufficient PID available", "kubelet has insufficient PID available"]),
                ready_condition,
            ],
            "runtimeHandlers": [{"name": "", "features": {"recursiveReadOnlyMounts": false, "userNamespaces": false}}, {"name": "runc", "features": {"recursiveReadOnlyMounts": false, "userNamespaces": false}}],
        });
        (status, ready)
    }

    async fn write(&self, status: &Value, now: Timestamp) -> Result<(), Status> {
        let target = Target::object(NODES, None, &self.settings.name);
        let known = self.client.get(&target).await?.parse()?;
        let mut status = status.clone();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            let old = known.list_at(&["status", "conditions"]).iter().find(|c| c["type"] == condition["type"]);
            let since = old.filter(|c| c["status"] == condition["status"]).map(|c| c["lastTransitionTime"].clone());
            if condition["type"] == "Ready" && since.is_none() {
                let ready = condition["status"] == "True";
                let (reason, word) = if ready { ("NodeReady", "NodeReady") } else { ("NodeNotReady", "NodeNotReady") };
                self.recorder.node(&self.settings.name, false, reason, format!("Node {} status is now: {word}", self.settings.name));
            }
            condition["lastHeartbeatTime"] = json!(seconds(now));
            condition["lastTransitionTime"] = since.unwrap_or_else(|| json!(seconds(now)));
        }
        let mut patch = json!({"status": status});
        // Entries are merged by type: an address that went away must be told to go.
        let has_other = known.list_at(&["status", "addresses"]).iter().any(|a| !status["addresses"].as_array().is_some_and(|l| l.contains(a)));
        if has_other && let Some(list) = patch["status"]["addresses"].as_array_mut() {
            list.push(json!({"$patch": "replace"}));
        }
        self.client.patch(&target.subresource("status"), Patch::Strategic(patch), &WriteOptions::default()).await.map(drop)
    }

    async fn renew(&self) -> Result<(), Status> {
        let name = &self.settings.name;
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let target = Target::object(LEASES, Some("kube-node-lease"), name);
        let patch = Patch::Merge(json!({"spec": {"renewTime": now}}));
        match self.client.patch(&target, patch, &WriteOptions::default()).await {
            Err(e) if e.is(Reason::NotFound) => {}
            other => return other.map(drop),
        }
        let uid = self.own.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|n| n.metadata.uid.clone());
        let mut lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_LIFE_SECONDS, "renewTime": now},
        });
        if let Some(uid) = uid {
            lease["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}]);
        }
        let collection = Target::collection(LEASES, Some("kube-node-lease"));
        self.client.create(&collection, lease, &WriteOptions::default()).await.map(drop)
    }
}

fn node_info(runtime: &str) -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let os_release = read("/etc/os-release");
    let pretty = os_release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"').to_owned();
    json!({
        "machineID": read("/etc/machine-id"),
        "systemUUID": read("/etc/machine-id"),
        "bootID": read("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": read("/proc/sys/kernel/osrelease"),
        "osImage": pretty,
        "containerRuntimeVersion": runtime,
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": arch(),
    })
}

fn image_list(mut images: Vec<k8s_cri::v1::Image>) -> Value {
    images.sort_by_key(|i| std::cmp::Reverse(i.size));
    let listed = images.into_iter().take(MAX_IMAGES).map(|i| {
        let names: Vec<String> = i.repo_digests.into_iter().chain(i.repo_tags).take(5).collect();
        json!({"names": names, "sizeBytes": i.size})
    });
    Value::Array(listed.collect())
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
