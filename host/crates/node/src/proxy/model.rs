//! Services and EndpointSlices as the proxy needs them: IPv4, one entry a service port, endpoints by port name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use pintle_api::client::Served;

use crate::services::{self, EndpointObject, Hint, SERVICE_NAME_LABEL, ServiceObject, ServiceSpec, SliceObject};

/// Services with this label belong to another proxy.
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// One port of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// `namespace/name:port`, or without the colon where the port has no name.
    pub name: String,
    pub port_name: String,
    pub protocol: Protocol,
    pub cluster_ip: Ipv4Addr,
    pub port: u16,
    pub node_port: Option<u16>,
    pub external_ips: Vec<Ipv4Addr>,
    /// Addresses of a load balancer that passes packets on as they are.
    pub balancer_ips: Vec<Ipv4Addr>,
    pub source_ranges: Vec<Ipv4Net>,
    /// Sticky clients, for this many seconds.
    pub affinity_seconds: Option<u32>,
    pub external_local: bool,
    pub internal_local: bool,
    pub health_check_port: Option<u16>,
}

/// What a Service is to the proxy: its ports, none where there is nothing to translate.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    pub ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub address: Ipv4Addr,
    pub port: u16,
    pub node: Option<String>,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub zone_hints: BTreeSet<String>,
    pub node_hints: BTreeSet<String>,
}

/// The part of one EndpointSlice that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    pub namespace: String,
    pub service: String,
    /// By port name and protocol.
    pub endpoints: BTreeMap<(String, Protocol), Vec<Endpoint>>,
}

/// Everything that rules are made from.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub node_name: String,
    pub node_address: Option<Ipv4Addr>,
    pub zone: String,
    /// By namespace and name.
    pub services: BTreeMap<(String, String), Arc<Service>>,
    /// By namespace and name of the service, then by the slice's own name.
    pub slices: BTreeMap<(String, String), BTreeMap<String, Arc<Slice>>>,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
    fn parse(name: Option<&str>) -> Option<Self> {
        match name.unwrap_or("TCP") {
            "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

impl ServicePort {
    pub fn is_external(&self) -> bool {
        self.node_port.is_some() || !self.external_ips.is_empty() || !self.balancer_ips.is_empty()
    }
    pub fn uses_cluster_endpoints(&self) -> bool {
        // Pods reach an external address of a Local service, too, by any endpoint.
        !self.internal_local || self.is_external()
    }
    pub fn uses_local_endpoints(&self) -> bool {
        self.internal_local || (self.external_local && self.is_external())
    }
}

impl Snapshot {
    /// The endpoints behind a service's port, each address once, in a lasting order.
    pub fn endpoints(&self, service: &Service, port: &ServicePort) -> Vec<&Endpoint> {
        let Some(slices) = self.slices.get(&(service.namespace.clone(), service.name.clone())) else { return Vec::new() };
        let key = (port.port_name.clone(), port.protocol);
        let mut found: BTreeMap<(Ipv4Addr, u16), &Endpoint> = BTreeMap::new();
        for endpoint in slices.values().filter_map(|s| s.endpoints.get(&key)).flatten() {
            // An endpoint that moves between slices may be in two of them for a moment: the better word counts.
            let entry = found.entry((endpoint.address, endpoint.port)).or_insert(endpoint);
            if endpoint.ready && !entry.ready {
                *entry = endpoint;
            }
        }
        found.into_values().collect()
    }
}

pub fn read_service(served: &Served) -> Option<Service> {
    let object: ServiceObject = services::parse(served)?;
    let mut service = Service { namespace: object.metadata.namespace, name: object.metadata.name, ports: Vec::new() };
    let spec = object.spec;
    let cluster_ip = spec.cluster_ips.iter().chain(&spec.cluster_ip).find_map(|ip| ip.parse::<Ipv4Addr>().ok());
    let (Some(cluster_ip), false) = (cluster_ip, object.metadata.labels.contains_key(PROXY_NAME_LABEL) || spec.kind == "ExternalName") else {
        return Some(service);
    };
    let is_balancer = spec.kind == "LoadBalancer";
    let balancer_ips: Vec<Ipv4Addr> = object
        .status
        .load_balancer
        .ingress
        .iter()
        .filter(|i| is_balancer && i.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|i| i.ip.as_deref()?.parse().ok())
        .collect();
    for port in spec.ports.iter().flatten() {
        let Some(protocol) = Protocol::parse(port.protocol.as_deref()) else { continue };
        let port_name = port.name.clone().unwrap_or_default();
        let colon = if port_name.is_empty() { "" } else { ":" };
        service.ports.push(ServicePort {
            name: format!("{}/{}{colon}{port_name}", service.namespace, service.name),
            port_name,
            protocol,
            cluster_ip,
            port: port.port,
            node_port: port.node_port.filter(|p| *p != 0),
            external_ips: spec.external_ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
            balancer_ips: balancer_ips.clone(),
            source_ranges: spec.load_balancer_source_ranges.iter().filter_map(|r| r.trim().parse().ok()).collect(),
            affinity_seconds: spec.affinity_seconds(),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            health_check_port: spec.health_check_node_port.filter(|p| *p != 0 && spec.external_traffic_policy.as_deref() == Some("Local")),
        });
    }
    Some(service)
}

/// `None`: nothing for this proxy (another address family, or no service named).
pub fn read_slice(served: &Served) -> Option<(String, Slice)> {
    let object: SliceObject = services::parse(served)?;
    let service = object.metadata.labels.get(SERVICE_NAME_LABEL)?.clone();
    if object.address_type != "IPv4" {
        return None;
    }
    let mut endpoints = BTreeMap::new();
    for port in object.ports.iter().flatten() {
        let (Some(number), Some(protocol)) = (port.port, Protocol::parse(port.protocol.as_deref())) else { continue };
        let list: Vec<Endpoint> = object.endpoints.iter().flatten().filter_map(|e| e.read(number)).collect();
        endpoints.entry((port.name.clone().unwrap_or_default(), protocol)).or_insert_with(Vec::new).extend(list);
    }
    Some((object.metadata.name, Slice { namespace: object.metadata.namespace, service, endpoints }))
}

impl ServiceSpec {
    fn affinity_seconds(&self) -> Option<u32> {
        if self.session_affinity.as_deref() != Some("ClientIP") {
            return None;
        }
        let given = self.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref()?.timeout_seconds);
        Some(given.unwrap_or(DEFAULT_AFFINITY_SECONDS))
    }
}

impl EndpointObject {
    fn read(&self, port: u16) -> Option<Endpoint> {
        let names = |list: Option<&Vec<Hint>>| list.into_iter().flatten().map(|h| h.name.clone()).collect();
        let ready = self.conditions.ready.unwrap_or(true);
        Some(Endpoint {
            address: self.addresses.first()?.parse().ok()?,
            port,
            node: self.node_name.clone(),
            ready,
            serving: self.conditions.serving.unwrap_or(ready),
            terminating: self.conditions.terminating.unwrap_or(false),
            zone_hints: names(self.hints.as_ref().and_then(|h| h.for_zones.as_ref())),
            node_hints: names(self.hints.as_ref().and_then(|h| h.for_nodes.as_ref())),
        })
    }
}
