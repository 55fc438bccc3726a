//! A revision's instances and their calls. Those that wait for a call are shared by whoever asks; a call that fails costs its instance.

use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use pintle_api::admission::Verdict;
use pintle_plugin_bindings::admission::pintle::admission::types;
use pintle_plugin_bindings::admission::{Admission, AdmissionPre};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::compare::subject;
use super::convert;
use super::witness::{Notes, Witness};
use super::world::AdmissionWorld;
use crate::guest::{self, Fault, Guest, HostState, Moment};
use crate::plugin::AdmissionRule;
use crate::revision::Revision;
use crate::shared::Shared;
use crate::stages::spec::Difference;
use crate::stages::tally::Tally;

/// An instance that was not asked for so long is dropped with its memory.
const IDLE: Duration = Duration::from_secs(60);

pub type Instance = Guest<AdmissionWorld, Admission>;

pub struct Holder {
    pub revision: Arc<Revision>,
    /// What it wants to be asked about.
    pub rules: Vec<AdmissionRule>,
    exports: AdmissionPre<HostState<AdmissionWorld>>,
    /// Those that wait for a call, the last used one last.
    idle: Mutex<Vec<(Instant, Instance)>>,
    calls: Semaphore,
}

/// What a call came to.
pub struct Answer {
    pub verdict: Verdict,
    pub moment: Moment,
    /// What it read, where that was asked for.
    pub notes: Notes,
    /// Where the machine counts it.
    pub fuel: u64,
}

impl Holder {
    pub fn new(revision: Arc<Revision>, exports: AdmissionPre<HostState<AdmissionWorld>>) -> Self {
        let calls = Semaphore::new(revision.instances.max(1) as usize);
        Self { revision, rules: Vec::new(), exports, idle: Mutex::default(), calls }
    }

    /// Asks when it is this request's turn. `trial`: where a canary's faults count as well.
    pub async fn ask(&self, shared: &Shared, request: &types::Request, witness: Witness, trial: Option<&Tally>) -> Result<Answer, Fault> {
        // Nobody closes it.
        let _turn = self.calls.acquire().await;
        let mut given_up = GivenUp { holder: self, request, trial, since: Some(Instant::now()) };
        let outcome = self.call(shared, request, Moment::present(), witness).await;
        given_up.since = None;
        match &outcome {
            Ok(_) => self.revision.health.returned(),
            Err(fault) => drop(self.failed(request, fault, trial)),
        }
        outcome
    }

    pub async fn call(&self, shared: &Shared, request: &types::Request, moment: Moment, witness: Witness) -> Result<Answer, Fault> {
        let waiting = self.idle().pop();
        let mut instance = match waiting {
            Some((_, instance)) => instance,
            None => self.instantiate(shared).await?,
        };
        instance.store.data_mut().world.witness = witness;
        let call = instance.begin_at(self.revision.limits.deadline, moment);
        let answer = instance.exports.call_admit(&mut instance.store, request).await;
        let response = instance.end(call, answer)?;
        let verdict = convert::verdict(response, &self.revision.plugin).map_err(Fault::Answer)?;
        let notes = std::mem::take(&mut instance.store.data_mut().world.witness).into_notes();
        let fuel = instance.fuel();
        self.give_back(instance);
        Ok(Answer { verdict, moment, notes, fuel })
    }

    pub async fn instantiate(&self, shared: &Shared) -> Result<Instance, Fault> {
        let Revision { plugin, config, log, limits, grants, meter, machine, .. } = &*self.revision;
        let world = AdmissionWorld { plugin: plugin.clone(), client: (shared.clients)(plugin), grants: grants.clone(), witness: Witness::None };
        let mut store = HostState::new(world, config.clone(), log.clone(), *limits).metered(meter).into_store(machine);
        let call = guest::begin(machine, &mut store, limits.deadline);
        let exports = self.exports.instantiate_async(&mut store).await;
        let exports = guest::end(&store, call, exports)?;
        Ok(Guest::new(machine, store, exports))
    }

    /// Counts a fault and says how long to wait before the next instance, for whoever can wait.
    pub fn failed(&self, request: &types::Request, fault: &Fault, trial: Option<&Tally>) -> Duration {
        let (who, what) = (if trial.is_some() { "candidate: " } else { "" }, subject(request));
        self.revision.log.write("error", &format!("{who}{what}: {fault}"));
        if let Some(tally) = trial {
            tally.fault(Difference { subject: what, kind: "Fault".to_owned(), candidate: fault.to_string(), ..Difference::default() });
        }
        self.revision.health.failed(fault)
    }

    pub fn give_back(&self, instance: Instance) {
        self.idle().push((Instant::now(), instance));
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, Instance)>> {
        self.idle.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Counts a call that whoever asked did not wait for.
struct GivenUp<'a> {
    holder: &'a Holder,
    request: &'a types::Request,
    trial: Option<&'a Tally>,
    since: Option<Instant>,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            self.holder.failed(self.request, &Fault::Deadline(since.elapsed()), self.trial);
        }
    }
}

/// Drops instances that nobody needs, until the revision is replaced.
pub async fn tidy(holder: Weak<Holder>) {
    loop {
        tokio::time::sleep(IDLE / 2).await;
        let Some(holder) = holder.upgrade() else { return };
        holder.idle().retain(|(used, _)| used.elapsed() < IDLE);
    }
}
