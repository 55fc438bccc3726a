//! `pintle server`: the control plane in the foreground. API server, plugins with their drivers, and the ingress data plane.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use pintle_api::Client;
use pintle_apiserver::auth::pki::Pki;
use pintle_apiserver::auth::{PLUGIN_USER_PREFIX, User};
use pintle_apiserver::{Config, LocalClient, Server, Storage};
use pintle_plugins::routes::RouteTable;
use pintle_plugins::source::signature::PublicKey;
use pintle_plugins::{EVERYWHERE, Embedded, Handle, Manager, ManagerConfig, ON_ONE, Peers, PluginMetrics, PolicyRule, StartError, World};
use serde::Deserialize;
use tokio::sync::watch;

use crate::access::AccessArgs;

const PLUGIN_MANAGER: &str = "system:pintle:plugin-manager";
/// For calls of plugins to finish when another server takes over, which is seconds away.
const PLUGINS_END: Duration = Duration::from_secs(3);

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
    /// Load only components that are signed with this key: ECDSA P-256 in PEM, as cosign's. May be given several times; those inside the
    /// binary need none
    #[arg(long, value_name = "FILE")]
    pub plugin_public_key: Vec<PathBuf>,
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
    if args.no_plugins {
        crate::until_stopped().await;
    } else {
        run_plugins(&args, &server, reached_at.ip()).await?;
    }
    tracing::info!("stopping");
    match Arc::try_unwrap(server) {
        Ok(server) => server.shutdown().await.context("closing the store"),
        Err(_) => anyhow::bail!("the API server is still in use"),
    }
}

/// Until the process is told to stop, runs the plugins: all of them, where this server is the only one; else admission policies on
/// each, and the others whenever this one leads.
async fn run_plugins(args: &ServerArgs, server: &Arc<Server>, address: IpAddr) -> Result<()> {
    let mut stopped = std::pin::pin!(crate::until_stopped());
    let (publish, tables) = watch::channel(Arc::new(pintle_plugins::routes::empty_table()));
    if let (Some(http), Some(https)) = (args.ingress_http, args.ingress_https) {
        crate::ingress::start(http, https, tables);
    }
    if !server.shares_store() {
        let plugins = start_plugins(args, server, address, Manager::start)?;
        serve_plugins(server, &plugins, None);
        tokio::select! {
            () = &mut stopped => {}
            () = forward(plugins.routes(), &publish) => {}
        }
        plugins.shutdown().await;
        return Ok(());
    }
    let metrics = Arc::<PluginMetrics>::default();
    let peers = Peers {
        address: SocketAddr::new(address, server.address().port()).to_string(),
        client: Arc::new(server.local_client(user(PLUGIN_MANAGER))),
        leads: server.leads(),
    };
    let policies = start_plugins(args, server, address, |config| Manager::start_for(config, EVERYWHERE, metrics.clone(), Some(peers)))?;
    let mut leads = server.leads();
    loop {
        serve_plugins(server, &policies, None);
        tokio::select! {
            () = &mut stopped => break,
            () = until(&mut leads, true) => {}
        }
        let plugins = start_plugins(args, server, address, |config| Manager::start_for(config, ON_ONE, metrics.clone(), None))?;
        serve_plugins(server, &policies, Some(&plugins));
        let stops = tokio::select! {
            () = &mut stopped => true,
            () = until(&mut leads, false) => false,
            () = forward(plugins.routes(), &publish) => false,
        };
        if tokio::time::timeout(PLUGINS_END, plugins.shutdown()).await.is_err() {
            tracing::warn!("plugins were still at work; what they write from now on is refused");
        }
        if stops {
            break;
        }
    }
    policies.shutdown().await;
    Ok(())
}

/// Requests are judged by `judges`; logs are those of either.
fn serve_plugins(server: &Server, judges: &Handle, more: Option<&Handle>) {
    server.core().hooks.components.run_by(judges.admission());
    let (first, second) = (judges.log_reader(), more.map(Handle::log_reader));
    let either = move |plugin: &str| first(plugin).or_else(|| second.as_ref()?(plugin));
    server.core().plugin_logs.serve_from(Arc::new(either));
    server.core().decisions.serve_from(crate::decisions::source(more.unwrap_or(judges)));
    // Those of `more` are among them.
    server.core().other_metrics.serve_from(judges.metrics_reader());
}

/// Returns when `leads` is as wanted, now or later; never where nobody can change it any more.
async fn until(leads: &mut watch::Receiver<bool>, wanted: bool) {
    if leads.wait_for(|leads| *leads == wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The data plane keeps the last table while no plugin runs here.
async fn forward(mut tables: watch::Receiver<Arc<RouteTable>>, publish: &watch::Sender<Arc<RouteTable>>) {
    while tables.changed().await.is_ok() {
        let table = tables.borrow_and_update().clone();
        publish.send_replace(table);
    }
    std::future::pending::<()>().await;
}

fn start_plugins(
    args: &ServerArgs,
    server: &Arc<Server>,
    address: IpAddr,
    start: impl FnOnce(ManagerConfig) -> Result<Handle, StartError>,
) -> Result<Handle> {
    let client_of = {
        let server = Arc::downgrade(server);
        let fallback = server.upgrade().map(|s| client(&s, plugin_user("")));
        move |plugin: &str| -> Arc<dyn Client> {
            match (server.upgrade(), &fallback) {
                (Some(server), _) => Arc::new(client(&server, plugin_user(plugin))),
                (None, Some(client)) => Arc::new(client.clone()),
                (None, None) => unreachable!("the server lives while its plugins start"),
            }
        }
    };
    let config = ManagerConfig {
        client: Arc::new(client(server, user(PLUGIN_MANAGER))),
        clients: Arc::new(client_of),
        data_dir: args.data_dir.clone(),
        embedded: embedded()?,
        // This very program, also when another has taken its place on disk.
        compiler: Some("/proc/self/exe".into()),
        required_keys: args.plugin_public_key.iter().map(|file| public_key(file)).collect::<Result<_>>()?,
        ingress_addresses: if args.ingress_http.is_some() { vec![address.to_string()] } else { Vec::new() },
    };
    start(config).context("starting the plugins")
}

/// Writes only while this server leads.
fn client(server: &Server, user: User) -> LocalClient {
    server.local_client(user).while_leading(server.leads())
}

fn public_key(file: &Path) -> Result<PublicKey> {
    let pem = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    PublicKey::parse(&pem).map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))
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

/// What `--storage` says.
pub fn storage(text: &str) -> Result<Storage> {
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
