//! `pintle node`: a node in the foreground. Ties the kubeconfig's identity to the node crate.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use pintle_client::HttpClient;
use pintle_client::kubeconfig::Kubeconfig;
use pintle_node::NodeConfig;

#[derive(clap::Args, Debug)]
pub struct NodeArgs {
    /// Says where the API server is, and who this node is
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Holds everything that the node writes
    #[arg(long, default_value = "/var/lib/pintle/node")]
    pub data_dir: PathBuf,
    /// A CRI socket that already serves; none: a containerd of the node's own
    #[arg(long)]
    pub runtime_endpoint: Option<String>,
    /// Default: the machine's host name
    #[arg(long)]
    pub node_name: Option<String>,
    /// Default: the address from which this machine reaches the API server
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// The cgroup above those of the pods
    #[arg(long)]
    pub cgroup_root: Option<String>,
    /// Archive of an image that must be there before the node is Ready
    #[arg(long = "preload-image", value_name = "FILE")]
    pub preload_images: Vec<PathBuf>,
    /// Leave the node's own containerd running when the node stops
    #[arg(long)]
    pub keep_runtime: bool,
    #[arg(long, default_value_t = 10250)]
    pub kubelet_port: u16,
}

pub async fn run(args: NodeArgs) -> Result<()> {
    crate::log_to_stderr();
    if !rustix::process::geteuid().is_root() {
        bail!("a node needs root");
    }
    let config = Kubeconfig::load(&args.kubeconfig).context("reading the kubeconfig")?;
    let folder = args.kubeconfig.parent().unwrap_or(Path::new("."));
    let ca_pem = config.ca_pem.clone().context("the kubeconfig has no certificate authority")?;
    let client_ca_pem = String::from_utf8(ca_pem).context("the certificate authority is PEM text")?;
    let name = match args.node_name {
        Some(name) => name,
        None => rustix::system::uname().nodename().to_string_lossy().to_lowercase(),
    };
    let address = match args.node_ip {
        Some(address) => address,
        None => address_towards(&config.server).context("finding this node's address; give it with --node-ip")?,
    };
    std::fs::create_dir_all(&args.data_dir)?;
    let data_dir = args.data_dir.canonicalize()?;
    let client = Arc::new(HttpClient::new(&config)?);
    let mut node = NodeConfig::new(&name, &data_dir, client, address, client_ca_pem);
    node.runtime_endpoint = args.runtime_endpoint.map(|e| PathBuf::from(e.trim_start_matches("unix://")));
    node.kubelet_port = args.kubelet_port;
    node.preload = args.preload_images;
    node.keep_runtime = args.keep_runtime;
    if let Some(root) = args.cgroup_root {
        node.cgroup_root = root;
    }
    let pair = (std::fs::read_to_string(folder.join("kubelet.crt")), std::fs::read_to_string(folder.join("kubelet.key")));
    if let (Ok(certificate), Ok(key)) = pair {
        node.serving = Some((certificate, key));
    }
    let stop = node.stop.clone();
    tokio::spawn(async move {
        crate::until_stopped().await;
        stop.cancel();
    });
    tracing::info!(node = name, %address, "starting");
    pintle_node::run(node).await.context("the node failed")
}

/// The local address of a route to the server; nothing is sent.
fn address_towards(server: &str) -> Result<IpAddr> {
    let uri: http::Uri = server.parse().context("the server's address")?;
    let host = uri.host().context("the server's address has no host")?;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((host, uri.port_u16().unwrap_or(443)))?;
    Ok(socket.local_addr()?.ip())
}
