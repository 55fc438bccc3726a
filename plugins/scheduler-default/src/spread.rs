//! Topology spread: how many matching pods each domain holds.

use rustc_hash::FxHashMap;

use crate::cluster::{Cluster, Constraint, Node};
use crate::intern::Symbol;
use crate::select::value;
use crate::wish::Wish;

/// One hard constraint's counts.
pub struct Spread {
    counts: FxHashMap<Symbol, i64>,
    least: i64,
    matches_itself: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpreadFault {
    MissingLabel,
    Skew,
}

/// For each hard constraint of the pod, in order.
pub fn gather(cluster: &Cluster, wish: &Wish) -> Vec<Spread> {
    let hard: Vec<&Constraint> = wish.spread.iter().filter(|c| c.hard).collect();
    if hard.is_empty() {
        return Vec::new();
    }
    let mut all: Vec<FxHashMap<Symbol, i64>> = vec![FxHashMap::default(); hard.len()];
    for node in cluster.nodes.iter().flatten() {
        if hard.iter().any(|c| value(&node.labels, c.topology_key).is_none()) {
            continue;
        }
        for (constraint, counts) in hard.iter().zip(&mut all) {
            if counts_node(constraint, wish, node, cluster)
                && let Some(domain) = value(&node.labels, constraint.topology_key)
            {
                counts.entry(domain).or_default();
            }
        }
    }
    for (constraint, counts) in hard.iter().zip(&mut all) {
        count_pods(cluster, wish, constraint, |node| {
            let complete = hard.iter().all(|c| value(&node.labels, c.topology_key).is_some());
            if complete && counts_node(constraint, wish, node, cluster)
                && let Some(count) = value(&node.labels, constraint.topology_key).and_then(|d| counts.get_mut(&d))
            {
                *count += 1;
            }
        });
    }
    let summed = hard.iter().zip(all).map(|(constraint, counts)| {
        let too_few = constraint.min_domains.is_some_and(|min| (counts.len() as i64) < min);
        let least = if too_few { 0 } else { counts.values().copied().min().unwrap_or(0) };
        Spread { counts, least, matches_itself: matches(constraint, &wish.labels, cluster) }
    });
    summed.collect()
}

pub fn fault(spreads: &[Spread], wish: &Wish, node: &Node) -> Option<SpreadFault> {
    for (constraint, spread) in wish.spread.iter().filter(|c| c.hard).zip(spreads) {
        let Some(domain) = value(&node.labels, constraint.topology_key) else { return Some(SpreadFault::MissingLabel) };
        let there = spread.counts.get(&domain).copied().unwrap_or(0);
        if there + i64::from(spread.matches_itself) - spread.least > constraint.max_skew {
            return Some(SpreadFault::Skew);
        }
    }
    None
}

/// Raw scores for soft constraints, lower is better; `None` for a node that lacks one of the labels.
pub fn scores(cluster: &Cluster, wish: &Wish, feasible: &[&Node]) -> Option<Vec<Option<i64>>> {
    let soft: Vec<&Constraint> = wish.spread.iter().filter(|c| !c.hard).collect();
    if soft.is_empty() {
        return None;
    }
    let complete = |node: &Node| soft.iter().all(|c| value(&node.labels, c.topology_key).is_some());
    let counted = feasible.iter().filter(|n| complete(n)).count();
    let mut sums = vec![0.0_f64; feasible.len()];
    for constraint in &soft {
        let by_host = constraint.topology_key == wish.hostname_key;
        let mut counts: FxHashMap<Symbol, i64> = FxHashMap::default();
        for node in feasible.iter().filter(|n| complete(n)) {
            if let Some(domain) = value(&node.labels, constraint.topology_key) {
                counts.entry(domain).or_default();
            }
        }
        let domains = if by_host { counted } else { counts.len() };
        let weight = ((domains + 2) as f64).ln();
        count_pods(cluster, wish, constraint, |node| {
            if by_host || (complete(node) && counts_node(constraint, wish, node, cluster)) {
                if let Some(count) = value(&node.labels, constraint.topology_key).and_then(|d| counts.get_mut(&d)) {
                    *count += 1;
                }
            }
        });
        for (sum, node) in sums.iter_mut().zip(feasible) {
            if let Some(count) = value(&node.labels, constraint.topology_key).and_then(|d| counts.get(&d)) {
                *sum += *count as f64 * weight + (constraint.max_skew - 1) as f64;
            }
        }
    }
    Some(sums.iter().zip(feasible).map(|(sum, node)| complete(node).then(|| sum.round() as i64)).collect())
}

/// Calls back with the node of each placed pod of the wish's namespace that the constraint counts.
fn count_pods(cluster: &Cluster, wish: &Wish, constraint: &Constraint, mut found: impl FnMut(&Node)) {
    let Some(members) = cluster.by_namespace.get(&wish.namespace) else { return };
    for pod in members.iter().filter_map(|i| cluster.pod(*i)) {
        if !pod.deleting
            && matches(constraint, &pod.labels, cluster)
            && let Some(node) = cluster.node(pod.node)
        {
            found(node);
        }
    }
}

fn matches(constraint: &Constraint, labels: &[(Symbol, Symbol)], cluster: &Cluster) -> bool {
    constraint.selector.as_ref().is_some_and(|s| s.matches(labels, &cluster.symbols))
}

fn counts_node(constraint: &Constraint, wish: &Wish, node: &Node, cluster: &Cluster) -> bool {
    (!constraint.honor_affinity || wish.accepts_node(node, &cluster.symbols)) && (!constraint.honor_taints || wish.tolerates_all(node))
}
