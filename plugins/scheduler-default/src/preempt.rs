//! Whom to evict so that a pod fits: upstream's DefaultPreemption.
//!
//! On each candidate node all pods of lower priority are taken away; if the pod fits then, as many as possible are put back, those
//! under a disruption budget and of high priority first. The node that hurts least wins.

use pintle_sdk::scheduler::{NodeId, Pod, Preemption};

use crate::cluster::{Cluster, PlacedPod};
use crate::filter::{Facts, Rejections, passes};
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

pub fn choose(cluster: &mut Cluster, pod: &Pod) -> Option<Preemption> {
    if !pod.may_preempt {
        return None;
    }
    let wish = Wish::compile(pod, &mut cluster.symbols);
    let facts = Facts::gather(cluster, &wish);
    let wanted = (cluster.node_count / 10).max(MIN_CANDIDATES);
    let ids: Vec<NodeId> = cluster.nodes.iter().flatten().map(|n| n.id).collect();
    let mut candidates = Vec::new();
    for id in ids {
        if could_help(cluster, &wish, &facts, id)
            && let Some(candidate) = victims_on(cluster, &wish, id)
        {
            candidates.push(candidate);
        }
        if candidates.len() >= wanted {
            break;
        }
    }
    let best = candidates.into_iter().min_by_key(Candidate::harm)?;
    let mut victims = best.victims;
    victims.sort_by_key(|v| v.priority);
    Some(Preemption { node: best.node, victims: victims.into_iter().map(|v| v.uid.into_string()).collect() })
}

fn could_help(cluster: &Cluster, wish: &Wish, facts: &Facts, id: NodeId) -> bool {
    let Some(node) = cluster.node(id) else { return false };
    let mut rejections = Rejections::default();
    !passes(cluster, node, wish, facts, &mut rejections)
        && rejections.resolvable_only()
        && node.pods.iter().filter_map(|i| cluster.pod(*i)).any(|p| p.priority < wish.priority)
}

/// Tries on the live state and leaves it as it was.
fn victims_on(cluster: &mut Cluster, wish: &Wish, id: NodeId) -> Option<Candidate> {
    let lower: Vec<Box<str>> = {
        let node = cluster.node(id)?;
        let mut lower: Vec<&PlacedPod> = node.pods.iter().filter_map(|i| cluster.pod(*i)).filter(|p| p.priority < wish.priority).collect();
        // Most important first: higher priority, then longer running.
        lower.sort_by_key(|p| (-i64::from(p.priority), p.started));
        lower.iter().map(|p| p.uid.clone()).collect()
    };
    let mut removed: Vec<PlacedPod> = lower.iter().filter_map(|uid| cluster.forget(uid)).collect();
    if !fits(cluster, wish, id) {
        removed.into_iter().for_each(|p| cluster.place(p));
        return None;
    }
    let violating = violations(cluster, &removed);
    let mut order: Vec<usize> = (0..removed.len()).collect();
    order.sort_by_key(|i| !violating[*i]);
    let (mut victims, mut budget_violations, mut gone) = (Vec::new(), 0, Vec::new());
    let mut slots: Vec<Option<PlacedPod>> = removed.drain(..).map(Some).collect();
    for index in order {
        let Some(pod) = slots[index].take() else { continue };
        let uid = pod.uid.clone();
        cluster.place(pod);
        if fits(cluster, wish, id) {
            continue;
        }
        if let Some(pod) = cluster.forget(&uid) {
            victims.push(Victim { uid, priority: pod.priority, started: pod.started });
            budget_violations += usize::from(violating[index]);
            gone.push(pod);
        }
    }
    gone.into_iter().for_each(|p| cluster.place(p));
    (!victims.is_empty()).then_some(Candidate { node: id, victims, budget_violations })
}

fn fits(cluster: &Cluster, wish: &Wish, id: NodeId) -> bool {
    let facts = Facts::gather(cluster, wish);
    cluster.node(id).is_some_and(|node| passes(cluster, node, wish, &facts, &mut Rejections::default()))
}

/// For each pod, whether its eviction would overdraw a disruption budget, when they are evicted in this order.
fn violations(cluster: &Cluster, pods: &[PlacedPod]) -> Vec<bool> {
    let mut left: Vec<i32> = cluster.budgets.iter().map(|b| b.allowed).collect();
    let overdraws = |pod: &PlacedPod, left: &mut Vec<i32>| {
        let mut violates = false;
        for (budget, left) in cluster.budgets.iter().zip(left.iter_mut()) {
            let selected = budget.selector.as_ref().is_some_and(|s| s.matches(&pod.labels, &cluster.symbols));
            if budget.namespace == pod.namespace && selected && !pod.labels.is_empty() {
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
