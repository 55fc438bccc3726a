//! The scheduler world: a stateful policy that is fed the cluster as deltas and decides one pod at a time.
//!
//! The types are the WIT's own (`wit/scheduler/scheduler.wit` documents each field); natively they are ordinary structs, so a
//! policy is tested by feeding it nodes and asking. The host owns queue, snapshot, assuming and binding.

pub use bindings::pintle::host::types::Pair;
pub use bindings::pintle::scheduler::types::{
    Assumption, Attempt, Budget, Choice, Constraints, Delta, Effect, HostPort, Image, Namespace, Node, NodeAffinity, NodeId, NodeSelectorTerm,
    Operator, Outcome, Placement, Pod, PodAffinity, PodAffinityTerm, Preemption, PreferredNodeTerm, PreferredPodTerm, Ranked, Ranking, Reason,
    Rejection, Requirement, Resources, Scope, Spread, SpreadConstraint, Taint, Toleration, Unsatisfiable, VolumeReason, VolumeUse,
};

use std::collections::BTreeSet;

use crate::Env;

pub trait Scheduler: Default {
    /// `feed` takes `assume` as the host says it. Otherwise it gets `place` in its stead: the SDK keeps the pod that was asked about last.
    const TAKES_ASSUMPTIONS: bool = false;

    /// Takes `spec.config`; an error refuses the plugin with its words. Called once, before anything is fed.
    fn configure(&mut self, _env: &dyn Env, _config: &str) -> Result<(), String> {
        Ok(())
    }
    /// Forgets everything that was fed.
    fn reset(&mut self);
    fn feed(&mut self, env: &dyn Env, deltas: Vec<Delta>);
    /// Filters and scores. Must not place the pod: the host feeds its placement when it takes the choice.
    fn schedule(&mut self, env: &dyn Env, pod: Pod, scope: Scope) -> Result<Outcome, String>;
    /// Filters and scores these nodes and no others, in a profile of several components. Made of `schedule` and `explain` where a policy
    /// does not write it, which looks at every node.
    fn rank(&mut self, env: &dyn Env, pod: Pod, nodes: Vec<NodeId>) -> Result<Ranking, String> {
        rank_by_schedule(self, env, pod, nodes)
    }
    /// Whom to evict so that the pod fits, on one of the nodes in `among` where there is such a list. Without an answer nobody is.
    fn preempt(&mut self, _env: &dyn Env, _pod: Pod, _among: Option<Vec<NodeId>>) -> Result<Attempt, String> {
        Ok(Attempt::None(Vec::new()))
    }
    /// Every criterion's word on one node.
    fn explain(&mut self, _env: &dyn Env, _pod: Pod, _node: NodeId) -> Vec<Reason> {
        Vec::new()
    }
}

/// The pod that a policy was asked about last, to spell out what the host assumes of it.
#[derive(Default)]
pub struct LastAsked(Option<Pod>);

impl LastAsked {
    pub fn remember<P: Scheduler>(&mut self, pod: &Pod) {
        if !P::TAKES_ASSUMPTIONS {
            self.0 = Some(pod.clone());
        }
    }

    /// `assume` as `place`; of another pod than the last one there is nothing to say.
    pub fn spell_out<P: Scheduler>(&mut self, deltas: Vec<Delta>) -> Vec<Delta> {
        if P::TAKES_ASSUMPTIONS || !deltas.iter().any(|delta| matches!(delta, Delta::Assume(_))) {
            return deltas;
        }
        let spell_out = |delta| match delta {
            Delta::Assume(Assumption { uid, node }) => {
                let pod = self.0.take_if(|pod| pod.uid == uid)?;
                Some(Delta::Place(Placement { pod, node }))
            }
            other => Some(other),
        };
        deltas.into_iter().filter_map(spell_out).collect()
    }
}

fn rank_by_schedule<P: Scheduler>(policy: &mut P, env: &dyn Env, mut pod: Pod, nodes: Vec<NodeId>) -> Result<Ranking, String> {
    // A nominated node that fits would be the only answer.
    pod.nominated = None;
    let mut ranked = match policy.schedule(env, pod.clone(), Scope { start: 0, limit: 0, top: u32::MAX, seed: 0 })? {
        Outcome::Fits(choice) => choice.ranked,
        Outcome::None(_) => Vec::new(),
    };
    let asked: BTreeSet<NodeId> = nodes.iter().copied().collect();
    ranked.retain(|r| asked.contains(&r.node));
    let passed: BTreeSet<NodeId> = ranked.iter().map(|r| r.node).collect();
    let mut rejections: Vec<Rejection> = Vec::new();
    for node in nodes.into_iter().filter(|node| !passed.contains(node)) {
        for reason in policy.explain(env, pod.clone(), node) {
            let (filter, Some(message)) = (reason.criterion, reason.rejected) else { continue };
            match rejections.iter_mut().find(|r| r.filter == filter && r.message == message) {
                Some(known) => known.nodes += 1,
                None => rejections.push(Rejection { filter, message, nodes: 1, resolvable: true }),
            }
        }
    }
    Ok(Ranking { ranked, rejections })
}

/// Makes a type that implements [`Scheduler`] the component's scheduler.
#[macro_export]
macro_rules! export_scheduler {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::scheduler::{LastAsked, Scheduler, bindings, set_up};
            ::std::thread_local! {
                static POLICY: ::std::cell::RefCell<$policy> = ::std::default::Default::default();
                static LAST_ASKED: ::std::cell::RefCell<LastAsked> = ::std::default::Default::default();
            }
            fn with<T>(call: impl FnOnce(&mut $policy) -> T) -> T {
                set_up();
                POLICY.with_borrow_mut(call)
            }
            const HOST: &$crate::scheduler::Host = &$crate::scheduler::Host;
            struct Component;
            impl bindings::Guest for Component {
                fn configure(config: String) -> Result<(), String> {
                    with(|p| p.configure(HOST, &config))
                }
                fn reset() {
                    LAST_ASKED.set(LastAsked::default());
                    with(|p| p.reset())
                }
                fn feed(deltas: Vec<$crate::scheduler::Delta>) {
                    let deltas = LAST_ASKED.with_borrow_mut(|last| last.spell_out::<$policy>(deltas));
                    with(|p| p.feed(HOST, deltas))
                }
                fn schedule(pod: $crate::scheduler::Pod, scope: $crate::scheduler::Scope) -> Result<$crate::scheduler::Outcome, String> {
                    LAST_ASKED.with_borrow_mut(|last| last.remember::<$policy>(&pod));
                    with(|p| p.schedule(HOST, pod, scope))
                }
                fn rank(pod: $crate::scheduler::Pod, nodes: Vec<$crate::scheduler::NodeId>) -> Result<$crate::scheduler::Ranking, String> {
                    with(|p| p.rank(HOST, pod, nodes))
                }
                fn preempt(pod: $crate::scheduler::Pod, among: Option<Vec<$crate::scheduler::NodeId>>) -> Result<$crate::scheduler::Attempt, String> {
                    with(|p| p.preempt(HOST, pod, among))
                }
                fn explain(pod: $crate::scheduler::Pod, node: $crate::scheduler::NodeId) -> Vec<$crate::scheduler::Reason> {
                    with(|p| p.explain(HOST, pod, node))
                }
            }
    bindings::export_world!(Component with_types_in bindings);
        };
    };
}

impl Pair {
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

// The type is generated: there is nothing to write a derive at.
#[allow(clippy::derivable_impls)]
impl Default for Resources {
    fn default() -> Self {
        Self { milli_cpu: 0, memory: 0, ephemeral_storage: 0, extended: Vec::new() }
    }
}

/// What a pod asks of its node beside room, with nothing where it has no such part.
#[derive(Clone, Copy, Debug)]
pub struct Asks<'a> {
    pub nodes: &'a NodeAffinity,
    pub pods: &'a PodAffinity,
    pub volumes: &'a VolumeUse,
    pub spread: &'a Spread,
    pub host_ports: &'a [HostPort],
}

const NO_NODES: NodeAffinity = NodeAffinity { selector: Vec::new(), required: None, preferred: Vec::new() };
const NO_PODS: PodAffinity = PodAffinity { required: Vec::new(), preferred: Vec::new(), required_anti: Vec::new(), preferred_anti: Vec::new() };
const NO_VOLUMES: VolumeUse =
    VolumeUse { nodes: Vec::new(), reasons: Vec::new(), claims: Vec::new(), exclusive_claims: Vec::new(), images: Vec::new() };
const NO_SPREAD: Spread = Spread { constraints: Vec::new(), by_default: false };

macro_rules! empty {
    ($($part:ty = $nothing:expr;)*) => {
        $(
            // As above.
            #[allow(clippy::derivable_impls)]
            impl Default for $part {
                fn default() -> Self {
                    $nothing
                }
            }
        )*
    };
}

empty! {
    Constraints = Constraints { nodes: None, pods: None, volumes: None, spread: None, host_ports: Vec::new() };
    NodeAffinity = NO_NODES;
    PodAffinity = NO_PODS;
    VolumeUse = NO_VOLUMES;
    Spread = NO_SPREAD;
}

impl Pod {
    /// What it asks of its node beside room; of a pod that asks for nothing, empty lists.
    pub fn asks(&self) -> Asks<'_> {
        static NODES: NodeAffinity = NO_NODES;
        static PODS: PodAffinity = NO_PODS;
        static VOLUMES: VolumeUse = NO_VOLUMES;
        static SPREAD: Spread = NO_SPREAD;
        let asked = self.constraints.as_ref();
        Asks {
            nodes: asked.and_then(|a| a.nodes.as_ref()).unwrap_or(&NODES),
            pods: asked.and_then(|a| a.pods.as_ref()).unwrap_or(&PODS),
            volumes: asked.and_then(|a| a.volumes.as_ref()).unwrap_or(&VOLUMES),
            spread: asked.and_then(|a| a.spread.as_ref()).unwrap_or(&SPREAD),
            host_ports: asked.map_or(&[], |a| &a.host_ports),
        }
    }

    /// A pod without any wish, for tests: `Pod { requests, ..Pod::named("a") }`.
    pub fn named(name: &str) -> Self {
        Self {
            uid: name.to_owned(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            labels: Vec::new(),
            annotations: Vec::new(),
            priority: 0,
            may_preempt: true,
            requests: Resources::default(),
            scored_milli_cpu: 0,
            scored_memory: 0,
            tolerations: Vec::new(),
            images: Vec::new(),
            constraints: None,
            nominated: None,
            started: 0,
            deleting: false,
        }
    }
}

/// A node of that size, for tests.
impl Node {
    pub fn sized(id: NodeId, name: &str, milli_cpu: i64, memory: i64, max_pods: u32) -> Self {
        Self {
            id,
            name: name.to_owned(),
            labels: vec![Pair::new("kubernetes.io/hostname", name)],
            annotations: Vec::new(),
            taints: Vec::new(),
            unschedulable: false,
            allocatable: Resources { milli_cpu, memory, ..Resources::default() },
            max_pods,
            images: Vec::new(),
        }
    }
}

crate::glue::host_env!(bindings);

#[doc(hidden)]
#[allow(unsafe_code, clippy::all)]
pub mod bindings {
    macro_rules! generate {
        ($($derive:tt)*) => {
            wit_bindgen::generate!({
                path: ["../../wit/host", "../../wit/scheduler"],
                world: "pintle:scheduler/scheduler",
                additional_derives: [PartialEq $($derive)*],
                pub_export_macro: true,
                export_macro_name: "export_scheduler_world",
                generate_all,
            });
        };
    }
    #[cfg(not(feature = "serde"))]
    generate!();
    #[cfg(feature = "serde")]
    generate!(, serde::Serialize, serde::Deserialize);
    pub use export_scheduler_world as export_world;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Policy;

    impl Scheduler for Policy {
        fn reset(&mut self) {}
        fn feed(&mut self, _env: &dyn Env, _deltas: Vec<Delta>) {}
        fn schedule(&mut self, _env: &dyn Env, _pod: Pod, _scope: Scope) -> Result<Outcome, String> {
            Ok(Outcome::None(Vec::new()))
        }
    }

    #[test]
    fn what_is_assumed_of_the_last_pod_is_spelled_out_once() {
        let mut last = LastAsked::default();
        last.remember::<Policy>(&Pod::named("a"));
        let assume = |uid: &str| Delta::Assume(Assumption { uid: uid.to_owned(), node: 3 });
        assert_eq!(last.spell_out::<Policy>(vec![assume("b"), Delta::RemoveNode(1)]), [Delta::RemoveNode(1)]);
        let placed = Delta::Place(Placement { pod: Pod::named("a"), node: 3 });
        assert_eq!(last.spell_out::<Policy>(vec![assume("a"), Delta::RemoveNode(1)]), [placed, Delta::RemoveNode(1)]);
        assert_eq!(last.spell_out::<Policy>(vec![assume("a")]), []);
    }
}
