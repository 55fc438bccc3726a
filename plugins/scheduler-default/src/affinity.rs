//! Pod affinity and anti-affinity: which topology domains are wanted, refused or preferred, counted once for a decision.

use rustc_hash::FxHashMap;

use crate::cluster::{Cluster, Node, PlacedPod};
use crate::intern::Symbol;
use crate::select::{PodTerm, value};
use crate::wish::Wish;

/// Topology key and value to a count; a domain without any is not in it.
type Domains = FxHashMap<(Symbol, Symbol), i64>;

/// For the filter.
#[derive(Clone, Default)]
pub struct AffinityFacts {
    /// Domains that placed pods' anti-affinity refuses to this pod.
    refused: Domains,
    /// Domains, by the required terms' keys, that hold a pod which matches all required terms.
    wanted: Domains,
    /// Domains that hold a match of a required anti-affinity term.
    avoided: Domains,
    /// The pod matches its own terms: the first of its group may go anywhere.
    matches_itself: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffinityFault {
    Affinity,
    AntiAffinity,
    ExistingAntiAffinity,
}

impl AffinityFacts {
    pub fn gather(cluster: &Cluster, wish: &Wish) -> Self {
        let mut facts = Self::default();
        for pod in cluster.with_anti_affinity.iter().filter_map(|i| cluster.pod(*i)) {
            if let Some(node) = cluster.node(pod.node) {
                facts.count_refusals(cluster, wish, pod, node, 1);
            }
        }
        if !wish.required_affinity.is_empty() || !wish.required_anti_affinity.is_empty() {
            for pod in cluster.pods.iter().flatten() {
                if let Some(node) = cluster.node(pod.node) {
                    facts.count(cluster, wish, pod, node, 1);
                }
            }
        }
        let own = cluster.namespace_labels(wish.namespace);
        facts.matches_itself = wish.required_affinity.iter().all(|t| t.matches(wish.namespace, own, &wish.labels, &cluster.symbols));
        facts
    }

    /// As if the pod came to or left the node.
    pub fn shift(&mut self, cluster: &Cluster, wish: &Wish, pod: &PlacedPod, node: &Node, by: i64) {
        self.count_refusals(cluster, wish, pod, node, by);
        self.count(cluster, wish, pod, node, by);
    }

    fn count_refusals(&mut self, cluster: &Cluster, wish: &Wish, pod: &PlacedPod, node: &Node, by: i64) {
        let own = cluster.namespace_labels(wish.namespace);
        for term in pod.required_anti_affinity.iter().filter(|t| t.matches(wish.namespace, own, &wish.labels, &cluster.symbols)) {
            add(&mut self.refused, term, node, by);
        }
    }

    fn count(&mut self, cluster: &Cluster, wish: &Wish, pod: &PlacedPod, node: &Node, by: i64) {
        let matches = |term: &PodTerm| term.matches(pod.namespace, cluster.namespace_labels(pod.namespace), &pod.labels, &cluster.symbols);
        if !wish.required_affinity.is_empty() && wish.required_affinity.iter().all(matches) {
            wish.required_affinity.iter().for_each(|term| add(&mut self.wanted, term, node, by));
        }
        wish.required_anti_affinity.iter().filter(|t| matches(t)).for_each(|term| add(&mut self.avoided, term, node, by));
    }

    /// Most pods ask for none of it and are refused by none: that is told without a call.
    #[inline]
    pub fn fault(&self, wish: &Wish, node: &Node) -> Option<AffinityFault> {
        if self.refuses_none(wish) { None } else { self.fault_of_terms(wish, node) }
    }

    #[inline]
    pub fn refuses_none(&self, wish: &Wish) -> bool {
        wish.required_affinity.is_empty() && self.avoided.is_empty() && self.refused.is_empty()
    }

    fn fault_of_terms(&self, wish: &Wish, node: &Node) -> Option<AffinityFault> {
        if !self.has_affinity(wish, node) {
            return Some(AffinityFault::Affinity);
        }
        let holds = |domains: &Domains, term: &PodTerm| {
            value(&node.labels, term.topology_key).is_some_and(|domain| domains.get(&(term.topology_key, domain)).is_some_and(|c| *c > 0))
        };
        if !self.avoided.is_empty() && wish.required_anti_affinity.iter().any(|term| holds(&self.avoided, term)) {
            return Some(AffinityFault::AntiAffinity);
        }
        let refused = !self.refused.is_empty() && node.labels.iter().any(|label| self.refused.get(label).is_some_and(|c| *c > 0));
        refused.then_some(AffinityFault::ExistingAntiAffinity)
    }

    fn has_affinity(&self, wish: &Wish, node: &Node) -> bool {
        let mut all_present = true;
        for term in &wish.required_affinity {
            let Some(domain) = value(&node.labels, term.topology_key) else { return false };
            all_present &= self.wanted.get(&(term.topology_key, domain)).is_some_and(|c| *c > 0);
        }
        all_present || (self.wanted.is_empty() && self.matches_itself)
    }
}

fn add(domains: &mut Domains, term: &PodTerm, node: &Node, by: i64) {
    let Some(domain) = value(&node.labels, term.topology_key) else { return };
    let pair = (term.topology_key, domain);
    let count = domains.entry(pair).or_default();
    *count += by;
    if *count == 0 {
        domains.remove(&pair);
    }
}

/// Weighted counts by domain, for the score. Placed pods' own wishes count as well: their preferences, and their required affinity
/// with weight 1.
pub fn preferences(cluster: &Cluster, wish: &Wish) -> Domains {
    const REQUIRED_AFFINITY_WEIGHT: i64 = 1;
    let mut sums = Domains::default();
    let mut add = |term: &PodTerm, pod: &PlacedPod, weight: i64| {
        if let Some(domain) = cluster.node(pod.node).and_then(|node| value(&node.labels, term.topology_key)) {
            *sums.entry((term.topology_key, domain)).or_default() += weight;
        }
    };
    if !wish.preferred.is_empty() {
        for pod in cluster.pods.iter().flatten() {
            for (weight, term) in &wish.preferred {
                if term.matches(pod.namespace, cluster.namespace_labels(pod.namespace), &pod.labels, &cluster.symbols) {
                    add(term, pod, *weight);
                }
            }
        }
    }
    let own = cluster.namespace_labels(wish.namespace);
    for pod in cluster.with_affinity.iter().filter_map(|i| cluster.pod(*i)) {
        let required = pod.required_affinity.iter().map(|t| (REQUIRED_AFFINITY_WEIGHT, t));
        for (weight, term) in required.chain(pod.preferred.iter().map(|(w, t)| (*w, t))) {
            if term.matches(wish.namespace, own, &wish.labels, &cluster.symbols) {
                add(term, pod, weight);
            }
        }
    }
    sums
}
