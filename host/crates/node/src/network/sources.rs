//! What network, proxy and DNS of a node follow, each resource by one watch that they share.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use pintle_api::client::{Served, Target};
use pintle_api::{Client, GroupVersionResource};
use pintle_client::{Informer, Selectors};
use serde::Deserialize;

pub const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");
pub const SERVICES: GroupVersionResource = GroupVersionResource::constant("", "v1", "services");
pub const SLICES: GroupVersionResource = GroupVersionResource::constant("discovery.k8s.io", "v1", "endpointslices");

pub struct Sources {
    pub client: Arc<dyn Client>,
    pub nodes: Informer,
    pub services: Informer,
    pub slices: Informer,
}

/// What the data plane knows of a Node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub name: String,
    /// The first IPv4 InternalIP.
    pub address: Option<Ipv4Addr>,
    pub pod_cidr: Option<Ipv4Net>,
}

impl Sources {
    /// Must be called inside a tokio runtime.
    pub fn start(client: Arc<dyn Client>) -> Arc<Self> {
        let follow = |resource| Informer::start(client.clone(), Target::collection(resource, None), Selectors::default());
        Arc::new(Self { nodes: follow(NODES), services: follow(SERVICES), slices: follow(SLICES), client: client.clone() })
    }
}

#[derive(Deserialize)]
struct NodeObject {
    metadata: NodeMetadata,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Deserialize)]
struct NodeMetadata {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    addresses: Vec<NodeAddress>,
}

#[derive(Deserialize)]
struct NodeAddress {
    r#type: String,
    address: String,
}

/// `None`: it cannot be read.
pub fn read_node(served: &Served) -> Option<Node> {
    let object: NodeObject = served.parse_as().inspect_err(|error| tracing::warn!(%error, "a Node cannot be read")).ok()?;
    let internal = object.status.addresses.iter().filter(|a| a.r#type == "InternalIP");
    Some(Node {
        name: object.metadata.name,
        address: internal.filter_map(|a| a.address.parse().ok()).next(),
        pod_cidr: object.spec.pod_cidrs.iter().chain(&object.spec.pod_cidr).filter_map(|c| c.parse().ok()).next(),
    })
}
