//! Pod affinity and anti-affinity: which topology domains are wanted, refused or preferred, counted once for a decision.

use rustc_hash::FxHashMap;

use crate::cluster::{Cluster, Node, PlacedPod};
use crate::intern::Symbol;
use crate::select::{PodTerm, value};
use crate::wish::Wish;

type Domains = FxHashMap<Symbol, u32>;

/// For the filter.
#[derive(Default)]
pub struct AffinityFacts {
    /// Domains that placed pods' anti-affinity refuses to this pod.
    refused: FxHashMap<(Symbol, Symbol), u32>,
    /// For each required term: domains that hold a pod which matches all required terms.
    wanted: Vec<Domains>,
    /// For each required anti-affinity term: domains that hold a match.
    avoided: Vec<Domains>,
    /// No placed pod matches, and the pod matches its own terms: the first of its group may go anywhere.
    first_of_group: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffinityFault {
    Affinity,
    AntiAffinity,
    ExistingAntiAffinity,
}

impl AffinityFacts {
    pub fn gather(cluster: &Cluster, wish: &Wish) -> Self {
        let mut facts = Self {
            wanted: vec![Domains::default(); wish.required_affinity.len()],
            avoided: vec![Domains::default(); wish.required_anti_affinity.len()],
            ..Self::default()
        };
        let own = cluster.namespace_labels(wish.namespace);
        for pod in cluster.with_anti_affinity.iter().filter_map(|i| cluster.pod(*i)) {
            for term in pod.required_anti_affinity.iter().filter(|t| t.matches(wish.namespace, own, &wish.labels, &cluster.symbols)) {
                if let Some(domain) = domain_of(cluster, pod, term) {
                    *facts.refused.entry((term.topology_key, domain)).or_default() += 1;
                }
            }
        }
        if !wish.required_affinity.is_empty() || !wish.required_anti_affinity.is_empty() {
            for pod in cluster.pods.iter().flatten() {
                facts.count(cluster, wish, pod);
            }
        }
        let matches_itself = || wish.required_affinity.iter().all(|t| t.matches(wish.namespace, own, &wish.labels, &cluster.symbols));
        facts.first_of_group = facts.wanted.iter().all(Domains::is_empty) && matches_itself();
        facts
    }

    fn count(&mut self, cluster: &Cluster, wish: &Wish, pod: &PlacedPod) {
        let matches = |term: &PodTerm| term.matches(pod.namespace, cluster.namespace_labels(pod.namespace), &pod.labels, &cluster.symbols);
        if !wish.required_affinity.is_empty() && wish.required_affinity.iter().all(matches) {
            for (term, domains) in wish.required_affinity.iter().zip(&mut self.wanted) {
                if let Some(domain) = domain_of(cluster, pod, term) {
                    *domains.entry(domain).or_default() += 1;
                }
            }
        }
        for (term, domains) in wish.required_anti_affinity.iter().zip(&mut self.avoided) {
            if matches(term)
                && let Some(domain) = domain_of(cluster, pod, term)
            {
                *domains.entry(domain).or_default() += 1;
            }
        }
    }

    pub fn fault(&self, wish: &Wish, node: &Node) -> Option<AffinityFault> {
        if !self.has_affinity(wish, node) {
            return Some(AffinityFault::Affinity);
        }
        let avoided = wish.required_anti_affinity.iter().zip(&self.avoided);
        if avoided.into_iter().any(|(term, domains)| value(&node.labels, term.topology_key).is_some_and(|d| domains.contains_key(&d))) {
            return Some(AffinityFault::AntiAffinity);
        }
        let refused = !self.refused.is_empty() && node.labels.iter().any(|label| self.refused.contains_key(label));
        refused.then_some(AffinityFault::ExistingAntiAffinity)
    }

    fn has_affinity(&self, wish: &Wish, node: &Node) -> bool {
        let mut all_present = true;
        for (term, domains) in wish.required_affinity.iter().zip(&self.wanted) {
            let Some(domain) = value(&node.labels, term.topology_key) else { return false };
            all_present &= domains.contains_key(&domain);
        }
        all_present || self.first_of_group
    }
}

/// Weighted counts by domain, for the score. Placed pods' own wishes count as well: their preferences, and their required affinity
/// with weight 1.
pub fn preferences(cluster: &Cluster, wish: &Wish) -> FxHashMap<(Symbol, Symbol), i64> {
    const REQUIRED_AFFINITY_WEIGHT: i64 = 1;
    let mut sums: FxHashMap<(Symbol, Symbol), i64> = FxHashMap::default();
    let mut add = |term: &PodTerm, pod: &PlacedPod, weight: i64| {
        if let Some(domain) = domain_of(cluster, pod, term) {
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

fn domain_of(cluster: &Cluster, pod: &PlacedPod, term: &PodTerm) -> Option<Symbol> {
    value(&cluster.node(pod.node)?.labels, term.topology_key)
}
