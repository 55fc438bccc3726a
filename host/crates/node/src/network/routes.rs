//! Routes to the pods of the other nodes: one for each, through the node's own address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;

use super::interfaces::{ROUTE_PROTOCOL, allow_loopback_sources};
use super::{NetworkError, Node, SERVICE_CIDR, run};

pub type Routes = BTreeMap<Ipv4Net, Ipv4Addr>;

#[derive(Deserialize)]
struct Shown {
    dst: String,
    gateway: Option<Ipv4Addr>,
    dev: Option<String>,
}

pub fn wanted(others: &[&Node]) -> Routes {
    others.iter().filter_map(|n| Some((n.pod_cidr?, n.address?))).collect()
}

/// Adds, changes and removes until the kernel's routes of our kind are the wanted ones.
pub async fn apply(wanted: &Routes) -> Result<(), NetworkError> {
    let shown = show().await?;
    let present: Routes = shown.iter().filter_map(|r| Some((parse(&r.dst)?, r.gateway?))).collect();
    let mut first_error = None;
    for (cidr, via) in wanted.iter().filter(|(cidr, via)| present.get(cidr) != Some(via)) {
        let (cidr, via) = (cidr.to_string(), via.to_string());
        // One node that cannot be reached directly must not keep the others from being.
        if let Err(error) = run("ip", &["route", "replace", &cidr, "via", &via, "proto", ROUTE_PROTOCOL]).await {
            first_error.get_or_insert(error);
        }
    }
    for cidr in present.keys().filter(|c| !wanted.contains_key(c) && **c != SERVICE_CIDR) {
        let cidr = cidr.to_string();
        let _ = run("ip", &["route", "del", &cidr, "proto", ROUTE_PROTOCOL]).await;
    }
    let devices: BTreeSet<String> = if present == *wanted { devices(shown) } else { devices(show().await?) };
    for device in devices {
        allow_loopback_sources(&device)?;
    }
    first_error.map_or(Ok(()), Err)
}

fn devices(shown: Vec<Shown>) -> BTreeSet<String> {
    shown.into_iter().filter_map(|r| r.dev).collect()
}

async fn show() -> Result<Vec<Shown>, NetworkError> {
    let text = run("ip", &["-j", "-4", "route", "show", "proto", ROUTE_PROTOCOL]).await?;
    Ok(serde_json::from_str(if text.trim().is_empty() { "[]" } else { &text }).unwrap_or_default())
}

fn parse(destination: &str) -> Option<Ipv4Net> {
    destination.parse().ok().or_else(|| destination.parse::<Ipv4Addr>().ok().map(Ipv4Net::from))
}
