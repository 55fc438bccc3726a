//! The scores: each criterion gives a node 0 to 100, the weighted sum ranks the nodes.

use pintle_sdk::scheduler::{NodeId, Ranked, Reason};

use crate::affinity;
use crate::cluster::{Cluster, Node};
use crate::config::{Config, Criterion, Strategy};
use crate::spread::{LEFT_OUT, Scores};
use crate::strides::{change_in_strides, each_in_strides, in_strides};
use crate::wish::Wish;

const MAX: i64 = 100;
/// An image below the first size is as good as absent; above the second, for each container, nothing more is gained.
const IMAGE_MIN_BYTES: i64 = 23 * 1024 * 1024;
const IMAGE_MAX_BYTES: i64 = 1000 * 1024 * 1024;

/// So many of the best are kept while nodes are looked at; of more, all are sorted.
const FEW: usize = 8;

/// A node that may take the pod.
struct Candidate<'a> {
    /// The weighted sum so far.
    total: i64,
    node: &'a Node,
    id: NodeId,
    /// Taints that would rather have the pod elsewhere.
    discouraged: u32,
}

/// The `top` best of the feasible nodes, all of which are there, best first; equals in an order drawn from the seed.
///
/// What most pods are scored by is summed in one pass over the nodes: in a guest each further pass costs more than what is done there.
pub fn rank(cluster: &Cluster, config: &Config, wish: &Wish, feasible: &[NodeId], top: usize, seed: u64) -> Vec<Ranked> {
    let fit = config.weight(Criterion::NodeResourcesFit);
    let even = if wants_balance(wish) { config.weight(Criterion::NodeResourcesBalancedAllocation) } else { 0 };
    let mut candidates: Vec<Candidate> = Vec::with_capacity(feasible.len());
    let mut most_discouraged = 0;
    for node in feasible.iter().filter_map(|id| cluster.node(*id)) {
        let total = fit * allocation(node, wish, config.strategy) + even * balance(node, wish);
        let discouraged = wish.discouraged_by(node);
        most_discouraged = most_discouraged.max(discouraged);
        candidates.push(Candidate { total, node, id: node.id, discouraged });
    }
    if let [only] = candidates.as_slice() {
        return vec![Ranked { node: only.id, score: 0 }];
    }
    for criterion in [Criterion::NodeAffinity, Criterion::PodTopologySpread, Criterion::InterPodAffinity, Criterion::ImageLocality] {
        let weight = config.weight(criterion);
        let scores = scores(criterion, cluster, config, wish, feasible, &candidates);
        in_strides(&mut candidates, &scores, |candidate, score| candidate.total += weight * score);
    }
    let weight = config.weight(Criterion::TaintToleration);
    let taints: Vec<i64> = (0..=most_discouraged).map(|count| weight * taint_score(count, most_discouraged)).collect();
    change_in_strides(&mut candidates, |candidate| candidate.total += taints.get(candidate.discouraged as usize).copied().unwrap_or(0));
    best(&candidates, top.max(1), seed)
}

/// A score with what decides among equals.
type Place = (i64, u64, NodeId);

/// By insertion: a few are wanted, and most nodes are behind the last of them by their score alone. All of them are sorted.
fn best(scored: &[Candidate], top: usize, seed: u64) -> Vec<Ranked> {
    let place = |candidate: &Candidate| (candidate.total, shuffle(seed, candidate.id), candidate.id);
    let mut order: Vec<Place> = Vec::with_capacity(top.min(scored.len()));
    if top > FEW {
        order.extend(scored.iter().map(place));
        order.sort_unstable_by(best_first);
        order.truncate(top);
    } else {
        // Of the last one in a full order; anything is better than what is not there.
        let mut least = (i64::MIN, 0);
        each_in_strides(scored, |candidate| {
            if candidate.total >= least.0 {
                let new = place(candidate);
                if (new.0, new.1) >= least {
                    insert(&mut order, new, top);
                    least = if order.len() == top { (order[top - 1].0, order[top - 1].1) } else { (i64::MIN, 0) };
                }
            }
        });
    }
    order.into_iter().map(|(score, _, node)| Ranked { node, score }).collect()
}

fn best_first(a: &Place, b: &Place) -> std::cmp::Ordering {
    (b.0, b.1).cmp(&(a.0, a.1))
}

/// Keeps the `top` best in their order; the new one is among them.
#[inline(never)]
fn insert(order: &mut Vec<Place>, new: Place, top: usize) {
    order.truncate(top - 1);
    let at = order.partition_point(|other| best_first(other, &new).is_lt());
    order.insert(at, new);
}

/// Each criterion's score of one node, as it would be among all nodes.
pub fn explain(cluster: &Cluster, config: &Config, wish: &Wish, id: NodeId) -> Vec<Reason> {
    let candidate = |node| Candidate { total: 0, node, id: node.id, discouraged: wish.discouraged_by(node) };
    let nodes: Vec<Candidate> = cluster.nodes.iter().flatten().map(candidate).collect();
    let ids: Vec<NodeId> = nodes.iter().map(|c| c.id).collect();
    let Some(place) = nodes.iter().position(|c| c.id == id) else { return Vec::new() };
    let line = |criterion: &Criterion| Reason {
        stage: "score".to_owned(),
        criterion: criterion.name().to_owned(),
        rejected: None,
        score: scores(*criterion, cluster, config, wish, &ids, &nodes).get(place).copied(),
    };
    Criterion::ALL.iter().map(line).collect()
}

/// By one criterion, of nodes with these ids; one without a say gives an empty list. Each is a function of its own: in one with all of them a guest
/// keeps nothing in registers.
fn scores(criterion: Criterion, cluster: &Cluster, config: &Config, wish: &Wish, ids: &[NodeId], nodes: &[Candidate]) -> Vec<i64> {
    if config.weight(criterion) == 0 {
        return Vec::new();
    }
    match criterion {
        Criterion::TaintToleration => {
            let most = nodes.iter().map(|c| c.discouraged).max().unwrap_or(0);
            nodes.iter().map(|c| taint_score(c.discouraged, most)).collect()
        }
        Criterion::NodeAffinity => node_affinity(cluster, wish, nodes),
        Criterion::PodTopologySpread => spread(cluster, wish, ids),
        Criterion::InterPodAffinity => pod_affinity(cluster, wish, nodes),
        Criterion::NodeResourcesFit => nodes.iter().map(|c| allocation(c.node, wish, config.strategy)).collect(),
        Criterion::NodeResourcesBalancedAllocation if !wants_balance(wish) => Vec::new(),
        Criterion::NodeResourcesBalancedAllocation => nodes.iter().map(|c| balance(c.node, wish)).collect(),
        Criterion::ImageLocality => images(cluster, wish, nodes),
    }
}

fn taint_score(count: u32, most: u32) -> i64 {
    if count == 0 { MAX } else { MAX - MAX * i64::from(count) / i64::from(most) }
}

#[inline(never)]
fn node_affinity(cluster: &Cluster, wish: &Wish, nodes: &[Candidate]) -> Vec<i64> {
    if wish.preferred_nodes.is_empty() {
        return Vec::new();
    }
    let sum = |c: &Candidate| wish.preferred_nodes.iter().filter(|(_, t)| t.matches(c.node, &cluster.symbols)).map(|(w, _)| w).sum::<i64>();
    let sums: Vec<i64> = nodes.iter().map(sum).collect();
    let most = sums.iter().copied().max().unwrap_or(0);
    sums.into_iter().map(|s| if most == 0 { 0 } else { MAX * s / most }).collect()
}

#[inline(never)]
fn spread(cluster: &Cluster, wish: &Wish, ids: &[NodeId]) -> Vec<i64> {
    let Some(Scores { mut of_nodes, least, most }) = crate::spread::scores(cluster, wish, ids) else { return Vec::new() };
    let normal = |score: i64| match score {
        LEFT_OUT => 0,
        _ if most == 0 => MAX,
        _ => MAX * (most + least - score) / most,
    };
    // Most nodes are as good as the one before, and a division takes longer than to see that.
    let mut before = (LEFT_OUT, normal(LEFT_OUT));
    change_in_strides(&mut of_nodes, |score| {
        if *score != before.0 {
            before = (*score, normal(*score));
        }
        *score = before.1;
    });
    of_nodes
}

#[inline(never)]
fn pod_affinity(cluster: &Cluster, wish: &Wish, nodes: &[Candidate]) -> Vec<i64> {
    let sums = affinity::preferences(cluster, wish);
    if sums.is_empty() {
        return Vec::new();
    }
    let of = |c: &Candidate| c.node.labels.iter().filter_map(|label| sums.get(label)).sum::<i64>();
    let raw: Vec<i64> = nodes.iter().map(of).collect();
    let most = raw.iter().copied().max().unwrap_or(0);
    let least = raw.iter().copied().min().unwrap_or(0);
    let range = most - least;
    raw.into_iter().map(|s| if range == 0 { 0 } else { (MAX as f64 * (s - least) as f64 / range as f64) as i64 }).collect()
}

/// The mean over CPU and memory of how empty (or, for MostAllocated, how full) the node would be.
#[inline]
fn allocation(node: &Node, wish: &Wish, strategy: Strategy) -> i64 {
    let kinds = [
        (node.allocatable.milli_cpu, node.scored_milli_cpu + wish.scored_milli_cpu),
        (node.allocatable.memory, node.scored_memory + wish.scored_memory),
    ];
    let (mut sum, mut count) = (0, 0);
    for (capacity, requested) in kinds.into_iter().filter(|k| k.0 > 0) {
        count += 1;
        sum += match strategy {
            Strategy::LeastAllocated if requested > capacity => 0,
            Strategy::LeastAllocated => (capacity - requested) * MAX / capacity,
            Strategy::MostAllocated => requested.min(capacity) * MAX / capacity,
        };
    }
    if count == 0 { 0 } else { sum / count }
}

/// A pod that asks for neither CPU nor memory has no say in their balance.
fn wants_balance(wish: &Wish) -> bool {
    wish.requests.milli_cpu != 0 || wish.requests.memory != 0
}

/// Whether the pod brings the shares of CPU and memory in use nearer to each other.
#[inline]
fn balance(node: &Node, wish: &Wish) -> i64 {
    MAX / 2 + (MAX / 2 + node.evenness_with(&wish.requests) - node.evenness) / 2
}

/// How much of the pod's images is there already; an image on few nodes counts less, or pods would crowd on them.
#[inline(never)]
fn images(cluster: &Cluster, wish: &Wish, nodes: &[Candidate]) -> Vec<i64> {
    if wish.images.iter().chain(&wish.volume_images).all(|i| cluster.image_nodes.get(i).copied().unwrap_or(0) == 0) {
        return Vec::new();
    }
    let total = cluster.node_count.max(1) as f64;
    let largest = IMAGE_MAX_BYTES * wish.images.len() as i64;
    let score = |c: &Candidate| {
        let there = wish.images.iter().chain(&wish.volume_images).filter_map(|image| {
            let size = *c.node.images.get(image)?;
            let share = f64::from(cluster.image_nodes.get(image).copied().unwrap_or(0)) / total;
            Some((size as f64 * share) as i64)
        });
        let sum = there.sum::<i64>().clamp(IMAGE_MIN_BYTES, largest.max(IMAGE_MIN_BYTES));
        if largest <= IMAGE_MIN_BYTES { 0 } else { MAX * (sum - IMAGE_MIN_BYTES) / (largest - IMAGE_MIN_BYTES) }
    };
    nodes.iter().map(score).collect()
}

/// A stateless mix of seed and node id (splitmix64's finaliser).
fn shuffle(seed: u64, id: NodeId) -> u64 {
    let mut z = seed ^ u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
