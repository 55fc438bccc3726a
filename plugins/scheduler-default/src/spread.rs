//! Topology spread: how many matching pods each domain holds.

use std::borrow::Cow;
use std::rc::Rc;

use pintle_sdk::scheduler::NodeId;

use crate::cluster::{Cluster, Constraint, Node, PlacedPod};
use crate::domains::{Counts, Topology};
use crate::intern::Symbol;
use crate::strides::{each_in_strides, in_strides};
use crate::wish::Wish;

/// One hard constraint's counts.
#[derive(Clone)]
pub struct Spread {
    topology: Rc<Topology>,
    counts: Counts,
    matches_itself: bool,
    max_skew: i64,
    /// The most that a domain may hold for the pod to be allowed there.
    limit: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpreadFault {
    MissingLabel,
    Skew,
}

/// Raw scores, lower is better.
pub struct Scores {
    /// [`LEFT_OUT`] for a node that lacks one of the labels.
    pub of_nodes: Vec<i64>,
    /// The extremes of those that are not left out; 0 where all are.
    pub least: i64,
    pub most: i64,
}

pub const LEFT_OUT: i64 = i64::MIN;

/// For each hard constraint of the pod, in order.
pub fn gather(cluster: &Cluster, wish: &Wish) -> Vec<Spread> {
    let hard: Vec<&Constraint> = wish.spread.iter().filter(|c| c.hard).collect();
    if hard.is_empty() {
        return Vec::new();
    }
    let keys = wish.spread_keys();
    let topologies = topologies(cluster, &hard);
    let spread = |(place, constraint): (usize, &&Constraint)| {
        let topology = topologies[place].clone();
        let all_nodes = counts_all_nodes(constraint, wish);
        let counts_node = |id: NodeId| {
            complete(&topologies, id) && (all_nodes || cluster.node(id).is_some_and(|node| counts_node(constraint, wish, node, cluster)))
        };
        let known = if all_nodes { cluster.domains.of_set(&keys, place).cloned() } else { None };
        let nodes = || cluster.nodes.iter().flatten().map(|node| node.id);
        let mut counts = known.unwrap_or_else(|| Counts::of(&topology, nodes().filter(|id| counts_node(*id))));
        let mut nodes = nodes_of_counted(cluster, wish, constraint);
        // A node without the label has no domain to count in.
        if !all_nodes || hard.len() > 1 {
            nodes.to_mut().retain(|id| counts_node(*id));
        }
        counts.count(&topology, &nodes);
        let matches_itself = selects(constraint, &wish.labels, cluster);
        let mut spread = Spread { topology, counts, matches_itself, max_skew: constraint.max_skew, limit: 0 };
        spread.find_least(constraint);
        spread
    };
    hard.iter().enumerate().map(spread).collect()
}

/// As if the pod came to or left the node. Upstream counts pods here that are being deleted, and those that an empty selector selects:
/// so does this.
pub fn shift(spreads: &mut [Spread], cluster: &Cluster, wish: &Wish, pod: &PlacedPod, node: &Node, by: i64) {
    if spreads.is_empty() || pod.namespace != wish.namespace {
        return;
    }
    if spreads.iter().any(|spread| spread.topology.of(node.id).is_none()) {
        return;
    }
    for (constraint, spread) in wish.spread.iter().filter(|c| c.hard).zip(spreads) {
        if selects(constraint, &pod.labels, cluster)
            && counts_node(constraint, wish, node, cluster)
            && let Some(domain) = spread.topology.of(node.id)
        {
            spread.counts.include(domain);
            spread.counts.add(domain, by);
            spread.find_least(constraint);
        }
    }
}

#[inline]
pub fn fault(spreads: &[Spread], id: NodeId) -> Option<SpreadFault> {
    spreads.iter().find_map(|spread| spread.fault(id))
}

/// For soft constraints, of nodes in the order in which they are given.
pub fn scores(cluster: &Cluster, wish: &Wish, feasible: &[NodeId]) -> Option<Scores> {
    let soft: Vec<&Constraint> = wish.spread.iter().filter(|c| !c.hard).collect();
    if soft.is_empty() {
        return None;
    }
    let topologies = topologies(cluster, &soft);
    let all_have = |topology: &Rc<Topology>| topology.is_complete() || feasible.iter().all(|id| topology.of(*id).is_some());
    let all_take_part = wish.spread_by_default || topologies.iter().all(all_have);
    // Of feasible nodes.
    let takes_part = |id: NodeId| all_take_part || complete(&topologies, id);
    let mut sums = vec![0.0_f64; feasible.len()];
    for (constraint, topology) in soft.iter().zip(&topologies) {
        // Added to each node's sum that has the label.
        let skew = (constraint.max_skew - 1) as f64;
        if constraint.topology_key == wish.hostname_key {
            let taking_part = if all_take_part { feasible.len() } else { feasible.iter().filter(|id| takes_part(**id)).count() };
            let weight = ((taking_part + 2) as f64).ln();
            let nodes = nodes_of_counted(cluster, wish, constraint);
            add_by_host(&mut sums, feasible, topology, &on_nodes(&nodes, cluster.nodes.len()), weight, skew);
            continue;
        }
        // With the defaults, nodes without the label make up a domain of their own.
        let without_label = topology.domains();
        let domain_of = |id: NodeId| topology.of(id).unwrap_or(without_label);
        let mut counts = Counts::none(without_label + 1);
        feasible.iter().filter(|id| takes_part(**id)).for_each(|id| counts.include(domain_of(*id)));
        let weight = ((counts.counted() + 2) as f64).ln();
        let all_nodes = counts_all_nodes(constraint, wish);
        let mut nodes = nodes_of_counted(cluster, wish, constraint);
        let counted = |id: NodeId| all_nodes || cluster.node(id).is_some_and(|node| counts_node(constraint, wish, node, cluster));
        if !all_nodes || !wish.spread_by_default {
            nodes.to_mut().retain(|id| (wish.spread_by_default || complete(&topologies, *id)) && counted(*id));
        }
        // What is in the domain of nodes without the label scores none of them.
        counts.count(topology, &nodes);
        for (sum, id) in sums.iter_mut().zip(feasible) {
            if let Some(domain) = topology.of(*id) {
                *sum += counts.get(domain) as f64 * weight + skew;
            }
        }
    }
    let mut of_nodes = vec![LEFT_OUT; feasible.len()];
    let mut extremes: Option<(i64, i64)> = None;
    // Most nodes hold as many of the pods as the one before. No sum is NaN.
    let mut before = (f64::NAN, 0);
    let mut rounded = |sum: f64| {
        if sum != before.0 {
            before = (sum, sum.round() as i64);
            let (least, most) = extremes.unwrap_or((before.1, before.1));
            extremes = Some((least.min(before.1), most.max(before.1)));
        }
        before.1
    };
    if all_take_part {
        in_strides(&mut of_nodes, &sums, |score, sum| *score = rounded(sum));
    } else {
        let all = of_nodes.iter_mut().zip(&sums).zip(feasible);
        all.filter(|(_, id)| takes_part(**id)).for_each(|((score, sum), _)| *score = rounded(*sum));
    }
    let (least, most) = extremes.unwrap_or_default();
    Some(Scores { of_nodes, least, most })
}

impl Spread {
    #[inline]
    pub fn fault(&self, id: NodeId) -> Option<SpreadFault> {
        self.faults()(id)
    }

    /// [`Self::fault`] for many nodes.
    #[inline(always)]
    pub fn faults(&self) -> impl Fn(NodeId) -> Option<SpreadFault> {
        let exceeds = self.counts.exceed(&self.topology, self.limit);
        move |id| match exceeds(id) {
            None => Some(SpreadFault::MissingLabel),
            Some(exceeds) => exceeds.then_some(SpreadFault::Skew),
        }
    }

    fn find_least(&mut self, constraint: &Constraint) {
        let too_few = (self.counts.counted() as i64) < constraint.min_domains.unwrap_or(1);
        let least = if too_few { 0 } else { self.counts.least().unwrap_or(0) };
        self.limit = self.max_skew + least - i64::from(self.matches_itself);
    }
}

/// The node of each placed pod of the wish's namespace that the constraint counts.
fn nodes_of_counted<'a>(cluster: &'a Cluster, wish: &Wish, constraint: &'a Constraint) -> Cow<'a, [NodeId]> {
    // An empty selector selects every pod, and upstream counts none of them.
    let Some(selector) = constraint.selector.as_ref().filter(|s| !s.is_empty()) else { return Cow::Borrowed(&[]) };
    if let Some(mut groups) = cluster.members.nodes_of_selected(wish.namespace, selector) {
        let first = groups.next().unwrap_or_default();
        let rest: Vec<&[NodeId]> = groups.collect();
        return if rest.is_empty() { Cow::Borrowed(first) } else { Cow::Owned([&[first], &rest[..]].concat().concat()) };
    }
    let pods = cluster.members.selected(wish.namespace, selector).filter_map(|i| cluster.pod(i));
    pods.filter(|pod| !pod.deleting && selects(constraint, &pod.labels, cluster)).map(|pod| pod.node).collect()
}

/// How many times each of so many nodes is among these.
#[inline(never)]
fn on_nodes(nodes: &[NodeId], count: usize) -> Vec<u32> {
    let mut on_node = vec![0_u32; count];
    each_in_strides(nodes, |id| {
        if let Some(count) = on_node.get_mut(*id as usize) {
            *count += 1;
        }
    });
    on_node
}

/// A loop of its own, as [`Counts::count`] is.
#[inline(never)]
fn add_by_host(sums: &mut [f64], feasible: &[NodeId], topology: &Topology, on_node: &[u32], weight: f64, skew: f64) {
    let column = topology.column();
    in_strides(sums, feasible, |sum, id| {
        if Topology::has_label(column, id) {
            *sum += f64::from(on_node.get(id as usize).copied().unwrap_or(0)) * weight + skew;
        }
    });
}

fn topologies(cluster: &Cluster, constraints: &[&Constraint]) -> Vec<Rc<Topology>> {
    constraints.iter().map(|constraint| cluster.domains.of(constraint.topology_key, &cluster.nodes)).collect()
}

/// The node has the labels of all of them.
#[inline]
fn complete(topologies: &[Rc<Topology>], id: NodeId) -> bool {
    topologies.iter().all(|topology| topology.of(id).is_some())
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
