//! `pintle server`: the control plane in the foreground. API server, plugins with their drivers, and the ingress data plane.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use pintle_api::Client;
use pintle_apiserver::auth::pki::Pki;
use pintle_apiserver::auth::{PLUGIN_USER_PREFIX, User};
use pintle_apiserver::{Config, Server, Storage};
use pintle_plugins::{Embedded, Manager, ManagerConfig, PolicyRule, World};
use serde::Deserialize;

use crate::access::AccessArgs;

const PLUGIN_MANAGER: &str = "system:pintle:plugin-manager";

#[derive(clap::Args, Debug)]
pub struct ServerArgs {
    /// Holds the store, the certificates and the plugins
    #[arg(long, default_value = "/var/lib/pintle/server")]
    pub data_dir: PathBuf,
    #[arg(long, default_value = "127.0.0.1:6443")]
    pub listen: SocketAddr,
    /// Under which nodes and pods reach the server; default: the address it listens on
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// Where to write the administrator's kubeconfig
    #[arg(long)]
    pub kubeconfig_out: Option<PathBuf>,
    /// `embedded`, or `etcd=URL,...`
    #[arg(long, default_value = "embedded")]
    pub storage: String,
    /// Address of the ingress data plane for http; none: no data plane
    #[arg(long, requires = "ingress_https")]
    pub ingress_http: Option<SocketAddr>,
    /// Address of the ingress data plane for https
    #[arg(long, requires = "ingress_http")]
    pub ingress_https: Option<SocketAddr>,
    /// Serve the API without any plugin: nothing is scheduled, no controller runs
    #[arg(long)]
    pub no_plugins: bool,
    #[command(flatten)]
    pub access: AccessArgs,
}

pub async fn run(args: ServerArgs) -> Result<()> {
    crate::log_to_stderr();
    let mut config = Config::new(&args.data_dir, args.listen);
    config.storage = storage(&args.storage)?;
    args.access.apply(&mut config)?;
    if let Some(address) = args.advertise_address {
        config.advertise_address = address;
    }
    let reached_at = SocketAddr::new(config.advertise_address, 0);
    let server = Arc::new(Server::start(config).await.context("starting the API server")?);
    if let Some(file) = &args.kubeconfig_out {
        let address = SocketAddr::new(reached_at.ip(), server.address().port());
        server.pki().write_admin_kubeconfig(file, &format!("https://{address}"))?;
    }
    tracing::info!(address = %server.address(), "the API server is ready");
    let plugins = if args.no_plugins { None } else { Some(start_plugins(&args, &server, reached_at.ip())?) };
    crate::until_stopped().await;
    tracing::info!("stopping");
    if let Some(plugins) = plugins {
        plugins.shutdown().await;
    }
    match Arc::try_unwrap(server) {
        Ok(server) => server.shutdown().await.context("closing the store"),
        Err(_) => anyhow::bail!("the API server is still in use"),
    }
}

fn start_plugins(args: &ServerArgs, server: &Arc<Server>, address: IpAddr) -> Result<pintle_plugins::Handle> {
    let client_of = {
        let server = Arc::downgrade(server);
        let fallback = server.upgrade().map(|s| s.local_client(plugin_user("")));
        move |plugin: &str| -> Arc<dyn Client> {
            match (server.upgrade(), &fallback) {
                (Some(server), _) => Arc::new(server.local_client(plugin_user(plugin))),
                (None, Some(client)) => Arc::new(client.clone()),
                (None, None) => unreachable!("the server lives while its plugins start"),
            }
        }
    };
    let handle = Manager::start(ManagerConfig {
        client: Arc::new(server.local_client(user(PLUGIN_MANAGER))),
        clients: Arc::new(client_of),
        data_dir: args.data_dir.clone(),
        embedded: embedded()?,
        // This very program, also when another has taken its place on disk.
        compiler: Some("/proc/self/exe".into()),
        ingress_addresses: if args.ingress_http.is_some() { vec![address.to_string()] } else { Vec::new() },
    })
    .context("starting the plugins")?;
    server.core().plugin_logs.serve_from(handle.log_reader());
    server.core().hooks.components.run_by(handle.admission());
    server.core().decisions.serve_from(crate::decisions::source(&handle));
    server.core().other_metrics.serve_from(handle.metrics_reader());
    if let (Some(http), Some(https)) = (args.ingress_http, args.ingress_https) {
        crate::ingress::start(http, https, handle.routes());
    }
    Ok(handle)
}

fn plugin_user(plugin: &str) -> User {
    user(&format!("{PLUGIN_USER_PREFIX}{plugin}"))
}

fn user(name: &str) -> User {
    User { name: name.to_owned(), groups: vec!["system:authenticated".to_owned()], ..User::default() }
}

/// What a `plugin.json` beside a default plugin says.
#[derive(Deserialize)]
struct Manifest {
    name: String,
    world: World,
    #[serde(default)]
    grants: Vec<PolicyRule>,
    #[serde(default)]
    config: serde_json::Value,
}

/// The default plugins inside this binary: (name, component, manifest).
static PLUGINS: &[(&str, &[u8], &str)] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

fn embedded() -> Result<Vec<Embedded>> {
    let load = |(name, bytes, manifest): &(&str, &'static [u8], &str)| {
        let manifest: Manifest = serde_json::from_str(manifest).with_context(|| format!("the manifest of {name}"))?;
        let config = if manifest.config.is_null() { String::new() } else { manifest.config.to_string() };
        Ok(Embedded { name: manifest.name, bytes: (*bytes).into(), world: manifest.world, grants: manifest.grants, config })
    };
    PLUGINS.iter().map(load).collect()
}

fn storage(text: &str) -> Result<Storage> {
    match text.split_once('=') {
        None if text == "embedded" => Ok(Storage::Embedded),
        Some(("etcd", urls)) if !urls.is_empty() => Ok(Storage::Etcd(urls.split(',').map(str::to_owned).collect())),
        _ => anyhow::bail!("--storage takes `embedded` or `etcd=URL,...`, not {text:?}"),
    }
}

/// A node's identity from the certificate authority of a server on this machine: its kubeconfig, and the serving certificate of its
/// kubelet beside it (`kubelet.crt`, `kubelet.key`, `ca.crt`).
pub fn issue_node_kubeconfig(server_dir: &Path, node: &str, address: &str, server: &str, kubeconfig: &Path) -> Result<()> {
    let address: IpAddr = address.parse().context("the node's address")?;
    let pki = Pki::load_authority(server_dir).context("the server's certificate authority")?;
    pki.write_node_kubeconfig(kubeconfig, server, node)?;
    let folder = kubeconfig.parent().context("a kubeconfig lies in a folder")?;
    let serving = pki.issue_node_server(node, &[address])?;
    pintle_apiserver::auth::pki::write(&folder.join("kubelet.crt"), &serving.certificate, 0o644)?;
    pintle_apiserver::auth::pki::write(&folder.join("kubelet.key"), &serving.key, 0o600)?;
    pintle_apiserver::auth::pki::write(&folder.join("ca.crt"), pki.ca_pem(), 0o644)?;
    Ok(())
}
