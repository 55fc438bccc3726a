//! Puts the server together: storage, cache, registry, authentication, listener.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use pintle_api::GroupVersionResource;
use pintle_registry::{self, Strategy};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::LocalClient;
use crate::admission::Chain;
use crate::admission::pod_security::PodSecurity;
use crate::admission::webhook::Hooks;
use crate::aggregation::Extensions;
use crate::apiservices;
use crate::auth::{Auth, Pki, ServerNames, Settings, User, shared_keys};
use crate::bookkeeping::leader::Candidate;
use crate::bookkeeping::{self, Bookkeeping, servers};
use crate::cache::Cache;
use crate::config::Config;
use crate::encryption;
use crate::handlers::Core;
use crate::http::serve::Front;
use crate::lookup::SharedLookup;
use crate::resources::Table;
use crate::storage::open_store;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("storage: {0}")]
    Store(#[from] pintle_store::Error),
    #[error("the cluster's keys: {0}")]
    SharedKeys(#[from] crate::auth::shared_keys::AgreeError),
    #[error("certificates: {0}")]
    Pki(#[from] crate::auth::pki::PkiError),
    #[error("service account key: {0}")]
    Key(#[from] crate::auth::tokens::KeyError),
    #[error("cannot listen on {address}: {why}")]
    Listen { address: SocketAddr, why: std::io::Error },
    #[error("{path}: {why}")]
    DataDir { path: PathBuf, why: std::io::Error },
    #[error(transparent)]
    Encryption(#[from] encryption::ConfigError),
    #[error(transparent)]
    Audit(#[from] crate::audit::AuditError),
    #[error("{0}")]
    Bootstrap(#[from] pintle_api::Status),
}

pub struct Server {
    core: Arc<Core>,
    auth: Arc<Auth>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    listener: JoinHandle<()>,
    leads: watch::Receiver<bool>,
    election: Option<JoinHandle<()>>,
    bookkeeping: Bookkeeping,
    definitions: JoinHandle<()>,
    aggregation: JoinHandle<()>,
    compaction: JoinHandle<()>,
}

impl Server {
    pub async fn start(config: Config) -> Result<Self, StartError> {
        std::fs::create_dir_all(&config.data_dir).map_err(|why| StartError::DataDir { path: config.data_dir.clone(), why })?;
        let listener = TcpListener::bind(config.listen).await.map_err(|why| StartError::Listen { address: config.listen, why })?;
        let address = listener.local_addr().map_err(|why| StartError::Listen { address: config.listen, why })?;
        let names = ServerNames { advertise: config.advertise_address, service: config.service_address(), extra: config.extra_names.clone() };
        let store = open_store(&config.storage, &config.data_dir).await?;
        shared_keys::agree(&*store, &config.data_dir).await?;
        let pki = Arc::new(Pki::load_or_create(&config.data_dir, &names)?);
        let store = encryption::layer(store, &config.encryption)?;
        let cache = Cache::open(store, config.limits).await?;
        let strategies = pintle_registry::all().into_iter().map(|s| (Arc::<dyn Strategy>::from(s), false));
        let resources = Arc::new(ArcSwap::from_pointee(Table::new(strategies, &cache)));
        let objects = Arc::new(SharedLookup { cache: cache.clone(), resources: resources.clone() });
        let external = SocketAddr::new(config.advertise_address, address.port());
        let settings = Settings {
            issuer: config.issuer.clone(),
            audiences: vec![config.issuer.clone()],
            external_url: format!("https://{external}"),
            anonymous: config.anonymous.clone(),
        };
        let auth = Auth::new(pki.clone(), settings, objects, &config.oidc)?;
        observe(&auth, &cache, &resources.load());
        let hooks = Hooks::observing(&cache, &resources.load());
        let extensions = Extensions::observing(&cache, &resources.load(), pki.clone());
        let core = Arc::new(Core {
            cache,
            resources,
            allocators: Arc::new(pintle_registry::allocator::Allocators::over(config.service_cidr)),
            pod_security: PodSecurity { configuration: config.pod_security.clone(), tally: Default::default() },
            admission: Chain::standard(),
            hooks,
            ends: AtomicBool::new(false),
            extensions,
            authenticator: auth.clone(),
            authorizer: auth.clone(),
            special: crate::handlers::special::all(&auth),
            plugin_logs: Default::default(),
            decisions: Default::default(),
            other_metrics: Default::default(),
            audit: crate::audit::Audit::open(&config.audit)?,
            kubelet_tls: pki.kubelet_client_config().ok().map(Arc::new),
        });
        take_allocated(&core, &auth);
        let context = bookkeeping::Context::new(&core, &auth, &config, external);
        bookkeeping::bootstrap(&context).await?;
        crate::custom::load(&core, !core.cache.store().is_shared()).await?;
        let (stop, stopped) = watch::channel(false);
        let (leads, election) = stand_for_election(&core, external, &stopped);
        let definitions = tokio::spawn(crate::custom::run(core.clone(), leads.clone()));
        let (extensions, own) = (apiservices::run(core.clone()), apiservices::register(core.clone()));
        let documented = apiservices::document(core.clone());
        let aggregation = tokio::spawn(async { tokio::join!(extensions, documented, own).0 });
        let client = LocalClient::new(core.clone(), User::loopback()).while_leading(leads.clone()).reaching_beyond();
        let bookkeeping = bookkeeping::start(bookkeeping::Context { client: Arc::new(client), ..context }, leads.clone());
        let compaction = tokio::spawn(crate::cache::forget_history(core.cache.store().clone(), leads.clone()));
        let front = Front::new(core.clone(), Arc::new(pki.server_config()?), external.to_string());
        let listener = tokio::spawn(front.run(listener, stopped));
        Ok(Self { core, auth, address, stop, listener, leads, election, bookkeeping, definitions, aggregation, compaction })
    }

    /// Acts in process with an identity, through the same checks as a request.
    pub fn local_client(&self, user: User) -> LocalClient {
        LocalClient::new(self.core.clone(), user)
    }
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    pub fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }
    pub fn pki(&self) -> &Pki {
        &self.auth.pki
    }
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Whether other servers may have the same store.
    pub fn shares_store(&self) -> bool {
        self.core.cache.store().is_shared()
    }

    /// Whether this is the one server of the cluster on which schedulers, controllers and bookkeeping run.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.clone()
    }

    /// Ends watches and open requests, then the store.
    pub async fn shutdown(self) -> Result<(), pintle_store::Error> {
        self.core.ends.store(true, Ordering::Relaxed);
        drop(self.bookkeeping);
        self.stop.send_replace(true);
        let _ = self.listener.await;
        if let Some(election) = self.election {
            let _ = election.await;
        }
        self.definitions.abort();
        self.aggregation.abort();
        self.compaction.abort();
        if let Some(audit) = self.core.audit.clone() {
            let _ = tokio::task::spawn_blocking(move || audit.close()).await;
        }
        self.core.cache.store().close().await
    }
}

/// A server with a store of its own leads from the start and writes no lease; others begin when they hold it.
fn stand_for_election(core: &Arc<Core>, address: SocketAddr, stop: &watch::Receiver<bool>) -> (watch::Receiver<bool>, Option<JoinHandle<()>>) {
    let shared = core.cache.store().is_shared();
    let (tell, leads) = watch::channel(!shared);
    let candidate = shared.then(|| {
        let client = Arc::new(LocalClient::new(core.clone(), User::loopback()));
        let announced = servers::announce(client.clone(), address, stop.clone());
        let elected = Candidate::new(client, &address.to_string(), tell).run(stop.clone());
        tokio::spawn(async {
            tokio::join!(announced, elected);
        })
    });
    (leads, candidate)
}

/// Addresses and node ports that stored services hold are taken before the first write; those that other servers give out
/// afterwards, too.
fn take_allocated(core: &Core, auth: &Auth) {
    const SERVICES: GroupVersionResource = GroupVersionResource::constant("", "v1", "services");
    let table = core.resources.load();
    match table.find(&SERVICES).filter(|_| core.cache.store().is_shared()) {
        Some(services) => {
            let allocators = core.allocators.clone();
            core.cache.observe(&services.slot, Arc::new(move |namespace, name, service| allocators.observe(namespace, name, service)));
        }
        None => core.allocators.rebuild(auth.objects.list(&SERVICES, None).iter().map(|service| &**service)),
    }
}

/// Keeps the authorizer's indexes in step with the cache.
fn observe(auth: &Arc<Auth>, cache: &Cache, table: &Table) {
    let observe = |gvr: GroupVersionResource| {
        let Some(resource) = table.find(&gvr) else { return };
        let auth = auth.clone();
        let (group, name) = (gvr.group.to_string(), gvr.resource.to_string());
        cache.observe(&resource.slot, Arc::new(move |namespace, object_name, object| auth.observe(&group, &name, namespace, object_name, object)));
    };
    Auth::OBSERVED.into_iter().for_each(observe);
}
