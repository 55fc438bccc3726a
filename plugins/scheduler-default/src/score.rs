//! The scores: each criterion gives a node 0 to 100, the weighted sum ranks the nodes.

use pintle_sdk::scheduler::{Effect, NodeId, Ranked, Reason};

use crate::affinity;
use crate::cluster::{Cluster, Node};
use crate::config::{Config, DEFAULT_WEIGHTS, Strategy};
use crate::wish::Wish;

const MAX: i64 = 100;
/// An image below the first size is as good as absent; above the second, for each container, nothing more is gained.
const IMAGE_MIN_BYTES: i64 = 23 * 1024 * 1024;
const IMAGE_MAX_BYTES: i64 = 1000 * 1024 * 1024;

/// So many of the best are kept while nodes are looked at; of more, all are sorted.
const FEW: usize = 8;

/// The `top` best of the feasible nodes, best first; equals in an order drawn from the seed.
pub fn rank(cluster: &Cluster, config: &Config, wish: &Wish, feasible: &[NodeId], top: usize, seed: u64) -> Vec<Ranked> {
    let nodes: Vec<&Node> = feasible.iter().filter_map(|id| cluster.node(*id)).collect();
    let mut totals = vec![0_i64; nodes.len()];
    if nodes.len() > 1 {
        for (place, scores) in criteria(cluster, config, wish, &nodes).into_iter().enumerate() {
            let weight = config.weight(place);
            for (total, score) in totals.iter_mut().zip(scores) {
                *total += weight * score;
            }
        }
    }
    best(nodes.iter().map(|node| node.id).zip(totals), top.max(1), seed)
}

/// By insertion: a few are wanted, and most nodes are behind the last of them by their score alone. All of them are sorted.
fn best(scored: impl ExactSizeIterator<Item = (NodeId, i64)>, top: usize, seed: u64) -> Vec<Ranked> {
    let place = |(node, score): (NodeId, i64)| (score, shuffle(seed, node), node);
    let best_first = |a: &(i64, u64, NodeId), b: &(i64, u64, NodeId)| (b.0, b.1).cmp(&(a.0, a.1));
    let mut order: Vec<(i64, u64, NodeId)> = Vec::with_capacity(top.min(scored.len()));
    if top > FEW {
        order.extend(scored.map(place));
        order.sort_unstable_by(best_first);
        order.truncate(top);
    } else {
        // Of the last one in a full order; anything is better than what is not there.
        let mut least = (i64::MIN, 0);
        for (node, score) in scored {
            if score < least.0 {
                continue;
            }
            let placed = place((node, score));
            if (placed.0, placed.1) < least {
                continue;
            }
            order.truncate(top - 1);
            let at = order.partition_point(|other| best_first(other, &placed).is_lt());
            order.insert(at, placed);
            if order.len() == top {
                least = (order[top - 1].0, order[top - 1].1);
            }
        }
    }
    order.into_iter().map(|(score, _, node)| Ranked { node, score }).collect()
}

/// Each criterion's score of one node, as it would be among all nodes.
pub fn explain(cluster: &Cluster, config: &Config, wish: &Wish, id: NodeId) -> Vec<Reason> {
    let nodes: Vec<&Node> = cluster.nodes.iter().flatten().collect();
    let Some(place) = nodes.iter().position(|n| n.id == id) else { return Vec::new() };
    let scores = criteria(cluster, config, wish, &nodes);
    let line = |(name, scores): (&(&str, i64), Vec<i64>)| Reason {
        stage: "score".to_owned(),
        criterion: name.0.to_owned(),
        rejected: None,
        score: scores.get(place).copied(),
    };
    DEFAULT_WEIGHTS.iter().zip(scores).map(line).collect()
}

/// In the order of [`DEFAULT_WEIGHTS`]; a criterion without a say gives an empty list.
fn criteria(cluster: &Cluster, config: &Config, wish: &Wish, nodes: &[&Node]) -> [Vec<i64>; 7] {
    let active = |name: &str| DEFAULT_WEIGHTS.iter().position(|w| w.0 == name).is_some_and(|p| config.weight(p) > 0);
    let only = |name: &str, scores: &dyn Fn() -> Vec<i64>| if active(name) { scores() } else { Vec::new() };
    [
        only("TaintToleration", &|| taints(wish, nodes)),
        only("NodeAffinity", &|| node_affinity(cluster, wish, nodes)),
        only("PodTopologySpread", &|| spread(cluster, wish, nodes)),
        only("InterPodAffinity", &|| pod_affinity(cluster, wish, nodes)),
        only("NodeResourcesFit", &|| nodes.iter().map(|n| allocation(n, wish, config.strategy)).collect()),
        only("NodeResourcesBalancedAllocation", &|| balance(wish, nodes)),
        only("ImageLocality", &|| images(cluster, wish, nodes)),
    ]
}

fn taints(wish: &Wish, nodes: &[&Node]) -> Vec<i64> {
    let soft = |node: &&Node| node.taints.iter().filter(|t| t.effect == Effect::PreferNoSchedule && !wish.tolerates(t)).count() as i64;
    let mut counts: Vec<i64> = nodes.iter().map(soft).collect();
    let most = counts.iter().copied().max().unwrap_or(0);
    for count in &mut counts {
        *count = if *count == 0 { MAX } else { MAX - MAX * *count / most };
    }
    counts
}

fn node_affinity(cluster: &Cluster, wish: &Wish, nodes: &[&Node]) -> Vec<i64> {
    if wish.preferred_nodes.is_empty() {
        return Vec::new();
    }
    let sum = |node: &&Node| wish.preferred_nodes.iter().filter(|(_, t)| t.matches(node, &cluster.symbols)).map(|(w, _)| w).sum::<i64>();
    let sums: Vec<i64> = nodes.iter().map(sum).collect();
    let most = sums.iter().copied().max().unwrap_or(0);
    sums.into_iter().map(|s| if most == 0 { 0 } else { MAX * s / most }).collect()
}

fn spread(cluster: &Cluster, wish: &Wish, nodes: &[&Node]) -> Vec<i64> {
    let Some(raw) = crate::spread::scores(cluster, wish, nodes) else { return Vec::new() };
    let most = raw.iter().flatten().copied().max().unwrap_or(0);
    let least = raw.iter().flatten().copied().min().unwrap_or(0);
    let normal = |score: Option<i64>| match score {
        None => 0,
        Some(_) if most == 0 => MAX,
        Some(score) => MAX * (most + least - score) / most,
    };
    raw.into_iter().map(normal).collect()
}

fn pod_affinity(cluster: &Cluster, wish: &Wish, nodes: &[&Node]) -> Vec<i64> {
    let sums = affinity::preferences(cluster, wish);
    if sums.is_empty() {
        return Vec::new();
    }
    let of = |node: &&Node| node.labels.iter().filter_map(|label| sums.get(label)).sum::<i64>();
    let raw: Vec<i64> = nodes.iter().map(of).collect();
    let most = raw.iter().copied().max().unwrap_or(0);
    let least = raw.iter().copied().min().unwrap_or(0);
    let range = most - least;
    raw.into_iter().map(|s| if range == 0 { 0 } else { (MAX as f64 * (s - least) as f64 / range as f64) as i64 }).collect()
}

/// The mean over CPU and memory of how empty (or, for MostAllocated, how full) the node would be.
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

/// Whether the pod brings the shares of CPU and memory in use nearer to each other. A pod that asks for neither has no say.
fn balance(wish: &Wish, nodes: &[&Node]) -> Vec<i64> {
    let wants = &wish.requests;
    if wants.milli_cpu == 0 && wants.memory == 0 {
        return Vec::new();
    }
    let score = |node: &&Node| {
        let after = evenness(node, node.requested.milli_cpu + wants.milli_cpu, node.requested.memory + wants.memory);
        let before = evenness(node, node.requested.milli_cpu, node.requested.memory);
        MAX / 2 + (MAX / 2 + after - before) / 2
    };
    nodes.iter().map(score).collect()
}

fn evenness(node: &Node, milli_cpu: i64, memory: i64) -> i64 {
    let share = |used: i64, of: i64| (of > 0).then(|| if used < of { used as f64 / of as f64 } else { 1.0 });
    let deviation = match (share(milli_cpu, node.allocatable.milli_cpu), share(memory, node.allocatable.memory)) {
        (Some(cpu), Some(memory)) => ((cpu - memory) / 2.0).abs(),
        _ => 0.0,
    };
    ((1.0 - deviation) * MAX as f64) as i64
}

/// How much of the pod's images is there already; an image on few nodes counts less, or pods would crowd on them.
fn images(cluster: &Cluster, wish: &Wish, nodes: &[&Node]) -> Vec<i64> {
    if wish.images.iter().chain(&wish.volume_images).all(|i| cluster.image_nodes.get(i).copied().unwrap_or(0) == 0) {
        return Vec::new();
    }
    let total = cluster.node_count.max(1) as f64;
    let largest = IMAGE_MAX_BYTES * wish.images.len() as i64;
    let score = |node: &&Node| {
        let there = wish.images.iter().chain(&wish.volume_images).filter_map(|image| {
            let size = *node.images.get(image)?;
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
