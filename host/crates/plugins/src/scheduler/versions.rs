//! The exports of a scheduler component, whichever version of the contract it was built against: 0.3, or 0.2, for which what holds a pod
//! is converted ([`super::older`]). Drivers, shadow and replays call these and know of no version.

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{self, Attempt, Delta, Outcome, Pod, Ranking, Reason, Scope};
use pintle_plugin_bindings::scheduler_0_2::pintle::scheduler::types as old;
use pintle_plugin_bindings::{scheduler, scheduler_0_2};
use wasmtime::Store;
use wasmtime::component::{Component, HasSelf};

use super::older::{self, same};
use crate::engine::Machine;
use crate::guest::{self, HostState};
use crate::load::{Loaded, Version};

/// A component that is linked.
pub enum Linked {
    V0_2(scheduler_0_2::SchedulerPre<State>),
    V0_3(scheduler::SchedulerPre<State>),
}

/// An instance's exports.
pub enum Exports {
    V0_2(scheduler_0_2::Scheduler),
    V0_3(scheduler::Scheduler),
}

type State = HostState<()>;
type Answer<T> = wasmtime::Result<Result<T, String>>;

pub fn link(machine: &Machine, loaded: &Loaded) -> wasmtime::Result<Linked> {
    let component: &Component = &loaded.component;
    let mut linker = guest::linker::<()>(machine, component)?;
    if loaded.contract.version < Version::new(0, 3, 0) {
        old::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        return Ok(Linked::V0_2(scheduler_0_2::SchedulerPre::new(linker.instantiate_pre(component)?)?));
    }
    types::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(Linked::V0_3(scheduler::SchedulerPre::new(linker.instantiate_pre(component)?)?))
}

impl types::Host for HostState<()> {}
impl old::Host for HostState<()> {}

impl Linked {
    pub async fn instantiate_async(&self, store: &mut Store<State>) -> wasmtime::Result<Exports> {
        Ok(match self {
            Self::V0_2(linked) => Exports::V0_2(linked.instantiate_async(store).await?),
            Self::V0_3(linked) => Exports::V0_3(linked.instantiate_async(store).await?),
        })
    }
}

impl Exports {
    pub async fn call_configure(&self, store: &mut Store<State>, config: &str) -> Answer<()> {
        match self {
            Self::V0_2(exports) => exports.call_configure(store, config).await,
            Self::V0_3(exports) => exports.call_configure(store, config).await,
        }
    }

    pub async fn call_feed(&self, store: &mut Store<State>, deltas: &[Delta]) -> wasmtime::Result<()> {
        match self {
            Self::V0_2(exports) => exports.call_feed(store, &older::deltas(deltas)?).await,
            Self::V0_3(exports) => exports.call_feed(store, deltas).await,
        }
    }

    pub async fn call_schedule(&self, store: &mut Store<State>, pod: &Pod, scope: Scope) -> Answer<Outcome> {
        match self {
            Self::V0_2(exports) => same(&exports.call_schedule(store, &older::pod(pod)?, same(&scope)?).await?),
            Self::V0_3(exports) => exports.call_schedule(store, pod, scope).await,
        }
    }

    pub async fn call_rank(&self, store: &mut Store<State>, pod: &Pod, nodes: &[u32]) -> Answer<Ranking> {
        match self {
            Self::V0_2(exports) => same(&exports.call_rank(store, &older::pod(pod)?, nodes).await?),
            Self::V0_3(exports) => exports.call_rank(store, pod, nodes).await,
        }
    }

    pub async fn call_preempt(&self, store: &mut Store<State>, pod: &Pod, among: Option<&[u32]>) -> Answer<Attempt> {
        match self {
            Self::V0_2(exports) => same(&exports.call_preempt(store, &older::pod(pod)?, among).await?),
            Self::V0_3(exports) => exports.call_preempt(store, pod, among).await,
        }
    }

    pub async fn call_explain(&self, store: &mut Store<State>, pod: &Pod, node: u32) -> wasmtime::Result<Vec<Reason>> {
        match self {
            Self::V0_2(exports) => same(&exports.call_explain(store, &older::pod(pod)?, node).await?),
            Self::V0_3(exports) => exports.call_explain(store, pod, node).await,
        }
    }
}
