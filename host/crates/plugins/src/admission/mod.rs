//! Runs admission policies: the API server asks about a write, an instance answers.
//!
//! A revision has a few instances that answer side by side; they are made when requests come and dropped when none have come for a
//! while. A call that fails costs its instance and is an error to the server, which looks at the policy's `failurePolicy`. There is no
//! pause after a fault: one caller's request that a policy cannot bear must not keep it from answering the others. A candidate looks on or
//! answers a share ([`trial`]). Called by the manager, and by the API server through [`pintle_api::admission::Policies`].

mod compare;
mod convert;
mod holder;
mod rules;
mod shadow;
mod trial;
mod witness;
mod world;

use std::collections::HashMap;
use std::sync::{Arc, RwLock, RwLockWriteGuard, Weak};
use std::time::Duration;

use pintle_api::admission::{BoxFuture, Policies, Review, Verdict};
use pintle_plugin_bindings::admission::AdmissionPre;
use pintle_plugin_bindings::admission::pintle::admission::{objects, types};
use wasmtime::component::HasSelf;

use crate::guest::{self, HostState};
use crate::load::{LoadError, World};
use crate::plugin::AdmissionRule;
use crate::revision::Revision;
use crate::shared::Shared;
use crate::stages::Trial;
pub use holder::Holder;
use trial::Team;
use world::AdmissionWorld;

/// For one call, when the Plugin names none. Waiting for the API does not count; the request's own timeout does.
pub const DEADLINE: Duration = Duration::from_secs(1);
/// Instances that answer side by side, when the Plugin names no number.
pub const INSTANCES: u32 = 4;
/// The interface that reads the cluster.
const OBJECTS: &str = "pintle:admission/objects";

/// A revision that is compiled, linked, and has said what it wants to be asked about.
pub struct Prepared {
    holder: Arc<Holder>,
}

/// The plugin whose revision answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat(Arc<str>);

/// Who answers now, by plugin.
#[derive(Default)]
pub struct Admissions(RwLock<HashMap<Arc<str>, Arc<Team>>>);

/// Answers the API server for as long as the plugins run.
pub struct Runner(pub Weak<Shared>);

/// Links the component and asks what it wants to be asked about.
pub async fn prepare(shared: &Arc<Shared>, revision: Arc<Revision>) -> Result<Prepared, LoadError> {
    check_grants(&revision)?;
    let exports = link(&revision).map_err(|e| LoadError::Mismatch(World::Admission, format!("{e:#}")))?;
    let mut holder = Holder::new(revision, exports);
    let mut instance = holder.instantiate(shared).await.map_err(|f| LoadError::Start(f.to_string()))?;
    let call = instance.begin(holder.revision.limits.deadline);
    let answer = instance.exports.call_rules(&mut instance.store).await;
    let asked = instance.end(call, answer).map_err(|f| LoadError::Start(format!("`rules` {f}")))?;
    let rules = asked.map_err(LoadError::Configuration)?;
    holder.rules = rules.into_iter().map(convert::rule).collect::<Result<_, _>>().map_err(LoadError::Start)?;
    holder.give_back(instance);
    let holder = Arc::new(holder);
    tokio::spawn(holder::tidy(Arc::downgrade(&holder)));
    Ok(Prepared { holder })
}

/// Reads are checked one by one; that a policy which reads may read nothing at all is better said at once.
fn check_grants(revision: &Revision) -> Result<(), LoadError> {
    let component = revision.loaded.component.component_type();
    let reads = component.imports(revision.machine.engine()).any(|(name, _)| name.starts_with(OBJECTS));
    let granted = revision.grants.iter().flat_map(|rule| &rule.verbs).any(|verb| matches!(verb.as_str(), "get" | "list" | "*"));
    if reads && !granted {
        return Err(LoadError::MissingGrant { verb: "get or list", resource: "anything".to_owned(), why: format!("its import {OBJECTS} is for") });
    }
    Ok(())
}

fn link(revision: &Revision) -> wasmtime::Result<AdmissionPre<HostState<AdmissionWorld>>> {
    let mut linker = guest::linker::<AdmissionWorld>(&revision.machine, &revision.loaded.component)?;
    types::add_to_linker::<_, HasSelf<HostState<AdmissionWorld>>>(&mut linker, |state| state)?;
    objects::add_to_linker::<_, HasSelf<HostState<AdmissionWorld>>>(&mut linker, |state| state)?;
    AdmissionPre::new(linker.instantiate_pre(&revision.loaded.component)?)
}

impl Prepared {
    /// For the Plugin's status, where the API server reads them.
    pub fn rules(&self) -> &[AdmissionRule] {
        &self.holder.rules
    }

    /// The next request is this revision's; the one before finishes its calls.
    pub fn take_seat(self, shared: &Arc<Shared>) -> Seat {
        let plugin = self.holder.revision.plugin.clone();
        shared.admissions.write().insert(plugin.clone(), Arc::new(Team::alone(self.holder)));
        Seat(plugin)
    }

    /// What runs a candidate.
    pub fn into_holder(self) -> Arc<Holder> {
        self.holder
    }
}

impl Admissions {
    pub fn leave(&self, seat: &Seat) {
        self.write().remove(&seat.0);
    }

    /// Puts a candidate beside the live revision, or takes it away.
    pub fn set_trial(&self, shared: &Arc<Shared>, seat: &Seat, trial: Option<Trial<Arc<Holder>>>) {
        let mut teams = self.write();
        if let Some(live) = teams.get(&seat.0).map(|team| team.live.clone()) {
            let team = match trial {
                Some(trial) => Team::with(live, shared, trial),
                None => Team::alone(live),
            };
            teams.insert(seat.0.clone(), Arc::new(team));
        }
    }

    fn serving(&self, plugin: &str) -> Option<Arc<Team>> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).get(plugin).cloned()
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Arc<str>, Arc<Team>>> {
        self.0.write().unwrap_or_else(|e| e.into_inner())
    }
}

impl Policies for Runner {
    fn ask<'a>(&'a self, plugin: &'a str, review: Review) -> BoxFuture<'a, Result<Verdict, String>> {
        Box::pin(async move {
            let shared = self.0.upgrade().ok_or("no plugins run in this server")?;
            let team = shared.admissions.serving(plugin).ok_or("no revision of it is live")?;
            team.ask(&shared, convert::request(&review)).await.map_err(|fault| format!("it {fault}"))
        })
    }
}
