//! Topology spread: how many matching pods each domain holds.

use rustc_hash::FxHashMap;

use crate::cluster::{Cluster, Constraint, Node, PlacedPod};
use crate::domains::Counts;
use crate::intern::Symbol;
use crate::select::value;
use crate::wish::Wish;

/// One hard constraint's counts.
#[derive(Clone)]
pub struct Spread {
    counts: Counts,
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
    let keys = wish.spread_keys();
    let spread = |(place, constraint): (usize, &&Constraint)| {
        let known = if counts_all_nodes(constraint, wish) { cluster.domains.of(&keys, place).cloned() } else { None };
        let counts = known.unwrap_or_else(|| domains(cluster, wish, &hard, constraint));
        Spread { counts, least: 0, matches_itself: selects(constraint, &wish.labels, cluster) }
    };
    let mut spreads: Vec<Spread> = hard.iter().enumerate().map(spread).collect();
    for (constraint, spread) in hard.iter().zip(&mut spreads) {
        count_pods(cluster, wish, constraint, |node| {
            if complete(&hard, node)
                && counts_node(constraint, wish, node, cluster)
                && let Some(count) = value(&node.labels, constraint.topology_key).and_then(|d| spread.counts.get_mut(&d))
            {
                *count += 1;
            }
        });
        spread.find_least(constraint);
    }
    spreads
}

/// The domains that the constraint counts, none of them with a pod yet.
fn domains(cluster: &Cluster, wish: &Wish, hard: &[&Constraint], constraint: &Constraint) -> Counts {
    let counted = |node: &&Node| complete(hard, node) && counts_node(constraint, wish, node, cluster);
    let nodes = cluster.nodes.iter().flatten().filter(counted);
    nodes.filter_map(|node| Some((value(&node.labels, constraint.topology_key)?, 0))).collect()
}

/// As if the pod came to or left the node. Upstream counts pods here that are being deleted, and those that an empty selector selects:
/// so does this.
pub fn shift(spreads: &mut [Spread], cluster: &Cluster, wish: &Wish, pod: &PlacedPod, node: &Node, by: i64) {
    if spreads.is_empty() || pod.namespace != wish.namespace {
        return;
    }
    if wish.spread.iter().filter(|c| c.hard).any(|c| value(&node.labels, c.topology_key).is_none()) {
        return;
    }
    for (constraint, spread) in wish.spread.iter().filter(|c| c.hard).zip(spreads) {
        if selects(constraint, &pod.labels, cluster)
            && counts_node(constraint, wish, node, cluster)
            && let Some(domain) = value(&node.labels, constraint.topology_key)
        {
            *spread.counts.entry(domain).or_default() += by;
            spread.find_least(constraint);
        }
    }
}

#[inline]
pub fn fault(spreads: &[Spread], wish: &Wish, node: &Node) -> Option<SpreadFault> {
    if spreads.is_empty() { None } else { fault_of_constraints(spreads, wish, node) }
}

fn fault_of_constraints(spreads: &[Spread], wish: &Wish, node: &Node) -> Option<SpreadFault> {
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
pub fn scores<'a, I: Iterator<Item = &'a Node>>(cluster: &Cluster, wish: &Wish, feasible: impl Fn() -> I) -> Option<Vec<Option<i64>>> {
    let soft: Vec<&Constraint> = wish.spread.iter().filter(|c| !c.hard).collect();
    if soft.is_empty() {
        return None;
    }
    let takes_part = |node: &Node| wish.spread_by_default || complete(&soft, node);
    let taking_part = feasible().filter(|n| takes_part(n)).count();
    let mut sums = vec![0.0_f64; feasible().count()];
    for constraint in &soft {
        let by_host = constraint.topology_key == wish.hostname_key;
        // With the defaults, nodes without the label make up a domain of their own.
        let mut counts: FxHashMap<Option<Symbol>, i64> = FxHashMap::default();
        if !by_host {
            for node in feasible().filter(|n| takes_part(n)) {
                counts.entry(value(&node.labels, constraint.topology_key)).or_default();
            }
        }
        let weight = ((if by_host { taking_part } else { counts.len() } + 2) as f64).ln();
        let mut on_node: FxHashMap<u32, i64> = FxHashMap::default();
        count_pods(cluster, wish, constraint, |node| {
            if by_host {
                *on_node.entry(node.id).or_default() += 1;
            } else if takes_part(node)
                && counts_node(constraint, wish, node, cluster)
                && let Some(count) = counts.get_mut(&value(&node.labels, constraint.topology_key))
            {
                *count += 1;
            }
        });
        for (sum, node) in sums.iter_mut().zip(feasible()) {
            let Some(domain) = value(&node.labels, constraint.topology_key) else { continue };
            let count = if by_host { on_node.get(&node.id) } else { counts.get(&Some(domain)) };
            *sum += count.copied().unwrap_or(0) as f64 * weight + (constraint.max_skew - 1) as f64;
        }
    }
    Some(sums.iter().zip(feasible()).map(|(sum, node)| takes_part(node).then(|| sum.round() as i64)).collect())
}

impl Spread {
    fn find_least(&mut self, constraint: &Constraint) {
        let too_few = (self.counts.len() as i64) < constraint.min_domains.unwrap_or(1);
        self.least = if too_few { 0 } else { self.counts.values().copied().min().unwrap_or(0) };
    }
}

/// Calls back with the node of each placed pod of the wish's namespace that the constraint counts.
fn count_pods(cluster: &Cluster, wish: &Wish, constraint: &Constraint, mut found: impl FnMut(&Node)) {
    // An empty selector selects every pod, and upstream counts none of them.
    let Some(selector) = constraint.selector.as_ref().filter(|s| !s.is_empty()) else { return };
    for pod in cluster.members.selected(wish.namespace, selector).filter_map(|i| cluster.pod(i)) {
        if !pod.deleting
            && selects(constraint, &pod.labels, cluster)
            && let Some(node) = cluster.node(pod.node)
        {
            found(node);
        }
    }
}

fn complete(constraints: &[&Constraint], node: &Node) -> bool {
    constraints.iter().all(|c| value(&node.labels, c.topology_key).is_some())
}

fn selects(constraint: &Constraint, labels: &[(Symbol, Symbol)], cluster: &Cluster) -> bool {
    constraint.selector.as_ref().is_some_and(|s| s.matches(labels, &cluster.symbols))
}

/// No node is left out for what the pod asks of nodes or tolerates.
fn counts_all_nodes(constraint: &Constraint, wish: &Wish) -> bool {
    !constraint.honor_taints && (!constraint.honor_affinity || wish.accepts_every_node())
}

fn counts_node(constraint: &Constraint, wish: &Wish, node: &Node, cluster: &Cluster) -> bool {
    (!constraint.honor_affinity || wish.accepts_node(node, &cluster.symbols)) && (!constraint.honor_taints || wish.tolerates_all(node))
}
