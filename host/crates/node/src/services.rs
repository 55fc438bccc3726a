//! Services and EndpointSlices as they come over the wire: of their fields those that the proxy or DNS reads.
//!
//! Says nothing of what they mean: `proxy/model.rs` and `dns/model.rs` do, each for itself.

use std::collections::BTreeMap;

use pintle_api::client::Served;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Of a slice: whose endpoints it has.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// `None`, and a line in the log, for what cannot be read: the others count all the same.
pub fn parse<T: DeserializeOwned>(served: &Served) -> Option<T> {
    served.parse_as().inspect_err(|error| tracing::warn!(%error, kind = std::any::type_name::<T>(), "an object cannot be read")).ok()
}

#[derive(Deserialize)]
pub struct Metadata {
    pub name: String,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub struct ServiceObject {
    pub metadata: Metadata,
    #[serde(default)]
    pub spec: ServiceSpec,
    #[serde(default)]
    pub status: ServiceStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    pub external_name: Option<String>,
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    pub ports: Option<Vec<PortSpec>>,
    pub session_affinity: Option<String>,
    pub session_affinity_config: Option<AffinityConfig>,
    pub external_traffic_policy: Option<String>,
    pub internal_traffic_policy: Option<String>,
    pub load_balancer_source_ranges: Vec<String>,
    pub health_check_node_port: Option<u16>,
}

#[derive(Deserialize)]
pub struct AffinityConfig {
    #[serde(rename = "clientIP")]
    pub client_ip: Option<ClientIp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientIp {
    pub timeout_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortSpec {
    pub name: Option<String>,
    pub protocol: Option<String>,
    pub port: u16,
    pub node_port: Option<u16>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    pub load_balancer: BalancerStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct BalancerStatus {
    pub ingress: Vec<BalancerIngress>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BalancerIngress {
    pub ip: Option<String>,
    pub ip_mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SliceObject {
    pub metadata: Metadata,
    #[serde(default)]
    pub address_type: String,
    pub endpoints: Option<Vec<EndpointObject>>,
    pub ports: Option<Vec<EndpointPort>>,
}

#[derive(Deserialize)]
pub struct EndpointPort {
    pub name: Option<String>,
    pub port: Option<u16>,
    pub protocol: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointObject {
    #[serde(default)]
    pub addresses: Vec<String>,
    #[serde(default)]
    pub conditions: Conditions,
    pub hostname: Option<String>,
    pub node_name: Option<String>,
    pub hints: Option<Hints>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Conditions {
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hints {
    pub for_zones: Option<Vec<Hint>>,
    pub for_nodes: Option<Vec<Hint>>,
}

#[derive(Deserialize)]
pub struct Hint {
    pub name: String,
}
