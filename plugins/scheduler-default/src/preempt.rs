//! Whom to evict so that a pod fits: upstream's DefaultPreemption.
//!
//! On each candidate node all pods of lower priority are taken away; if the pod fits then, as many as possible are put back, those
//! under a disruption budget and of high priority first. The node that hurts least wins.

use std::collections::HashSet;

use pintle_sdk::scheduler::{Attempt, NodeId, Pod, Preemption};

use crate::cluster::{Cluster, PlacedPod};
use crate::filter::{Facts, Rejections, Why, accepts, check};
use crate::wish::Wish;

/// Nodes for which victims are worked out; more would cost time and rarely find better ones.
const MIN_CANDIDATES: usize = 100;

struct Candidate {
    node: NodeId,
    victims: Vec<Victim>,
    budget_violations: usize,
}

struct Victim {
    uid: Box<str>,
    priority: i32,
    started: i64,
}

/// `seed` says with which node to begin, so that the first ones are not always those that suffer. On other nodes than those in `among`
/// evictions do not help.
pub fn attempt(cluster: &mut Cluster, pod: &Pod, among: Option<&[NodeId]>, seed: u64) -> Attempt {
    let mut rejections = Rejections::default();
    let wish = Wish::compile(pod, &mut cluster.symbols);
    if !pod.may_preempt || wish.names_none() {
        return Attempt::None(Vec::new());
    }
    let facts = Facts::gather(cluster, &wish);
    let ids: Vec<NodeId> = cluster.nodes.iter().flatten().map(|n| n.id).collect();
    let among: Option<HashSet<NodeId>> = among.map(|ids| ids.iter().copied().collect());
    let permitted = |id: &NodeId| among.as_ref().is_none_or(|among| among.contains(id));
    let mut potential: Vec<NodeId> = ids.into_iter().filter(|id| permitted(id) && could_help(cluster, &wish, &facts, *id)).collect();
    if !potential.is_empty() {
        let offset = (seed % potential.len() as u64) as usize;
        potential.rotate_left(offset);
    }
    let hopeless = cluster.node_count - potential.len();
    if hopeless > 0 {
        rejections.add_nodes(Why::NotHelpful, hopeless as u32);
    }
    let wanted = (potential.len() / 10).max(MIN_CANDIDATES);
    let mut candidates: Vec<Candidate> = Vec::new();
    for id in potential {
        candidates.extend(victims_on(cluster, &wish, &facts, id, &mut rejections));
        if candidates.len() >= wanted && candidates.iter().any(|c| c.budget_violations == 0) {
            break;
        }
    }
    let Some(best) = candidates.into_iter().min_by_key(Candidate::harm) else {
        return Attempt::None(rejections.report(&cluster.symbols));
    };
    let mut victims = best.victims;
    victims.sort_by_key(|v| v.priority);
    Attempt::Evict(Preemption { node: best.node, victims: victims.into_iter().map(|v| v.uid.into_string()).collect() })
}

/// The node refuses the pod for reasons that evictions may take away.
fn could_help(cluster: &mut Cluster, wish: &Wish, facts: &Facts, id: NodeId) -> bool {
    let mut rejections = Rejections::default();
    !accepts(cluster, wish, facts, id, &mut rejections) && rejections.resolvable_only()
}

/// Tries on the live state and leaves it as it was. Notes why evictions do not help, when they do not.
fn victims_on(cluster: &mut Cluster, wish: &Wish, facts: &Facts, id: NodeId, rejections: &mut Rejections) -> Option<Candidate> {
    let lower: Vec<Box<str>> = {
        let node = cluster.node(id)?;
        let mut lower: Vec<&PlacedPod> = node.pods.iter().filter_map(|i| cluster.pod(*i)).filter(|p| p.priority < wish.priority).collect();
        // Most important first: higher priority, then longer running.
        lower.sort_by_key(|p| (-i64::from(p.priority), p.started));
        lower.iter().map(|p| p.uid.clone()).collect()
    };
    if lower.is_empty() {
        rejections.add(Why::NoVictims);
        return None;
    }
    let mut facts = facts.clone();
    let removed: Vec<PlacedPod> = lower.iter().filter_map(|uid| cluster.take_away(uid)).collect();
    removed.iter().for_each(|pod| facts.shift(cluster, wish, pod, -1));
    if !check(cluster, wish, &facts, id, rejections) {
        removed.into_iter().for_each(|p| cluster.place(p));
        return None;
    }
    let violating = violations(cluster, &removed);
    let mut order: Vec<(bool, PlacedPod)> = violating.into_iter().zip(removed).collect();
    order.sort_by_key(|(violates, _)| !violates);
    let (mut victims, mut budget_violations, mut gone) = (Vec::new(), 0, Vec::new());
    for (violates, pod) in order {
        facts.shift(cluster, wish, &pod, 1);
        let uid = pod.uid.clone();
        cluster.place(pod);
        if check(cluster, wish, &facts, id, &mut Rejections::default()) {
            continue;
        }
        if let Some(pod) = cluster.take_away(&uid) {
            facts.shift(cluster, wish, &pod, -1);
            victims.push(Victim { uid, priority: pod.priority, started: pod.started });
            budget_violations += usize::from(violates);
            gone.push(pod);
        }
    }
    gone.into_iter().for_each(|p| cluster.place(p));
    (!victims.is_empty()).then_some(Candidate { node: id, victims, budget_violations })
}

/// For each pod, whether its eviction would overdraw a disruption budget, when they are evicted in this order.
fn violations(cluster: &Cluster, pods: &[PlacedPod]) -> Vec<bool> {
    let mut left: Vec<i32> = cluster.budgets.iter().map(|b| b.allowed).collect();
    let overdraws = |pod: &PlacedPod, left: &mut Vec<i32>| {
        let mut violates = false;
        for (budget, left) in cluster.budgets.iter().zip(left.iter_mut()) {
            let selected = budget.selector.as_ref().is_some_and(|s| !s.is_empty() && s.matches(&pod.labels, &cluster.symbols));
            if budget.namespace == pod.namespace && selected && !pod.labels.is_empty() && !budget.disrupted.contains(&pod.name) {
                *left -= 1;
                violates |= *left < 0;
            }
        }
        violates
    };
    pods.iter().map(|pod| overdraws(pod, &mut left)).collect()
}

impl Candidate {
    /// Smaller is better: violated budgets, the most important victim, all victims' importance, their number, and how long the most
    /// important ones have been running.
    fn harm(&self) -> (usize, i32, i64, usize, std::cmp::Reverse<i64>) {
        let highest = self.victims.iter().map(|v| v.priority).max().unwrap_or(i32::MIN);
        // Priorities may be negative; shifted, a larger number of victims always weighs more.
        let sum = self.victims.iter().map(|v| i64::from(v.priority) + i64::from(i32::MAX) + 1).sum();
        let earliest_start = self.victims.iter().filter(|v| v.priority == highest).map(|v| v.started).min().unwrap_or(0);
        (self.budget_violations, highest, sum, self.victims.len(), std::cmp::Reverse(earliest_start))
    }
}
