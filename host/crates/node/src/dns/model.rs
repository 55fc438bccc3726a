//! Services and EndpointSlices as DNS needs them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use pintle_api::client::Served;
use serde::Deserialize;

use crate::proxy::model::SERVICE_NAME_LABEL;

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
    let object: ServiceObject = served.parse_as().inspect_err(|error| tracing::warn!(%error, "a Service cannot be read")).ok()?;
    let spec = object.spec;
    let mut addresses: Vec<IpAddr> = spec.cluster_ips.iter().chain(&spec.cluster_ip).filter_map(|ip| ip.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let kind = match (spec.kind.as_str(), spec.external_name) {
        ("ExternalName", Some(target)) => Kind::External(target),
        _ if addresses.is_empty() => Kind::Headless,
        _ => Kind::Cluster,
    };
    Some(DnsService { namespace: object.metadata.namespace, name: object.metadata.name, kind, addresses, ports: spec.ports.into_iter().flatten().filter_map(PortObject::read).collect() })
}

/// The slice's name, and what it says.
pub fn read_slice(served: &Served) -> Option<(String, DnsSlice)> {
    let object: SliceObject = served.parse_as().inspect_err(|error| tracing::warn!(%error, "an EndpointSlice cannot be read")).ok()?;
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
        ports: object.ports.into_iter().flatten().filter_map(PortObject::read).collect(),
    };
    Some((object.metadata.name, slice))
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ServiceObject {
    metadata: Metadata,
    #[serde(default)]
    spec: ServiceSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ServiceSpec {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    external_name: Option<String>,
    ports: Option<Vec<PortObject>>,
}

#[derive(Deserialize)]
struct PortObject {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<u16>,
}

impl PortObject {
    fn read(self) -> Option<Port> {
        let protocol = self.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
        Some(Port { name: self.name.unwrap_or_default(), protocol, number: self.port? })
    }
}

#[derive(Deserialize)]
struct SliceObject {
    metadata: Metadata,
    endpoints: Option<Vec<EndpointObject>>,
    ports: Option<Vec<PortObject>>,
}

#[derive(Deserialize)]
struct EndpointObject {
    #[serde(default)]
    addresses: Vec<String>,
    hostname: Option<String>,
    #[serde(default)]
    conditions: Conditions,
}

#[derive(Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
}
