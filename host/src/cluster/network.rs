//! The network between the nodes of one machine: a bridge in the namespace where `up` ran, and a namespace with a cable to it for
//! every node after the first. What happens inside a node (pods' bridge, routes, service rules) is the node's own work.

use anyhow::{Context, Result};

use super::layout::Layout;
use super::process::run;
use super::state::State;

pub const BRIDGE: &str = "pintle0";
/// Settings that routing between pods, nodes and services needs. The first node sets them too; what stood there before is known only here.
const SYSCTLS: &[(&str, &str)] = &[("net/ipv4/ip_forward", "1"), ("net/bridge/bridge-nf-call-iptables", "1")];

/// The address of the node with this ordinal, from 1.
pub fn node_address(ordinal: usize) -> String {
    format!("10.89.0.{ordinal}")
}

/// Makes the bridge and the settings of the namespace that this process runs in.
pub fn make_switch(state: &mut State) -> Result<()> {
    if run("ip", &["link", "show", BRIDGE]).is_err() {
        run("ip", &["link", "add", BRIDGE, "type", "bridge"])?;
        run("ip", &["addr", "add", &format!("{}/24", node_address(1)), "dev", BRIDGE])?;
    }
    run("ip", &["link", "set", "lo", "up"])?;
    run("ip", &["link", "set", BRIDGE, "up"])?;
    for (name, value) in SYSCTLS {
        let file = format!("/proc/sys/{name}");
        // Without br_netfilter there is none.
        if !std::path::Path::new(&file).exists() {
            continue;
        }
        let before = std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        if before.trim() != *value {
            std::fs::write(&file, value).with_context(|| format!("setting {file}"))?;
            state.sysctls.push(((*name).to_owned(), before.trim().to_owned()));
        }
    }
    Ok(())
}

/// A namespace of its own for a node, wired to the bridge. Does nothing where it stands already.
pub fn make_namespace(layout: &Layout, ordinal: usize) -> Result<String> {
    let name = layout.netns(ordinal);
    if std::path::Path::new("/run/netns").join(&name).exists() {
        return Ok(name);
    }
    let cable = format!("pn{ordinal}");
    run("ip", &["netns", "add", &name])?;
    run("ip", &["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
    run("ip", &["link", "set", &cable, "master", BRIDGE, "up"])?;
    // With bridge-nf-call-iptables a service's address is rewritten in the bridge: a client whose endpoint is on its own node gets there by
    // another node's port only if the bridge may send a packet back the way it came.
    run("ip", &["link", "set", &cable, "type", "bridge_slave", "hairpin", "on"])?;
    run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
    run("ip", &["-n", &name, "addr", "add", &format!("{}/24", node_address(ordinal)), "dev", "eth0"])?;
    run("ip", &["-n", &name, "link", "set", "eth0", "up"])?;
    run("ip", &["-n", &name, "route", "add", "default", "via", &node_address(1)])?;
    run("nsenter", &[&format!("--net=/run/netns/{name}"), "sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
    Ok(name)
}

/// Removes the namespaces and the bridge, and puts the settings back.
pub fn remove(state: &State) {
    for namespace in state.nodes.iter().filter_map(|n| n.netns.as_deref()) {
        let _ = run("ip", &["netns", "del", namespace]);
    }
    let _ = run("ip", &["link", "del", BRIDGE]);
    for (name, value) in &state.sysctls {
        let _ = std::fs::write(format!("/proc/sys/{name}"), value);
    }
}
