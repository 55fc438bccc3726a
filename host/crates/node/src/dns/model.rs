//! Services and EndpointSlices as DNS needs them.

use std::net::IpAddr;

use pintle_api::client::Served;

use crate::services::{self, EndpointObject, SERVICE_NAME_LABEL, ServiceObject, SliceObject};

#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    Cluster,
    Headless,
    /// The name that it stands for.
    External(String),
}

#[derive(Debug, PartialEq, Eq)]
pub struct DnsService {
    pub namespace: String,
    pub name: String,
    pub kind: Kind,
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<Port>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// `tcp`, `udp`, `sctp`.
    pub protocol: String,
    pub number: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub struct DnsSlice {
    pub namespace: String,
    pub service: String,
    pub endpoints: Vec<DnsEndpoint>,
    pub ports: Vec<Port>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct DnsEndpoint {
    pub address: IpAddr,
    /// The host name, or the address with dashes.
    pub label: String,
    /// Also true for endpoints that are published before they are ready: who writes the slices knows.
    pub ready: bool,
}

pub fn read_service(served: &Served) -> Option<DnsService> {
    let object: ServiceObject = services::parse(served)?;
    let spec = object.spec;
    let mut addresses: Vec<IpAddr> = spec.cluster_ips.iter().chain(&spec.cluster_ip).filter_map(|ip| ip.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let kind = match (spec.kind.as_str(), spec.external_name) {
        ("ExternalName", Some(target)) => Kind::External(target),
        _ if addresses.is_empty() => Kind::Headless,
        _ => Kind::Cluster,
    };
    let ports = spec.ports.into_iter().flatten().map(|p| read_port(p.name, p.protocol.as_deref(), p.port)).collect();
    Some(DnsService { namespace: object.metadata.namespace, name: object.metadata.name, kind, addresses, ports })
}

/// The slice's name, and what it says.
pub fn read_slice(served: &Served) -> Option<(String, DnsSlice)> {
    let object: SliceObject = services::parse(served)?;
    let service = object.metadata.labels.get(SERVICE_NAME_LABEL)?.clone();
    let endpoint = |e: EndpointObject| {
        let address: IpAddr = e.addresses.first()?.parse().ok()?;
        let label = e.hostname.filter(|h| !h.is_empty()).unwrap_or_else(|| address.to_string().replace(['.', ':'], "-")).to_ascii_lowercase();
        Some(DnsEndpoint { address, label, ready: e.conditions.ready.unwrap_or(true) })
    };
    let slice = DnsSlice {
        namespace: object.metadata.namespace,
        service,
        endpoints: object.endpoints.into_iter().flatten().filter_map(endpoint).collect(),
        ports: object.ports.into_iter().flatten().filter_map(|p| Some(read_port(p.name, p.protocol.as_deref(), p.port?))).collect(),
    };
    Some((object.metadata.name, slice))
}

fn read_port(name: Option<String>, protocol: Option<&str>, number: u16) -> Port {
    Port { name: name.unwrap_or_default(), protocol: protocol.unwrap_or("TCP").to_ascii_lowercase(), number }
}
