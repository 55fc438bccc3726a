//! Follows the Plugin objects and makes the running plugins match: one actor for each, see [`crate::actor`].
//!
//! Starts the drivers' shared parts, and creates the Plugin objects of the embedded components once in the life of a data directory:
//! one that an operator deletes stays deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pintle_api::admission::Policies;
use pintle_api::client::{Client, Target, WriteOptions};
use pintle_api::{Reason, Status};
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
use crate::plugin::{API_VERSION, KIND, LimitsSpec, PLUGINS, Source, Spec};
use crate::shared::{Clients, Shared, raised};
use crate::source::{Bytes, Components};
use crate::stages::metrics::Metrics;
use crate::stages::spec::RollbackSpec;

/// Before the Plugin of an embedded component is created again.
const SEED_RETRY: Duration = Duration::from_millis(200);

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
}

impl Manager {
    /// Returns at once; plugins load in the background. Must be called inside a tokio runtime.
    pub fn start(config: ManagerConfig) -> Result<Handle, StartError> {
        let folder = config.data_dir.join("plugins");
        let machine = Machine::new(folder.join("compiled"))?.with_compiler(config.compiler.map(Compiler::new));
        let embedded: BTreeMap<String, Bytes> = config.embedded.iter().map(|e| (e.name.clone(), e.bytes.clone())).collect();
        let components = folder.join("components");
        let components = Components::new(components.clone(), embedded).map_err(|e| StartError::Folder(components, e))?;
        let decisions = folder.join("decisions");
        let decisions = Log::start(decisions.clone(), Bounds::default()).map_err(|e| StartError::Decisions(decisions, e))?;
        let (publish, routes) = watch::channel(Arc::new(crate::ingress::empty_table()));
        let shared = Arc::new(Shared {
            machine,
            clients: config.clients,
            informers: Informers::new(config.client.clone()),
            recorder: Recorder::new(config.client.clone(), "pintle-plugin-manager"),
            client: config.client,
            components,
            decisions,
            routes: publish,
            ingress_addresses: config.ingress_addresses,
            admissions: Default::default(),
            schedulers: Default::default(),
            ingresses: Default::default(),
            metrics: Arc::default(),
            shadow_machine: Default::default(),
        });
        let decisions = Decisions::new(&shared);
        let metrics = shared.metrics.clone();
        let logs = Logs::default();
        let (stop, stopped) = watch::channel(false);
        let admission = Arc::new(crate::admission::Runner(Arc::downgrade(&shared)));
        let task = tokio::spawn(run(shared, config.embedded, folder.join("seeded"), logs.clone(), stopped));
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

async fn run(shared: Arc<Shared>, embedded: Vec<Embedded>, seeded: PathBuf, logs: Logs, mut stop: watch::Receiver<bool>) {
    let informer = shared.informers.informer(&Subject::all(PLUGINS));
    let (sender, mut changes) = mpsc::unbounded_channel();
    let listener: Arc<dyn Listener> = Arc::new(Changes(sender));
    let seeding = tokio::spawn(seed(shared.client.clone(), embedded, seeded));
    tokio::select! {
        () = informer.synced() => {}
        () = raised(&mut stop) => return,
    }
    informer.subscribe(0, &listener);
    let mut actors = Actors { shared, informer, logs, mailboxes: HashMap::new(), tasks: JoinSet::new(), stop: stop.clone() };
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
        let entry = self.informer.get("", name);
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

/// Creates the Plugin objects of embedded components that this data directory never had.
async fn seed(client: Arc<dyn Client>, embedded: Vec<Embedded>, seeded: PathBuf) {
    let mut known: BTreeSet<String> = read_lines(&seeded);
    for plugin in embedded {
        if known.contains(&plugin.name) {
            continue;
        }
        let name = plugin.name.clone();
        let object = json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec_of(plugin)});
        while let Err(status) = create(&client, object.clone()).await {
            tracing::warn!(plugin = name, %status, "cannot create the Plugin of an embedded component; trying again");
            tokio::time::sleep(SEED_RETRY).await;
        }
        known.insert(name);
        let lines: String = known.iter().flat_map(|name| [name.as_str(), "\n"]).collect();
        if let Err(error) = std::fs::write(&seeded, lines) {
            tracing::warn!(path = %seeded.display(), %error, "cannot remember which plugins were created");
        }
    }
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
        config: plugin.config,
        grants: plugin.grants,
        paused: false,
        limits: LimitsSpec::default(),
        scheduler_name: String::new(),
        candidate: None,
        rollback: RollbackSpec::default(),
    }
}

fn read_lines(path: &Path) -> BTreeSet<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}
