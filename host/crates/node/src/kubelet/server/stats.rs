//! Figures: the summary that metrics collectors read, and the same in Prometheus' text.

use http::StatusCode;
use jiff::Timestamp;
use k8s_cri::v1::ContainerStats;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::cri::{LABEL_CONTAINER, LABEL_NAMESPACE, LABEL_POD, LABEL_UID};
use super::super::recorder::seconds;
use super::{Answer, Server, json_answer, text};

pub async fn summary(server: &Server) -> Answer {
    let stats = match server.context.cri.container_stats().await {
        Ok(stats) => stats,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    let now = seconds(Timestamp::now());
    let mut pods: BTreeMap<(String, String, String), Vec<Value>> = BTreeMap::new();
    for one in &stats {
        let label = |name: &str| one.attributes.as_ref().and_then(|a| a.labels.get(name)).cloned().unwrap_or_default();
        pods.entry((label(LABEL_NAMESPACE), label(LABEL_POD), label(LABEL_UID))).or_default().push(json!({
            "name": label(LABEL_CONTAINER), "startTime": now,
            "cpu": {"time": now, "usageNanoCores": nano_cores(one), "usageCoreNanoSeconds": cpu_time(one)},
            "memory": {"time": now, "workingSetBytes": memory(one), "usageBytes": memory(one)},
            "rootfs": {"time": now, "usedBytes": one.writable_layer.as_ref().and_then(|w| w.used_bytes.as_ref()).map_or(0, |v| v.value)},
        }));
    }
    let listed: Vec<Value> = pods
        .into_iter()
        .map(|((namespace, name, uid), containers)| {
            let sum = |pointer: &str| containers.iter().filter_map(|c| c.pointer(pointer)?.as_u64()).sum::<u64>();
            json!({
                "podRef": {"name": name, "namespace": namespace, "uid": uid}, "startTime": now,
                "cpu": {"time": now, "usageNanoCores": sum("/cpu/usageNanoCores"), "usageCoreNanoSeconds": sum("/cpu/usageCoreNanoSeconds")},
                "memory": {"time": now, "workingSetBytes": sum("/memory/workingSetBytes")},
                "containers": containers,
            })
        })
        .collect();
    let (cpu_ns, used, available) = node_usage();
    let disk = rustix::fs::statvfs(server.context.paths.root()).ok();
    let fs = disk.map(|d| json!({"time": now, "capacityBytes": d.f_blocks * d.f_frsize, "availableBytes": d.f_bavail * d.f_frsize, "usedBytes": (d.f_blocks - d.f_bfree) * d.f_frsize, "inodes": d.f_files, "inodesFree": d.f_ffree, "inodesUsed": d.f_files - d.f_ffree}));
    json_answer(&json!({
        "node": {
            "nodeName": server.context.node_name, "startTime": now,
            "cpu": {"time": now, "usageNanoCores": 0, "usageCoreNanoSeconds": cpu_ns},
            "memory": {"time": now, "availableBytes": available, "usageBytes": used, "workingSetBytes": used, "rssBytes": used},
            "fs": fs, "runtime": {"imageFs": fs},
        },
        "pods": listed,
    }))
}

pub fn metrics(server: &Server) -> Answer {
    let states = server.table.all();
    let running = states.iter().flat_map(|s| s.containers.iter()).filter(|c| c.running_id().is_some()).count();
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, value: usize| {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}").ok();
    };
    gauge("kubelet_running_pods", "Number of pods that have a running pod sandbox", states.iter().filter(|s| s.sandbox_id().is_some()).count());
    gauge("kubelet_running_containers", "Number of containers currently running", running);
    gauge("kubelet_desired_pods", "Number of pods bound to this node", states.len());
    text(StatusCode::OK, &out)
}

pub async fn resource(server: &Server) -> Answer {
    let stats = server.context.cri.container_stats().await.unwrap_or_default();
    let (cpu_ns, used, _) = node_usage();
    let mut out = String::from("# TYPE container_cpu_usage_seconds_total counter\n");
    let labels = |one: &ContainerStats| {
        let label = |name: &str| one.attributes.as_ref().and_then(|a| a.labels.get(name)).cloned().unwrap_or_default();
        format!("container={:?},namespace={:?},pod={:?}", label(LABEL_CONTAINER), label(LABEL_NAMESPACE), label(LABEL_POD))
    };
    for one in &stats {
        writeln!(out, "container_cpu_usage_seconds_total{{{}}} {}", labels(one), cpu_time(one) as f64 / 1e9).ok();
    }
    out.push_str("# TYPE container_memory_working_set_bytes gauge\n");
    for one in &stats {
        writeln!(out, "container_memory_working_set_bytes{{{}}} {}", labels(one), memory(one)).ok();
    }
    writeln!(out, "# TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total {}", cpu_ns as f64 / 1e9).ok();
    writeln!(out, "# TYPE node_memory_working_set_bytes gauge\nnode_memory_working_set_bytes {used}").ok();
    text(StatusCode::OK, &out)
}

fn cpu_time(one: &ContainerStats) -> u64 {
    one.cpu.as_ref().and_then(|c| c.usage_core_nano_seconds.as_ref()).map_or(0, |v| v.value)
}

fn nano_cores(one: &ContainerStats) -> u64 {
    one.cpu.as_ref().and_then(|c| c.usage_nano_cores.as_ref()).map_or(0, |v| v.value)
}

fn memory(one: &ContainerStats) -> u64 {
    one.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref()).map_or(0, |v| v.value)
}

/// CPU time in nanoseconds, memory used and available in bytes, of the machine.
fn node_usage() -> (u64, u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> = stat.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|v| v.parse().ok()).collect();
    // user, nice, system, then idle and wait, which are no work; a tick is 10 ms.
    let busy: u64 = ticks.iter().take(3).sum();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name: &str| meminfo.lines().find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    let (total, available) = (kib("MemTotal:") << 10, kib("MemAvailable:") << 10);
    (busy * 10_000_000, total.saturating_sub(available), available)
}
