//! The pods' bridge and the kernel's switches that routing and service addresses need, in the process's network namespace.

use std::path::PathBuf;

use ipnet::Ipv4Net;

use super::{NetworkError, SERVICE_CIDR, run};

pub const BRIDGE: &str = "cni0";
/// Marks the routes that are ours (`/etc/iproute2/rt_protos` leaves this number free).
pub const ROUTE_PROTOCOL: &str = "137";

/// Forwarding; and bridged packets pass through iptables, or a pod's answer to a neighbour that asked by a service address
/// would go around the translation back.
pub fn set_kernel_switches() -> Result<(), NetworkError> {
    set("net/ipv4/ip_forward", "1")?;
    if !PathBuf::from("/proc/sys/net/bridge/bridge-nf-call-iptables").exists() {
        // Where it is a module; built in, or refused, this changes nothing.
        let _ = std::process::Command::new("modprobe").arg("br_netfilter").output();
    }
    match set("net/bridge/bridge-nf-call-iptables", "1") {
        Err(NetworkError::File { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!("the kernel has no br_netfilter: a pod cannot reach a pod of the same node by a service address");
            Ok(())
        }
        done => done,
    }
}

/// Makes the bridge with the first address of the range; the CNI plugin then finds it as it would have made it.
pub async fn make_bridge(cidr: Ipv4Net) -> Result<(), NetworkError> {
    if run("ip", &["link", "show", "dev", BRIDGE]).await.is_err() {
        run("ip", &["link", "add", BRIDGE, "type", "bridge"]).await?;
    }
    let first = cidr.hosts().next().unwrap_or(cidr.addr());
    let address = format!("{first}/{}", cidr.prefix_len());
    let present = run("ip", &["-o", "-4", "addr", "show", "dev", BRIDGE]).await?;
    for other in addresses(&present).filter(|a| *a != address) {
        run("ip", &["addr", "del", other, "dev", BRIDGE]).await?;
    }
    if !addresses(&present).any(|a| a == address) {
        run("ip", &["addr", "add", &address, "brd", "+", "dev", BRIDGE]).await?;
    }
    run("ip", &["link", "set", BRIDGE, "up"]).await?;
    allow_loopback_sources(BRIDGE)
}

/// A connection to a NodePort of 127.0.0.1 leaves through this device before its source is rewritten.
pub fn allow_loopback_sources(device: &str) -> Result<(), NetworkError> {
    set(&format!("net/ipv4/conf/{device}/route_localnet"), "1")
}

/// Without any route to service addresses the kernel refuses a connection before the rules could translate it.
pub async fn ensure_service_route() -> Result<(), NetworkError> {
    let first = SERVICE_CIDR.hosts().next().unwrap_or(SERVICE_CIDR.addr()).to_string();
    if run("ip", &["route", "get", &first]).await.is_ok() {
        return Ok(());
    }
    run("ip", &["route", "replace", &SERVICE_CIDR.to_string(), "dev", BRIDGE, "proto", ROUTE_PROTOCOL]).await.map(|_| ())
}

/// The addresses in the one-line form of `ip addr`.
fn addresses(lines: &str) -> impl Iterator<Item = &str> {
    lines.lines().filter_map(|l| l.split_whitespace().skip_while(|w| *w != "inet").nth(1))
}

fn set(name: &str, value: &str) -> Result<(), NetworkError> {
    let path = PathBuf::from("/proc/sys").join(name);
    let file_error = |error| NetworkError::File { path: path.clone(), error };
    let present = std::fs::read_to_string(&path).map_err(file_error)?;
    if present.trim() == value {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(file_error)
}
