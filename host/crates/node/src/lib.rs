//! One node of a cluster: its container runtime, kubelet, service proxy, DNS server and pod network.
//!
//! Acts on the API only through [`pintle_api::Client`] with the identity `system:node:NAME`, in process or over the
//! network, and makes no decision about where pods run. The `pintle` binary calls [`run`], one task or process a node.

pub mod containerd;
pub mod dns;
pub mod kubelet;
pub mod network;
pub mod proxy;
mod services;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pintle_api::Client;
use tokio_util::sync::CancellationToken;

use containerd::{Containerd, ContainerdConfig, ContainerdError};
use kubelet::{KubeletConfig, KubeletError};

/// The address that pods find DNS at unless told otherwise.
pub const DEFAULT_CLUSTER_DNS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 10));
pub const DEFAULT_KUBELET_PORT: u16 = 10250;

/// Everything that a node is told. Make it with [`NodeConfig::new`] and change what differs.
pub struct NodeConfig {
    pub name: String,
    /// Holds everything that the node writes.
    pub data_dir: PathBuf,
    /// The API, as `system:node:NAME`.
    pub client: Arc<dyn Client>,
    /// A container runtime that already runs; `None`: a containerd of the node's own.
    pub runtime_endpoint: Option<PathBuf>,
    /// Addresses of this node, the main one first.
    pub addresses: Vec<IpAddr>,
    pub kubelet_port: u16,
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    /// The authority whose client certificates the kubelet's server accepts.
    pub client_ca_pem: String,
    /// Certificate and key that the kubelet's server shows; `None`: one signed by itself.
    pub serving: Option<(String, String)>,
    pub pod_cidr: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub unschedulable: bool,
    /// Cgroup folder for pods, below every hierarchy.
    pub cgroup_root: String,
    /// Where the runtime finds CNI configuration.
    pub cni_conf_dir: PathBuf,
    /// Image archives that must be on the node before it is ready.
    pub preload: Vec<PathBuf>,
    /// Leaves the node's own containerd running when the node stops.
    pub keep_runtime: bool,
    /// Ends the node; its containers keep running.
    pub stop: CancellationToken,
}

impl NodeConfig {
    pub fn new(name: &str, data_dir: &Path, client: Arc<dyn Client>, address: IpAddr, client_ca_pem: String) -> Self {
        Self {
            name: name.to_owned(),
            data_dir: data_dir.to_owned(),
            client,
            runtime_endpoint: None,
            addresses: vec![address],
            kubelet_port: DEFAULT_KUBELET_PORT,
            cluster_dns: vec![DEFAULT_CLUSTER_DNS],
            cluster_domain: "cluster.local".into(),
            client_ca_pem,
            serving: None,
            pod_cidr: None,
            labels: BTreeMap::new(),
            unschedulable: false,
            cgroup_root: default_cgroup_root(data_dir, name),
            cni_conf_dir: data_dir.join("cni/net.d"),
            preload: Vec::new(),
            keep_runtime: false,
            stop: CancellationToken::new(),
        }
    }

    /// The runtime's socket, the node's own or the given one.
    pub fn runtime_socket(&self) -> PathBuf {
        self.runtime_endpoint.clone().unwrap_or_else(|| containerd::socket_path(&self.data_dir))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    #[error("kubelet: {0}")]
    Kubelet(#[from] KubeletError),
    #[error("network: {0}")]
    Network(#[from] network::NetworkError),
    #[error("cannot make {0}: {1}")]
    Folder(PathBuf, std::io::Error),
}

/// One node in the foreground, until `config.stop` is cancelled or a part of it fails.
pub async fn run(config: NodeConfig) -> Result<(), NodeError> {
    for dir in [&config.data_dir, &config.cni_conf_dir] {
        std::fs::create_dir_all(dir).map_err(|e| NodeError::Folder(dir.clone(), e))?;
    }
    // The pod network comes first: the runtime reports itself ready once it finds the configuration.
    let tool = network::Tool::choose().await.map_err(network::NetworkError::from)?;
    let sources = network::Sources::start(config.client.clone());
    let _network = network::start(&config, &sources, &tool);
    let _proxy = proxy::start(&config, &sources, &tool);
    let _dns = dns::start(&config, &sources);
    let own = match &config.runtime_endpoint {
        Some(_) => None,
        None => Some(Containerd::start(ContainerdConfig::new(&config.data_dir, &config.cni_conf_dir)).await?),
    };
    let socket = config.runtime_socket();
    for archive in &config.preload {
        containerd::import_image(&socket, archive).await?;
    }
    let kubelet = kubelet::run(
        KubeletConfig {
            node_name: config.name.clone(),
            client: config.client.clone(),
            runtime_endpoint: socket,
            data_dir: config.data_dir.clone(),
            addresses: config.addresses.clone(),
            port: config.kubelet_port,
            cluster_dns: config.cluster_dns.clone(),
            cluster_domain: config.cluster_domain.clone(),
            cgroup_root: config.cgroup_root.clone(),
            client_ca_pem: config.client_ca_pem.clone(),
            serving: config.serving.clone(),
            pod_cidr: config.pod_cidr.clone(),
            labels: config.labels.clone(),
            unschedulable: config.unschedulable,
        },
        config.stop.child_token(),
    );
    let result = kubelet.await;
    if let Some(own) = own.filter(|_| !config.keep_runtime) {
        own.stop().await;
    }
    Ok(result?)
}

/// Removes what a node with this data folder made on the machine: containers, mounts, cgroups, its containerd.
/// For `pintle down`; the node itself must no longer run.
pub async fn clean_up(name: &str, data_dir: &Path, runtime_endpoint: Option<&Path>) -> Result<(), NodeError> {
    let root = default_cgroup_root(data_dir, name);
    match runtime_endpoint {
        Some(socket) => kubelet::clean_up(socket, data_dir, &root).await?,
        None if !data_dir.join("containerd").exists() => kubelet::clean_up_files(data_dir, &root),
        None => {
            let own = Containerd::start(ContainerdConfig::new(data_dir, &data_dir.join("cni/net.d"))).await?;
            let result = kubelet::clean_up(own.socket(), data_dir, &root).await;
            own.stop().await;
            result?;
        }
    }
    Ok(())
}

/// A name that no other node of the machine has: from the data folder's path.
pub fn default_cgroup_root(data_dir: &Path, name: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(data_dir.to_string_lossy().as_bytes());
    let id: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("pintle-{id}-{name}/kubepods")
}
