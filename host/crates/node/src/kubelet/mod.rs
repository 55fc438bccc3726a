//! The kubelet: makes the runtime hold what the API says this node should run, and tells the API what it does.
//!
//! It acts on the API only through [`pintle_api::Client`], with the node's identity, and on containers only through
//! the runtime. It decides nothing about where pods go. `lib.rs` starts it.

mod admission;
pub mod cgroups;
mod check;
mod container_config;
mod context;
pub mod cri;
mod env;
mod follow;
mod hooks;
mod images;
mod logs;
mod mounts;
mod node;
mod paths;
mod pods;
mod probes;
mod recorder;
mod resources;
mod rotation;
mod runtime;
mod runtime_events;
mod sandbox_config;
mod server;
mod state;
mod status;
mod step;
mod tls;
mod tokens;
mod volumes;
mod worker;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use pintle_api::Client;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use cgroups::Cgroups;
use context::{Context, Owners, Services};
use cri::Cri;
use follow::Objects;
use images::Images;
use node::{Machine, NodeKeeper, NodeSettings};
use paths::Paths;
use recorder::Recorder;
use sandbox_config::{DnsSettings, parse_resolver};
use status::HostFacts;
use tokens::Tokens;
use volumes::Volumes;

/// Ended containers that may wait to be told to their workers.
const ENDED_QUEUE: usize = 1024;

/// What the kubelet is told; `lib.rs` makes it from the node's configuration.
pub struct KubeletConfig {
    pub node_name: String,
    pub client: Arc<dyn Client>,
    /// containerd's socket.
    pub runtime_endpoint: PathBuf,
    /// Holds everything that the kubelet writes.
    pub data_dir: PathBuf,
    /// Addresses that the node is reached at; the first is the main one.
    pub addresses: Vec<IpAddr>,
    pub port: u16,
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    /// Folder below every cgroup hierarchy, for example `pintle-1a2b/kubepods`.
    pub cgroup_root: String,
    /// The authority whose client certificates the server accepts.
    pub client_ca_pem: String,
    /// Certificate and key to serve with; `None`: one signed by itself.
    pub serving: Option<(String, String)>,
    pub pod_cidr: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub unschedulable: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    #[error("container runtime: {0}")]
    Runtime(#[from] cri::CriError),
    #[error("cannot prepare {0}: {1}")]
    Prepare(PathBuf, std::io::Error),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

/// Runs until `stop`. Containers keep running; the next start finds them again.
pub async fn run(config: KubeletConfig, stop: CancellationToken) -> Result<(), KubeletError> {
    let addresses: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
    let mut names = addresses.clone();
    names.push(config.node_name.clone());
    let serving = config.serving.as_ref().map(|(cert, key)| (cert.as_str(), key.as_str()));
    let tls = Arc::new(tls::server_config(&config.client_ca_pem, serving, names)?);
    let listen = SocketAddr::new(config.addresses.first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1])), config.port);
    let listener = TcpListener::bind(listen).await.map_err(|e| KubeletError::Listen(listen, e))?;

    let machine = Machine::measure(&config.data_dir);
    let context = Arc::new(make_context(&config, &machine).await?);
    context.volumes.prepare().map_err(|e| KubeletError::Prepare(context.paths.root().to_owned(), e))?;
    let keeper = NodeKeeper {
        client: context.client.clone(),
        cri: context.cri.clone(),
        recorder: context.recorder.clone(),
        settings: NodeSettings {
            name: config.node_name.clone(),
            addresses,
            port: config.port,
            pod_cidr: config.pod_cidr.clone(),
            labels: config.labels.clone(),
            unschedulable: config.unschedulable,
        },
        machine,
        data_dir: config.data_dir.clone(),
        own: context.own_node.clone(),
    };
    let table = pods::Table::default();
    let (ended_tx, ended) = mpsc::channel(ENDED_QUEUE);
    let server = Arc::new(server::Server { context: context.clone(), table: table.clone() });
    let node_work = async {
        keeper.register().await;
        tokio::join!(keeper.keep_status(), keeper.keep_lease())
    };
    tokio::select! {
        () = stop.cancelled() => {}
        _ = node_work => {}
        () = rotation::run(context.cri.clone(), table.clone(), context.paths.clone()) => {}
        () = pods::run(context.clone(), table, ended) => {}
        () = runtime_events::run(context.cri.channel(), ended_tx) => {}
        () = server::run(server, listener, tls) => {}
    }
    Ok(())
}

/// Removes every container, mount and cgroup that a kubelet with this data folder made. The runtime must still run.
pub async fn clean_up(runtime_endpoint: &std::path::Path, data_dir: &std::path::Path, cgroup_root: &str) -> Result<(), KubeletError> {
    let cri = Cri::connect(runtime_endpoint).await?;
    for sandbox in cri.sandboxes(None).await? {
        cri.stop_sandbox(&sandbox.id).await?;
        cri.remove_sandbox(&sandbox.id).await?;
    }
    clean_up_files(data_dir, cgroup_root);
    Ok(())
}

/// The part of [`clean_up`] that needs no runtime: mounts and cgroups.
pub fn clean_up_files(data_dir: &std::path::Path, cgroup_root: &str) {
    volumes::close(&Paths::new(data_dir));
    Cgroups::new(cgroup_root).remove_all();
}

async fn make_context(config: &KubeletConfig, machine: &Machine) -> Result<Context, KubeletError> {
    let client = config.client.clone();
    let cri = Cri::connect(&config.runtime_endpoint).await?;
    let recorder = Recorder::start(client.clone(), config.node_name.clone());
    let objects = Arc::new(Objects::new(client.clone()));
    let paths = Paths::new(&config.data_dir);
    let images = Arc::new(Images::new(cri.clone(), objects.clone(), recorder.clone()));
    let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    Ok(Context {
        node_name: config.node_name.clone(),
        cri,
        recorder,
        volumes: Volumes { paths: paths.clone(), client: client.clone(), images: images.clone(), runtime_endpoint: config.runtime_endpoint.clone() },
        images,
        objects,
        tokens: Tokens::new(client.clone()),
        paths,
        cgroups: Cgroups::new(&config.cgroup_root),
        dns: DnsSettings {
            servers: config.cluster_dns.iter().map(ToString::to_string).collect(),
            cluster_domain: config.cluster_domain.clone(),
            node: parse_resolver(&resolv),
        },
        host: HostFacts { ips: config.addresses.iter().map(ToString::to_string).collect() },
        services: Services::start(client.clone()),
        allocatable: machine.allocatable(),
        memory_bytes: i64::try_from(machine.memory_bytes).unwrap_or(i64::MAX),
        own_node: Arc::default(),
        owners: Owners::default(),
        client,
    })
}
