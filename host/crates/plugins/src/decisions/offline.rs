//! A scheduler or ingress component outside of its driver: fed from the log and asked about one decision. For replays, and for whoever wants
//! to know more of a decision than was written down.

use std::sync::Arc;
use std::time::Duration;

use pintle_plugin_bindings::ingress::Ingress;
use pintle_plugin_bindings::ingress::pintle::ingress::types::{Object, RouteTable};
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Attempt, Delta, Outcome, Pod, Ranking, Reason, Scope};

use wasmtime::Store;

use super::record::{Decision, Heard, Session};
use crate::engine::Machine;
use crate::guest::{self, DEFAULT_MEMORY_BYTES, Fault, Guest, HostState, Limits, PluginLog};
use crate::load::Loaded;
use crate::scheduler::versions;
use crate::{ingress, scheduler};

/// For one call, on the wall's clock; replays count fuel instead.
const DEADLINE: Duration = Duration::from_secs(10);
/// Instructions, about, that one call may take in a replay: longer than any live deadline.
const CALL_FUEL: u64 = 50_000_000_000;
/// Deltas that cross in one call.
const FEED_BATCH: usize = 500;

/// What an instance is made of.
#[derive(Clone)]
pub struct Maker {
    pub machine: Machine,
    pub loaded: Loaded,
    pub config: Arc<str>,
    pub log: Arc<PluginLog>,
}

/// What a component hears during a call: what was heard then, and nothing else.
pub struct Then {
    pub heard: Vec<Heard>,
    /// Nanoseconds since 1970.
    pub at: u64,
    pub seed: u64,
}

pub struct OfflineScheduler(scheduler::Instance);
pub struct OfflineIngress(Guest<(), Ingress>);

impl Maker {
    pub fn new(machine: &Machine, loaded: Loaded, config: Arc<str>) -> Self {
        Self { machine: machine.clone(), loaded, config, log: PluginLog::new("replay") }
    }

    fn state<T: Send + 'static>(&self, world: T) -> HostState<T> {
        let limits = Limits { memory_bytes: DEFAULT_MEMORY_BYTES, deadline: DEADLINE };
        let mut state = HostState::new(world, self.config.clone(), self.log.clone(), limits);
        if self.machine.is_deterministic() {
            state.make_deterministic();
        }
        state
    }

    /// A new instance of whatever world, which hears what there was to hear when the session began.
    pub async fn guest<T: Send + 'static, B>(
        &self,
        world: T,
        session: &Session,
        instantiate: impl AsyncFnOnce(&mut Store<HostState<T>>) -> wasmtime::Result<B>,
    ) -> Result<Guest<T, B>, Fault> {
        let mut state = self.state(world);
        Then::beginning(session).apply(&mut state);
        let mut store = state.into_store(&self.machine);
        let call = begin(&self.machine, &mut store);
        let exports = instantiate(&mut store).await;
        let exports = guest::end(&store, call, exports)?;
        Ok(Guest::new(&self.machine, store, exports))
    }

    /// A new instance of the scheduler, told when the session began.
    pub async fn scheduler(&self, session: &Session) -> Result<OfflineScheduler, String> {
        let linked = versions::link(&self.machine, &self.loaded).map_err(|e| format!("{e:#}"))?;
        let guest = self.guest((), session, async |store| linked.instantiate_async(store).await).await;
        let mut this = OfflineScheduler(guest.map_err(|f| f.to_string())?);
        let call = begin(&self.machine, &mut this.0.store);
        let answer = this.0.exports.call_configure(&mut this.0.store, &self.config).await;
        this.0.end(call, answer).map_err(|f| f.to_string())?.map_err(|why| format!("refuses its configuration: {why}"))?;
        Ok(this)
    }

    pub async fn ingress(&self, session: &Session) -> Result<OfflineIngress, String> {
        let exports = ingress::link(&self.machine, &self.loaded.component).map_err(|e| format!("{e:#}"))?;
        let guest = self.guest((), session, async |store| exports.instantiate_async(store).await).await;
        Ok(OfflineIngress(guest.map_err(|f| f.to_string())?))
    }
}

impl OfflineScheduler {
    pub async fn feed(&mut self, deltas: &[Delta], then: Then) -> Result<(), Fault> {
        let guest = &mut self.0;
        then.apply(guest.store.data_mut());
        for batch in deltas.chunks(FEED_BATCH) {
            let call = refuel(guest);
            let answer = guest.exports.call_feed(&mut guest.store, batch).await;
            guest.end(call, answer)?;
        }
        Ok(())
    }

    pub async fn schedule(&mut self, pod: &Pod, scope: Scope, then: Then) -> Result<Result<Outcome, String>, Fault> {
        let guest = &mut self.0;
        then.apply(guest.store.data_mut());
        let call = refuel(guest);
        let answer = guest.exports.call_schedule(&mut guest.store, pod, scope).await;
        guest.end(call, answer)
    }

    pub async fn rank(&mut self, pod: &Pod, nodes: &[u32], then: Then) -> Result<Result<Ranking, String>, Fault> {
        let guest = &mut self.0;
        then.apply(guest.store.data_mut());
        let call = refuel(guest);
        let answer = guest.exports.call_rank(&mut guest.store, pod, nodes).await;
        guest.end(call, answer)
    }

    pub async fn preempt(&mut self, pod: &Pod, among: Option<&[u32]>, then: Then) -> Result<Result<Attempt, String>, Fault> {
        let guest = &mut self.0;
        then.apply(guest.store.data_mut());
        let call = refuel(guest);
        let answer = guest.exports.call_preempt(&mut guest.store, pod, among).await;
        guest.end(call, answer)
    }

    pub async fn explain(&mut self, pod: &Pod, node: u32) -> Result<Vec<Reason>, Fault> {
        let guest = &mut self.0;
        let call = refuel(guest);
        let answer = guest.exports.call_explain(&mut guest.store, pod, node).await;
        guest.end(call, answer)
    }
}

impl OfflineIngress {
    pub async fn compile(&mut self, objects: &[Object], then: Then) -> Result<Result<RouteTable, String>, Fault> {
        let guest = &mut self.0;
        then.apply(guest.store.data_mut());
        let call = refuel(guest);
        let answer = guest.exports.call_compile(&mut guest.store, objects).await;
        guest.end(call, answer)
    }
}

impl Then {
    pub fn of(decision: &Decision, heard: Vec<Heard>) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = decision.inputs;
        Self { heard, at: decision.number.saturating_mul(1000), seed: u64::from_le_bytes([a, b, c, d, e, f, g, h]) }
    }

    pub fn beginning(session: &Session) -> Self {
        Self { heard: Vec::new(), at: session.id.saturating_mul(1000), seed: session.id }
    }

    pub fn apply<T>(self, state: &mut HostState<T>) {
        state.tape.play(self.heard, self.at, self.seed);
    }
}

fn begin<T: Send + 'static>(machine: &Machine, store: &mut Store<HostState<T>>) -> guest::Call {
    if machine.is_deterministic() {
        // Fails only where fuel is not counted.
        let _ = store.set_fuel(CALL_FUEL);
    }
    guest::begin(machine, store, DEADLINE)
}

pub fn refuel<T: Send + 'static, B>(guest: &mut Guest<T, B>) -> guest::Call {
    let machine = guest.machine().clone();
    begin(&machine, &mut guest.store)
}
