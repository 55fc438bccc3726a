//! The node's last word on a pod that was bound to it: does it fit, does it tolerate the node, may it have its sysctls.
//!
//! A pod that is refused ends as Failed with the reason; it is never moved from here.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::RwLock;

use super::context::Context;
use super::resources::{milli, pod_total, request_milli};
use super::state::{Outcome, PodState};

/// Sysctls that a pod may set without endangering its neighbours.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// The node's own object as last seen: labels and taints decide.
pub type OwnNode = Arc<RwLock<Option<Node>>>;

pub fn check(pod: &Pod, others: &[Arc<PodState>], context: &Context) -> Result<(), Outcome> {
    sysctls(pod)?;
    let active = active(pod, others);
    fits(pod, &active, context)?;
    ports_free(pod, &active)?;
    selected(pod, context)
}

/// The pods that hold something on this node.
fn active<'a>(pod: &Pod, others: &'a [Arc<PodState>]) -> Vec<&'a Arc<PodState>> {
    let holds = |s: &&Arc<PodState>| s.outcome.is_none() && !s.gone && !super::step::is_finished(s) && s.pod.metadata.uid != pod.metadata.uid;
    others.iter().filter(holds).collect()
}

/// Pods that name their node pass by the scheduler, so two may ask for one port.
fn ports_free(pod: &Pod, active: &[&Arc<PodState>]) -> Result<(), Outcome> {
    let wanted = host_ports(pod);
    let taken = active.iter().flat_map(|s| host_ports(&s.pod)).any(|used| wanted.iter().any(|w| clash(w, &used)));
    if !wanted.is_empty() && taken {
        return refuse(
            "NodePorts",
            "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports".into(),
        );
    }
    Ok(())
}

/// Port, protocol and address; an empty address is every one.
type HostPort = (i32, String, String);

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let bound = ports.filter_map(|p| {
        let address = p.host_ip.clone().filter(|a| a != "0.0.0.0").unwrap_or_default();
        Some((p.host_port.filter(|port| *port > 0)?, p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), address))
    });
    bound.collect()
}

fn clash(a: &HostPort, b: &HostPort) -> bool {
    a.0 == b.0 && a.1 == b.1 && (a.2.is_empty() || b.2.is_empty() || a.2 == b.2)
}

fn sysctls(pod: &Pod) -> Result<(), Outcome> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    for sysctl in spec.security_context.iter().flat_map(|c| c.sysctls.iter().flatten()) {
        let name = sysctl.name.replace('/', ".");
        let why = if !SAFE_SYSCTLS.contains(&name.as_str()) {
            "not allowlisted"
        } else if name.starts_with("net.") && spec.host_network == Some(true) {
            "not allowed with host net enabled"
        } else if name.starts_with("kernel.") && spec.host_ipc == Some(true) {
            "not allowed with host ipc enabled"
        } else {
            continue;
        };
        return refuse("SysctlForbidden", format!("forbidden sysctl: {name:?} {why}"));
    }
    Ok(())
}

fn fits(pod: &Pod, active: &[&Arc<PodState>], context: &Context) -> Result<(), Outcome> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let allowed = |name: &str| context.allocatable.get(name).map_or(i128::MAX, |q| milli(q));
    let most_pods = allowed("pods") / 1000;
    if active.len() as i128 + 1 > most_pods {
        let message = format!("Node didn't have enough resource: pods, requested: 1, used: {}, capacity: {most_pods}", active.len());
        return refuse("OutOfpods", message);
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        let asked = pod_total(spec, |c| request_milli(c, name));
        let of = |s: &&Arc<PodState>| s.pod.spec.as_ref().map_or(0, |spec| pod_total(spec, |c| request_milli(c, name)));
        let used: i128 = active.iter().map(of).sum();
        let capacity = allowed(name);
        if asked > 0 && used + asked > capacity {
            let unit = if name == "cpu" { 1 } else { 1000 };
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {}, used: {}, capacity: {}",
                asked / unit,
                used / unit,
                capacity / unit
            );
            return refuse(&format!("OutOf{name}"), message);
        }
    }
    Ok(())
}

fn selected(pod: &Pod, context: &Context) -> Result<(), Outcome> {
    let node = context.own_node.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (Some(node), Some(spec)) = (node.as_ref(), &pod.spec) else { return Ok(()) };
    let labels = node.metadata.labels.clone().unwrap_or_default();
    if spec.node_selector.iter().flatten().any(|(k, v)| labels.get(k) != Some(v)) {
        return refuse("NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".into());
    }
    let taints = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
    for taint in taints.iter().filter(|t| t.effect == "NoExecute") {
        let tolerated = spec.tolerations.iter().flatten().any(|t| {
            let key = t.key.as_deref().unwrap_or("");
            let same_value = t.operator.as_deref() == Some("Exists") || t.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("");
            (key.is_empty() || key == taint.key) && t.effect.as_deref().is_none_or(|e| e.is_empty() || e == taint.effect) && same_value
        });
        if !tolerated {
            let message = "Pod was rejected: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
            return refuse("TaintToleration", message.into());
        }
    }
    Ok(())
}

fn refuse(reason: &str, message: String) -> Result<(), Outcome> {
    Err(Outcome { reason: reason.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_ports_clash_on_every_address_or_the_same() {
        let port = |number: i32, protocol: &str, address: &str| (number, protocol.to_owned(), address.to_owned());
        assert!(clash(&port(80, "TCP", ""), &port(80, "TCP", "10.0.0.1")));
        assert!(!clash(&port(80, "TCP", "10.0.0.2"), &port(80, "TCP", "10.0.0.1")));
        assert!(!clash(&port(80, "UDP", ""), &port(80, "TCP", "")));
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [
            {"name": "a", "ports": [{"containerPort": 1, "hostPort": 80, "hostIP": "0.0.0.0"}, {"containerPort": 2}]}]}}))
        .expect("a pod");
        assert_eq!(host_ports(&pod), [port(80, "TCP", "")]);
    }
}
