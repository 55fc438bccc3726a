//! Follows the Plugin objects and makes the running plugins match: one actor for each, see [`crate::actor`].
//!
//! Starts the drivers' shared parts, and creates the Plugin objects of the embedded components once in the life of a cluster:
//! one that an operator deletes stays deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pintle_api::admission::Policies;
use pintle_api::client::{Client, Patch, Target, WriteOptions};
use pintle_api::object::ObjectExt as _;
use pintle_api::{GroupVersionResource, Reason, Status};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::actor::Actor;
use crate::compiler::Compiler;
use crate::decisions::{Bounds, Decisions, Log};
use crate::engine::{EngineError, Machine};
use crate::events::Recorder;
use crate::grants::PolicyRule;
use crate::guest::{LogLine, PluginLog};
use crate::index::{Entry, Informer, Informers, Listener, Subject};
use crate::load::World;
use crate::plugin::{API_VERSION, KIND, LimitsSpec, PLUGINS, ProfileSpec, Source, Spec};
use crate::shared::{Clients, Shared, raised};
use crate::source::signature::PublicKey;
use crate::source::{Bytes, Components, Sources};
use crate::stages::identity;
use crate::stages::metrics::Metrics;
use crate::stages::peers::Peers;
use crate::stages::spec::RollbackSpec;

/// Before an attempt to create the Plugins of embedded components is made again.
const SEED_RETRY: Duration = Duration::from_millis(200);
const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
/// Namespace and name of the ConfigMap whose keys are the embedded components that the cluster had.
const MEMORY: (&str, &str) = ("kube-system", "pintle-embedded-plugins");

pub struct ManagerConfig {
    /// Acts as `system:pintle:plugin-manager`: reads Plugins and everything that plugins watch, writes Plugin status and events.
    pub client: Arc<dyn Client>,
    /// Makes the client that acts as `system:pintle:plugin:NAME`.
    pub clients: Clients,
    /// Components and compiled files go below `DATA-DIR/plugins`.
    pub data_dir: PathBuf,
    pub embedded: Vec<Embedded>,
    /// The program that compiles components, as [`crate::compiler`] says; none: this process does.
    pub compiler: Option<PathBuf>,
    /// Every component that is not inside the binary must be signed with each of these.
    pub required_keys: Vec<PublicKey>,
    /// What served Ingresses get as `status.loadBalancer.ingress[].ip`.
    pub ingress_addresses: Vec<String>,
}

/// A component inside the binary, and the Plugin object that it becomes.
pub struct Embedded {
    pub name: String,
    pub bytes: Bytes,
    pub world: World,
    pub grants: Vec<PolicyRule>,
    pub config: String,
}

pub struct Manager;

/// Those whose plugins run on every server of a cluster: requests are judged where they arrive.
pub const EVERYWHERE: &[World] = &[World::Admission];
/// Those whose plugins run on one server at a time.
pub const ON_ONE: &[World] = &[World::Scheduler, World::Controller, World::Ingress];
const ALL: &[World] = &[World::Admission, World::Scheduler, World::Controller, World::Ingress];

/// Keeps the plugins running. Dropping it stops them at once; [`Handle::shutdown`] lets calls finish.
pub struct Handle {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    logs: Logs,
    routes: watch::Receiver<Arc<crate::ingress::RouteTable>>,
    admission: Arc<dyn Policies>,
    decisions: Decisions,
    metrics: Arc<Metrics>,
}

/// What plugins cost, as Prometheus text.
pub type MetricsReader = Arc<dyn Fn() -> String + Send + Sync>;
/// Plugin's name to the text of its log.
pub type LogReader = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

type Logs = Arc<Mutex<HashMap<String, Arc<PluginLog>>>>;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the folder of components {0}: {1}")]
    Folder(PathBuf, std::io::Error),
    #[error("the decision log in {0}: {1}")]
    Decisions(PathBuf, std::io::Error),
    #[error("the server's identity in {0}: {1}")]
    Identity(PathBuf, std::io::Error),
}

impl Manager {
    /// Returns at once; plugins load in the background. Must be called inside a tokio runtime.
    pub fn start(config: ManagerConfig) -> Result<Handle, StartError> {
        Self::start_for(config, ALL, Arc::default(), None)
    }

    /// The same for plugins of these worlds alone, where a cluster has several servers. The managers of a process share the metrics. `peers`:
    /// other servers run these plugins at the same time.
    pub fn start_for(config: ManagerConfig, worlds: &'static [World], metrics: Arc<Metrics>, peers: Option<Peers>) -> Result<Handle, StartError> {
        let folder = config.data_dir.join("plugins");
        let machine = Machine::new(folder.join("compiled"))?.with_compiler(config.compiler.map(Compiler::new));
        let embedded: BTreeMap<String, Bytes> = config.embedded.iter().map(|e| (e.name.clone(), e.bytes.clone())).collect();
        let components = folder.join("components");
        let components = Components::new(components.clone(), embedded).map_err(|e| StartError::Folder(components, e))?;
        // Two managers of one process write logs of their own.
        let decisions = folder.join(if worlds == EVERYWHERE { "decisions-everywhere" } else { "decisions" });
        let decisions = Log::start(decisions.clone(), Bounds::default()).map_err(|e| StartError::Decisions(decisions, e))?;
        let identity = match peers {
            Some(_) => identity::of(&folder).map_err(|e| StartError::Identity(folder.clone(), e))?,
            None => String::new(),
        };
        let (publish, routes) = watch::channel(Arc::new(crate::ingress::empty_table()));
        let shared = Arc::new(Shared {
            machine,
            clients: config.clients,
            informers: Informers::new(config.client.clone()),
            recorder: Recorder::new(config.client.clone(), "pintle-plugin-manager"),
            sources: Sources::new(components, config.client.clone(), config.required_keys),
            client: config.client,
            decisions,
            routes: publish,
            ingress_addresses: config.ingress_addresses,
            admissions: Default::default(),
            schedulers: Default::default(),
            ingresses: Default::default(),
            metrics: metrics.clone(),
            shadow_machine: Default::default(),
            peers,
            identity,
        });
        let decisions = Decisions::new(&shared);
        let logs = Logs::default();
        let (stop, stopped) = watch::channel(false);
        let admission = Arc::new(crate::admission::Runner(Arc::downgrade(&shared)));
        // One server at a time creates what is missing.
        let seeds = if worlds.contains(&World::Controller) { config.embedded } else { Vec::new() };
        let task = tokio::spawn(run(shared, worlds, seeds, folder.join("seeded"), logs.clone(), stopped));
        Ok(Handle { stop, task, logs, routes, admission, decisions, metrics })
    }
}

impl Handle {
    /// The table that the ingress data plane executes; empty until an ingress plugin made one.
    pub fn routes(&self) -> watch::Receiver<Arc<crate::ingress::RouteTable>> {
        self.routes.clone()
    }

    /// Through which the API server asks admission policies.
    pub fn admission(&self) -> Arc<dyn Policies> {
        self.admission.clone()
    }

    /// The last lines that a plugin logged, oldest first.
    pub fn logs(&self, plugin: &str) -> Option<Vec<LogLine>> {
        self.logs.lock().unwrap_or_else(|e| e.into_inner()).get(plugin).map(|log| log.lines())
    }

    /// Gives a plugin's last lines as text, for whoever serves `plugins/NAME/log`. `None`: there is no such plugin here.
    pub fn log_reader(&self) -> LogReader {
        let logs = self.logs.clone();
        Arc::new(move |plugin| {
            let log = logs.lock().unwrap_or_else(|e| e.into_inner()).get(plugin)?.clone();
            Some(log.lines().iter().map(|l| format!("{} {:5} {}\n", l.time, l.level, l.message)).collect())
        })
    }

    /// What was decided lately, and on what grounds.
    pub fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// For whoever serves `/metrics`.
    pub fn metrics_reader(&self) -> MetricsReader {
        let metrics = self.metrics.clone();
        Arc::new(move || metrics.render())
    }

    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        let _ = (&mut self.task).await;
        self.decisions.flush();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn run(shared: Arc<Shared>, worlds: &'static [World], embedded: Vec<Embedded>, seeded: PathBuf, logs: Logs, mut stop: watch::Receiver<bool>) {
    let informer = shared.informers.informer(&Subject::all(PLUGINS));
    let (sender, mut changes) = mpsc::unbounded_channel();
    let listener: Arc<dyn Listener> = Arc::new(Changes(sender));
    let seeding = tokio::spawn(seed(shared.client.clone(), embedded, seeded));
    tokio::select! {
        () = informer.synced() => {}
        () = raised(&mut stop) => return,
    }
    informer.subscribe(0, &listener);
    let mut actors = Actors { shared, worlds, informer, logs, mailboxes: HashMap::new(), tasks: JoinSet::new(), stop: stop.clone() };
    loop {
        tokio::select! {
            name = changes.recv() => match name {
                Some(name) => actors.tell(&name),
                None => break,
            },
            () = raised(&mut stop) => break,
        }
    }
    seeding.abort();
    actors.mailboxes.clear();
    while actors.tasks.join_next().await.is_some() {}
}

struct Actors {
    shared: Arc<Shared>,
    worlds: &'static [World],
    informer: Arc<Informer>,
    logs: Logs,
    mailboxes: HashMap<Arc<str>, watch::Sender<Option<Arc<Entry>>>>,
    tasks: JoinSet<()>,
    stop: watch::Receiver<bool>,
}

impl Actors {
    /// Hands the Plugin's newest state to its actor, which is made or ended as it needs.
    fn tell(&mut self, name: &Arc<str>) {
        while self.tasks.try_join_next().is_some() {}
        let entry = self.informer.get("", name).filter(|entry| self.is_ours(entry));
        if let Some(mailbox) = self.mailboxes.get(name) {
            let gone = entry.is_none();
            mailbox.send_replace(entry);
            if gone {
                self.mailboxes.remove(name);
                self.shared.metrics.forget(name);
            }
        } else if let Some(entry) = entry {
            let (mailbox, desired) = watch::channel(Some(entry));
            self.mailboxes.insert(name.clone(), mailbox);
            let log = self.log(name);
            self.tasks.spawn(Actor::new(self.shared.clone(), name.clone(), log, desired).run(self.stop.clone()));
        }
    }

    /// A Plugin whose world cannot be read is told so by whoever runs controllers.
    fn is_ours(&self, entry: &Entry) -> bool {
        #[derive(Deserialize)]
        struct Read {
            spec: WorldOf,
        }
        #[derive(Deserialize)]
        struct WorldOf {
            world: World,
        }
        let world = serde_json::from_slice::<Read>(&entry.json).map_or(World::Controller, |read| read.spec.world);
        self.worlds.contains(&world)
    }

    fn log(&self, name: &str) -> Arc<PluginLog> {
        let mut logs = self.logs.lock().unwrap_or_else(|e| e.into_inner());
        logs.entry(name.to_owned()).or_insert_with(|| PluginLog::new(name)).clone()
    }
}

struct Changes(mpsc::UnboundedSender<Arc<str>>);

impl Listener for Changes {
    fn changed(&self, _tag: usize, before: Option<&Arc<Entry>>, after: Option<&Arc<Entry>>) {
        if let Some(entry) = after.or(before) {
            let _ = self.0.send(entry.meta.name.clone());
        }
    }
}

/// Creates the Plugin objects of embedded components that this cluster never had. Which it had is remembered in the cluster, so
/// that another server does not bring back what was deleted; clusters from before that remember in a file, `seeded`.
async fn seed(client: Arc<dyn Client>, embedded: Vec<Embedded>, seeded: PathBuf) {
    let remembered = insist("cannot read which embedded plugins the cluster had", || remembered(&client)).await;
    let mut known = read_lines(&seeded);
    known.extend(remembered.iter().cloned());
    for plugin in embedded.into_iter().filter(|plugin| !remembered.contains(&plugin.name)) {
        let name = plugin.name.clone();
        if known.insert(name.clone()) {
            let object = json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec_of(plugin)});
            insist("cannot create the Plugin of an embedded component", || create(&client, object.clone())).await;
        }
    }
    if known != remembered {
        insist("cannot remember which plugins were created", || remember(&client, &known)).await;
    }
}

/// Tries until it succeeds.
async fn insist<T, F: Future<Output = Result<T, Status>>>(what: &str, attempt: impl Fn() -> F) -> T {
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(status) => tracing::warn!(%status, "{what}; trying again"),
        }
        tokio::time::sleep(SEED_RETRY).await;
    }
}

async fn remembered(client: &Arc<dyn Client>) -> Result<BTreeSet<String>, Status> {
    match client.get(&Target::object(CONFIG_MAPS, Some(MEMORY.0), MEMORY.1)).await {
        Ok(served) => Ok(served.parse()?.map_at(&["data"]).into_iter().flatten().map(|(name, _)| name.clone()).collect()),
        Err(none) if none.is(Reason::NotFound) => Ok(BTreeSet::new()),
        Err(other) => Err(other),
    }
}

async fn remember(client: &Arc<dyn Client>, known: &BTreeSet<String>) -> Result<(), Status> {
    let data: BTreeMap<&str, &str> = known.iter().map(|name| (name.as_str(), "created")).collect();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MEMORY.1, "namespace": MEMORY.0}, "data": data});
    match client.create(&Target::collection(CONFIG_MAPS, Some(MEMORY.0)), map, &WriteOptions::default()).await {
        Err(there) if there.is(Reason::AlreadyExists) => {}
        other => return other.map(drop),
    }
    let target = Target::object(CONFIG_MAPS, Some(MEMORY.0), MEMORY.1);
    client.patch(&target, Patch::Merge(json!({"data": data})), &WriteOptions::default()).await.map(drop)
}

async fn create(client: &Arc<dyn Client>, object: serde_json::Value) -> Result<(), Status> {
    match client.create(&Target::collection(PLUGINS, None), object, &WriteOptions::default()).await {
        Err(status) if !status.is(Reason::AlreadyExists) => Err(status),
        _ => Ok(()),
    }
}

fn spec_of(plugin: Embedded) -> Spec {
    Spec {
        world: plugin.world,
        source: Source { embedded: plugin.name, ..Source::default() },
        digest: String::new(),
        verify: None,
        config: plugin.config,
        grants: plugin.grants,
        paused: false,
        limits: LimitsSpec::default(),
        scheduler_name: String::new(),
        scheduler_names: Vec::new(),
        profile: ProfileSpec::default(),
        candidate: None,
        rollback: RollbackSpec::default(),
    }
}

fn read_lines(path: &Path) -> BTreeSet<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}
