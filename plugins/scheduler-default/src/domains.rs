//! The domains of topology keys as small numbers by node, and which of them a spread constraint counts, kept from one decision to the next
//! until a node's labels change. A decision neither reads labels of nodes for it nor looks at each node.

use std::rc::Rc;

use pintle_sdk::scheduler::NodeId;
use rustc_hash::FxHashMap;

use crate::cluster::Node;
use crate::intern::Symbol;
use crate::select::value;
use crate::strides::each_in_strides;

/// Keys, and sets of them, that are kept; one more, and all are made anew. Workloads spread over zones, hosts, or both.
const MAX_KEPT: usize = 16;
/// In place of a domain: the node lacks the label.
const NO_DOMAIN: u32 = u32::MAX;
/// In place of a count: the domain is not counted.
const NOT_COUNTED: i64 = i64::MIN;

/// The domains of one key.
#[derive(Default)]
pub struct Topology {
    of_node: Vec<u32>,
    domains: usize,
    /// Each node has the label.
    is_complete: bool,
}

/// A number for each domain that is counted.
#[derive(Clone)]
pub struct Counts {
    of_domain: Vec<i64>,
    counted: usize,
}

#[derive(Default)]
pub struct Domains {
    topologies: FxHashMap<Symbol, Rc<Topology>>,
    /// For each set of keys the domains by key, in the keys' order, among the nodes that have all keys.
    sets: FxHashMap<Box<[Symbol]>, Vec<Counts>>,
}

impl Domains {
    /// A node came or went, or its labels changed.
    pub fn forget(&mut self) {
        self.topologies.clear();
        self.sets.clear();
    }

    /// Keeps the keys' domains for [`Self::of`], and those of the set for [`Self::of_set`].
    pub fn prepare(&mut self, keys: impl Iterator<Item = Symbol>, set: &[Symbol], nodes: &[Option<Node>]) {
        for key in keys {
            if self.topologies.contains_key(&key) {
                continue;
            }
            if self.topologies.len() >= MAX_KEPT {
                self.topologies.clear();
            }
            self.topologies.insert(key, Rc::new(Topology::read(key, nodes)));
        }
        if set.is_empty() || self.sets.contains_key(set) {
            return;
        }
        if self.sets.len() >= MAX_KEPT {
            self.sets.clear();
        }
        let topologies: Vec<_> = set.iter().map(|key| self.of(*key, nodes)).collect();
        let complete = |id: NodeId| topologies.iter().all(|topology| topology.of(id).is_some());
        let counts = topologies.iter().map(|topology| Counts::of(topology, nodes.iter().flatten().map(|node| node.id).filter(|id| complete(*id))));
        self.sets.insert(set.into(), counts.collect());
    }

    /// Of one key; a pod with many keys may have pushed it out.
    pub fn of(&self, key: Symbol, nodes: &[Option<Node>]) -> Rc<Topology> {
        self.topologies.get(&key).cloned().unwrap_or_else(|| Rc::new(Topology::read(key, nodes)))
    }

    /// The domains of one of the keys, none with a pod in it, among the nodes that have all of them.
    pub fn of_set(&self, keys: &[Symbol], place: usize) -> Option<&Counts> {
        self.sets.get(keys)?.get(place)
    }
}

impl Topology {
    fn read(key: Symbol, nodes: &[Option<Node>]) -> Self {
        let mut numbers: FxHashMap<Symbol, u32> = FxHashMap::default();
        let mut number = |node: &Node| {
            let next = numbers.len() as u32;
            value(&node.labels, key).map_or(NO_DOMAIN, |domain| *numbers.entry(domain).or_insert(next))
        };
        let of_node: Vec<u32> = nodes.iter().map(|node| node.as_ref().map_or(NO_DOMAIN, &mut number)).collect();
        let is_complete = nodes.iter().zip(&of_node).all(|(node, domain)| node.is_none() || *domain != NO_DOMAIN);
        Self { of_node, domains: numbers.len(), is_complete }
    }

    /// By node; no number of a domain where the node lacks the label.
    #[inline]
    pub fn has_label(column: &[u32], id: NodeId) -> bool {
        column.get(id as usize).is_some_and(|domain| *domain != NO_DOMAIN)
    }

    /// For [`Self::has_label`].
    pub fn column(&self) -> &[u32] {
        &self.of_node
    }

    /// The domain of the node, a number below [`Self::domains`].
    #[inline]
    pub fn of(&self, id: NodeId) -> Option<usize> {
        self.of_node.get(id as usize).filter(|domain| **domain != NO_DOMAIN).map(|domain| *domain as usize)
    }

    pub fn domains(&self) -> usize {
        self.domains
    }

    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}

impl Counts {
    /// Of so many domains none is counted.
    pub fn none(domains: usize) -> Self {
        Self { of_domain: vec![NOT_COUNTED; domains], counted: 0 }
    }

    /// The domains of these nodes are counted, and nothing is in them.
    pub fn of(topology: &Topology, nodes: impl Iterator<Item = NodeId>) -> Self {
        let mut counts = Self::none(topology.domains);
        nodes.filter_map(|id| topology.of(id)).for_each(|domain| counts.include(domain));
        counts
    }

    #[inline]
    pub fn include(&mut self, domain: usize) {
        if self.of_domain[domain] == NOT_COUNTED {
            self.of_domain[domain] = 0;
            self.counted += 1;
        }
    }

    /// One more in the domain of each of the nodes, if that is counted. A loop of its own, for in a guest nothing else keeps its columns in registers.
    #[inline(never)]
    pub fn count(&mut self, topology: &Topology, nodes: &[NodeId]) {
        let (of_node, of_domain) = (&topology.of_node[..], &mut self.of_domain[..]);
        each_in_strides(nodes, |id| {
            if let Some(domain) = of_node.get(*id as usize)
                && let Some(count) = of_domain.get_mut(*domain as usize)
                && *count != NOT_COUNTED
            {
                *count += 1;
            }
        });
    }

    /// To a domain that is counted.
    #[inline]
    pub fn add(&mut self, domain: usize, by: i64) {
        if let Some(count) = self.of_domain.get_mut(domain)
            && *count != NOT_COUNTED
        {
            *count += by;
        }
    }

    /// Nothing where the domain is not counted.
    #[inline]
    pub fn get(&self, domain: usize) -> i64 {
        self.of_domain.get(domain).copied().filter(|count| *count != NOT_COUNTED).unwrap_or(0)
    }

    /// Whether there is more in a node's domain than the limit; nothing where the node lacks the label. No limit is below what is in a domain that is not
    /// counted.
    #[inline(always)]
    pub fn exceed<'a>(&'a self, topology: &'a Topology, limit: i64) -> impl Fn(NodeId) -> Option<bool> + 'a {
        let (of_node, of_domain) = (&topology.of_node[..], &self.of_domain[..]);
        move |id| Some(*of_domain.get(*of_node.get(id as usize)? as usize)? > limit)
    }

    /// Domains that are counted.
    pub fn counted(&self) -> usize {
        self.counted
    }

    pub fn least(&self) -> Option<i64> {
        self.of_domain.iter().copied().filter(|count| *count != NOT_COUNTED).min()
    }
}
