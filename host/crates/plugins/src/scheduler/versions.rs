//! The exports of a scheduler component, whichever version of the contract it was built against: 0.2, or 0.1, which is mapped to it here.
//! Drivers, shadow and replays call these and know of no version.
//!
//! What crosses to a component of 0.1 is converted ([`super::older`]). What 0.1 has not:
//!
//! - `assume`: it is told of placements in full ([`Exports::remembers`]).
//! - `rank`: all nodes are asked for by `schedule`, and the reasons of those that it leaves out by `explain`.
//! - `preempt`'s `among`: a choice of another node counts as none.

use std::collections::HashSet;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{
    self, Attempt, Delta, Outcome, Pod, Preemption, Ranking, Reason, Rejection, Scope,
};
use pintle_plugin_bindings::scheduler_0_1::pintle::scheduler::types as old;
use pintle_plugin_bindings::{scheduler, scheduler_0_1};
use wasmtime::Store;
use wasmtime::component::{Component, HasSelf};

use super::older;
use crate::engine::Machine;
use crate::guest::{self, HostState};
use crate::load::{Loaded, Version};

/// Reasons that a ranking asks a component of 0.1 for: each is a call. The other nodes are counted without a reason.
const MAX_EXPLAINED: usize = 200;

/// A component that is linked.
pub enum Linked {
    V0_1(scheduler_0_1::SchedulerPre<State>),
    V0_2(scheduler::SchedulerPre<State>),
}

/// An instance's exports.
pub enum Exports {
    V0_1(scheduler_0_1::Scheduler),
    V0_2(scheduler::Scheduler),
}

type State = HostState<()>;
type Answer<T> = wasmtime::Result<Result<T, String>>;

pub fn link(machine: &Machine, loaded: &Loaded) -> wasmtime::Result<Linked> {
    let component: &Component = &loaded.component;
    let mut linker = guest::linker::<()>(machine, component)?;
    if loaded.contract.version < Version::new(0, 2, 0) {
        old::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        return Ok(Linked::V0_1(scheduler_0_1::SchedulerPre::new(linker.instantiate_pre(component)?)?));
    }
    types::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(Linked::V0_2(scheduler::SchedulerPre::new(linker.instantiate_pre(component)?)?))
}

impl types::Host for HostState<()> {}
impl old::Host for HostState<()> {}

impl Linked {
    pub async fn instantiate_async(&self, store: &mut Store<State>) -> wasmtime::Result<Exports> {
        Ok(match self {
            Self::V0_1(linked) => Exports::V0_1(linked.instantiate_async(store).await?),
            Self::V0_2(linked) => Exports::V0_2(linked.instantiate_async(store).await?),
        })
    }
}

impl Exports {
    /// It keeps the pod that it was asked about last, and may be told of its placement by `assume`.
    pub fn remembers(&self) -> bool {
        matches!(self, Self::V0_2(_))
    }

    pub async fn call_configure(&self, store: &mut Store<State>, config: &str) -> Answer<()> {
        match self {
            Self::V0_1(exports) => exports.call_configure(store, config).await,
            Self::V0_2(exports) => exports.call_configure(store, config).await,
        }
    }

    pub async fn call_feed(&self, store: &mut Store<State>, deltas: &[Delta]) -> wasmtime::Result<()> {
        match self {
            Self::V0_1(exports) => exports.call_feed(store, &older::deltas(deltas)?).await,
            Self::V0_2(exports) => exports.call_feed(store, deltas).await,
        }
    }

    pub async fn call_schedule(&self, store: &mut Store<State>, pod: &Pod, scope: Scope) -> Answer<Outcome> {
        match self {
            Self::V0_1(exports) => schedule(exports, store, pod, scope).await,
            Self::V0_2(exports) => exports.call_schedule(store, pod, scope).await,
        }
    }

    pub async fn call_rank(&self, store: &mut Store<State>, pod: &Pod, nodes: &[u32]) -> Answer<Ranking> {
        match self {
            Self::V0_1(exports) => rank(exports, store, pod, nodes).await,
            Self::V0_2(exports) => exports.call_rank(store, pod, nodes).await,
        }
    }

    pub async fn call_preempt(&self, store: &mut Store<State>, pod: &Pod, among: Option<&[u32]>) -> Answer<Attempt> {
        match self {
            Self::V0_1(exports) => match exports.call_preempt(store, &older::pod(pod)?).await? {
                Ok(attempt) => Ok(Ok(confined(older::same(&attempt)?, among))),
                Err(why) => Ok(Err(why)),
            },
            Self::V0_2(exports) => exports.call_preempt(store, pod, among).await,
        }
    }

    pub async fn call_explain(&self, store: &mut Store<State>, pod: &Pod, node: u32) -> wasmtime::Result<Vec<Reason>> {
        match self {
            Self::V0_1(exports) => older::same(&exports.call_explain(store, &older::pod(pod)?, node).await?),
            Self::V0_2(exports) => exports.call_explain(store, pod, node).await,
        }
    }
}

async fn schedule(exports: &scheduler_0_1::Scheduler, store: &mut Store<State>, pod: &Pod, scope: Scope) -> Answer<Outcome> {
    older::same(&exports.call_schedule(store, &older::pod(pod)?, older::scope(scope)).await?)
}

async fn rank(exports: &scheduler_0_1::Scheduler, store: &mut Store<State>, pod: &Pod, nodes: &[u32]) -> Answer<Ranking> {
    // A nominated node that fits is the only one that `schedule` gives.
    let pod = &Pod { nominated: None, ..pod.clone() };
    let everything = Scope { start: 0, limit: 0, top: u32::MAX, seed: 0 };
    let mut ranked = match schedule(exports, store, pod, everything).await? {
        Ok(Outcome::Fits(choice)) => choice.ranked,
        Ok(Outcome::None(_)) => Vec::new(),
        Err(why) => return Ok(Err(why)),
    };
    let asked: HashSet<u32> = nodes.iter().copied().collect();
    ranked.retain(|r| asked.contains(&r.node));
    let passed: HashSet<u32> = ranked.iter().map(|r| r.node).collect();
    let refused: Vec<u32> = nodes.iter().copied().filter(|node| !passed.contains(node)).collect();
    let older = older::pod(pod)?;
    let mut told = Vec::with_capacity(refused.len().min(MAX_EXPLAINED));
    for node in refused.iter().take(MAX_EXPLAINED) {
        told.push(older::same(&exports.call_explain(&mut *store, &older, *node).await?)?);
    }
    Ok(Ok(Ranking { ranked, rejections: counted(&told, refused.len()) }))
}

/// The explanations of some of so many nodes that were refused. Whether evictions help is not in them: `preempt` knows.
fn counted(told: &[Vec<Reason>], refused: usize) -> Vec<Rejection> {
    let mut sums: Vec<Rejection> = Vec::new();
    let mut add = |filter: &str, message: &str, nodes: usize| {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        match sums.iter_mut().find(|r| r.filter == filter && r.message == message) {
            Some(known) => known.nodes += nodes,
            None => sums.push(Rejection { filter: filter.to_owned(), message: message.to_owned(), nodes, resolvable: true }),
        }
    };
    let mut without = refused - told.len();
    for reasons in told {
        let mut rejections = reasons.iter().filter_map(|r| Some((&r.criterion, r.rejected.as_ref()?))).peekable();
        without += usize::from(rejections.peek().is_none());
        rejections.for_each(|(filter, message)| add(filter, message, 1));
    }
    if without > 0 {
        add("", "node(s) were refused by the policy", without);
    }
    sums
}

/// A choice of another node than these is none.
fn confined(attempt: Attempt, among: Option<&[u32]>) -> Attempt {
    match (&attempt, among) {
        (Attempt::Evict(Preemption { node, .. }), Some(among)) if !among.contains(node) => Attempt::None(Vec::new()),
        _ => attempt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn reason(criterion: &str, rejected: Option<&str>) -> Reason {
        Reason { stage: "Filter".to_owned(), criterion: criterion.to_owned(), rejected: rejected.map(str::to_owned), score: None }
    }

    #[test]
    fn explanations_become_counted_rejections() {
        let cpu = || vec![reason("NodeResourcesFit", Some("Insufficient cpu"))];
        let told = [cpu(), cpu(), vec![reason("Policy", None)]];
        let lines: Vec<String> = counted(&told, 5).iter().map(|r| format!("{} {}: {}", r.nodes, r.filter, r.message)).collect();
        expect![[r#"
            [
                "2 NodeResourcesFit: Insufficient cpu",
                "3 : node(s) were refused by the policy",
            ]
        "#]]
        .assert_debug_eq(&lines);
        assert_eq!(counted(&[], 0), []);
    }

    #[test]
    fn a_choice_outside_of_the_permitted_nodes_is_none() {
        let evict = || Attempt::Evict(Preemption { node: 3, victims: vec!["v".to_owned()] });
        assert_eq!(confined(evict(), None), evict());
        assert_eq!(confined(evict(), Some(&[1, 3])), evict());
        assert_eq!(confined(evict(), Some(&[1])), Attempt::None(Vec::new()));
    }
}
