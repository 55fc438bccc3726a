//! Runs admission policies: the API server asks about a write, an instance answers.
//!
//! A revision has a few instances that answer side by side; they are made when requests come and dropped when none have come for a
//! while. A call that fails costs its instance and is an error to the server, which looks at the policy's `failurePolicy`. There is no
//! pause after a fault: one caller's request that a policy cannot bear must not keep it from answering the others. Called by the
//! manager, and by the API server through [`pintle_api::admission::Policies`].

mod convert;
mod world;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

use pintle_api::admission::{BoxFuture, Policies, Review, Verdict};
use pintle_plugin_bindings::admission::pintle::admission::{objects, types};
use pintle_plugin_bindings::admission::{Admission, AdmissionPre};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wasmtime::component::HasSelf;

use crate::guest::{self, Fault, Guest, HostState};
use crate::load::{LoadError, World};
use crate::plugin::AdmissionRule;
use crate::revision::Revision;
use crate::shared::Shared;
use world::AdmissionWorld;

/// For one call, when the Plugin names none. Waiting for the API does not count; the request's own timeout does.
pub const DEADLINE: Duration = Duration::from_secs(1);
/// Instances that answer side by side, when the Plugin names no number.
pub const INSTANCES: u32 = 4;
/// An instance that was not asked for so long is dropped with its memory.
const IDLE: Duration = Duration::from_secs(60);
/// The interface that reads the cluster.
const OBJECTS: &str = "pintle:admission/objects";

type Instance = Guest<AdmissionWorld, Admission>;

/// A revision that is compiled, linked, and has said what it wants to be asked about.
pub struct Prepared {
    holder: Arc<Holder>,
    rules: Vec<AdmissionRule>,
}

struct Holder {
    revision: Arc<Revision>,
    exports: AdmissionPre<HostState<AdmissionWorld>>,
    /// Those that wait for a call, the last used one last.
    idle: Mutex<Vec<(Instant, Instance)>>,
    calls: Semaphore,
}

/// The plugin whose revision answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat(Arc<str>);

/// Who answers now, by plugin.
#[derive(Default)]
pub struct Admissions(RwLock<HashMap<Arc<str>, Arc<Holder>>>);

/// Answers the API server for as long as the plugins run.
pub struct Runner(pub Weak<Shared>);

/// Links the component and asks what it wants to be asked about.
pub async fn prepare(shared: &Arc<Shared>, revision: Arc<Revision>) -> Result<Prepared, LoadError> {
    check_grants(shared, &revision)?;
    let exports = link(shared, &revision).map_err(|e| LoadError::Mismatch(World::Admission, format!("{e:#}")))?;
    let calls = Semaphore::new(revision.instances.max(1) as usize);
    let holder = Arc::new(Holder { revision, exports, idle: Mutex::default(), calls });
    let mut instance = holder.instantiate(shared).await.map_err(|f| LoadError::Start(f.to_string()))?;
    let call = instance.begin(holder.revision.limits.deadline);
    let answer = instance.exports.call_rules(&mut instance.store).await;
    let asked = instance.end(call, answer).map_err(|f| LoadError::Start(format!("`rules` {f}")))?;
    let rules = asked.map_err(LoadError::Configuration)?;
    let rules = rules.into_iter().map(convert::rule).collect::<Result<_, _>>().map_err(LoadError::Start)?;
    holder.give_back(instance);
    Ok(Prepared { holder, rules })
}

/// Reads are checked one by one; that a policy which reads may read nothing at all is better said at once.
fn check_grants(shared: &Shared, revision: &Revision) -> Result<(), LoadError> {
    let component = revision.loaded.component.component_type();
    let reads = component.imports(shared.machine.engine()).any(|(name, _)| name.starts_with(OBJECTS));
    let granted = revision.grants.iter().flat_map(|rule| &rule.verbs).any(|verb| matches!(verb.as_str(), "get" | "list" | "*"));
    if reads && !granted {
        return Err(LoadError::MissingGrant { verb: "get or list", resource: "anything".to_owned(), why: format!("its import {OBJECTS} is for") });
    }
    Ok(())
}

fn link(shared: &Shared, revision: &Revision) -> wasmtime::Result<AdmissionPre<HostState<AdmissionWorld>>> {
    let mut linker = guest::linker::<AdmissionWorld>(&shared.machine, &revision.loaded.component)?;
    types::add_to_linker::<_, HasSelf<HostState<AdmissionWorld>>>(&mut linker, |state| state)?;
    objects::add_to_linker::<_, HasSelf<HostState<AdmissionWorld>>>(&mut linker, |state| state)?;
    AdmissionPre::new(linker.instantiate_pre(&revision.loaded.component)?)
}

impl Prepared {
    /// For the Plugin's status, where the API server reads them.
    pub fn rules(&self) -> &[AdmissionRule] {
        &self.rules
    }

    /// The next request is this revision's; the one before finishes its calls.
    pub fn take_seat(self, shared: &Arc<Shared>) -> Seat {
        let plugin = self.holder.revision.plugin.clone();
        tokio::spawn(tidy(Arc::downgrade(&self.holder)));
        shared.admissions.write().insert(plugin.clone(), self.holder);
        Seat(plugin)
    }
}

impl Admissions {
    pub fn leave(&self, seat: &Seat) {
        self.write().remove(&seat.0);
    }

    fn serving(&self, plugin: &str) -> Option<Arc<Holder>> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).get(plugin).cloned()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<Arc<str>, Arc<Holder>>> {
        self.0.write().unwrap_or_else(|e| e.into_inner())
    }
}

impl Policies for Runner {
    fn ask<'a>(&'a self, plugin: &'a str, review: Review) -> BoxFuture<'a, Result<Verdict, String>> {
        Box::pin(async move {
            let shared = self.0.upgrade().ok_or("no plugins run in this server")?;
            let holder = shared.admissions.serving(plugin).ok_or("no revision of it is live")?;
            holder.ask(&shared, review).await
        })
    }
}

impl Holder {
    async fn ask(&self, shared: &Shared, review: Review) -> Result<Verdict, String> {
        let request = convert::request(&review);
        let Ok(_turn) = self.calls.acquire().await else { return Err("it is stopped".to_owned()) };
        let health = &self.revision.health;
        let mut given_up = GivenUp { holder: self, since: Some(Instant::now()) };
        let outcome = self.call(shared, &request).await;
        given_up.since = None;
        match outcome {
            Ok(verdict) => {
                health.returned();
                Ok(verdict)
            }
            Err(fault) => {
                self.failed(&request, &fault);
                Err(format!("it {fault}"))
            }
        }
    }

    async fn call(&self, shared: &Shared, request: &types::Request) -> Result<Verdict, Fault> {
        let waiting = self.idle().pop();
        let mut instance = match waiting {
            Some((_, instance)) => instance,
            None => self.instantiate(shared).await?,
        };
        let call = instance.begin(self.revision.limits.deadline);
        let answer = instance.exports.call_admit(&mut instance.store, request).await;
        let response = instance.end(call, answer)?;
        let verdict = convert::verdict(response, &self.revision.plugin).map_err(Fault::Answer)?;
        self.give_back(instance);
        Ok(verdict)
    }

    async fn instantiate(&self, shared: &Shared) -> Result<Instance, Fault> {
        let Revision { plugin, config, log, limits, grants, meter, .. } = &*self.revision;
        let world = AdmissionWorld { plugin: plugin.clone(), client: (shared.clients)(plugin), grants: grants.clone() };
        let mut store = HostState::new(world, config.clone(), log.clone(), *limits).metered(meter).into_store(&shared.machine);
        let call = guest::begin(&shared.machine, &mut store, limits.deadline);
        let exports = self.exports.instantiate_async(&mut store).await;
        let exports = guest::end(&store, call, exports)?;
        Ok(Guest::new(&shared.machine, store, exports))
    }

    fn failed(&self, request: &types::Request, fault: &Fault) {
        let what = format!("{} {}/{}", request.resource.name, request.namespace, request.name);
        self.revision.log.write("error", &format!("admit {what}: {fault}"));
        self.revision.health.failed(fault);
    }

    fn give_back(&self, instance: Instance) {
        self.idle().push((Instant::now(), instance));
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, Instance)>> {
        self.idle.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Counts a call that whoever asked did not wait for.
struct GivenUp<'a> {
    holder: &'a Holder,
    since: Option<Instant>,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            let fault = Fault::Deadline(since.elapsed());
            self.holder.revision.log.write("error", &format!("admit: given up, it {fault}"));
            self.holder.revision.health.failed(&fault);
        }
    }
}

/// Drops instances that nobody needs, until the revision is replaced.
async fn tidy(holder: Weak<Holder>) {
    loop {
        tokio::time::sleep(IDLE / 2).await;
        let Some(holder) = holder.upgrade() else { return };
        holder.idle().retain(|(used, _)| used.elapsed() < IDLE);
    }
}
