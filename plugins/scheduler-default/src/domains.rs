//! Which domains there are among the nodes that have certain topology keys, kept from one decision to the next until a node's labels change.
//! A spread constraint that counts all nodes starts from it, and does not look at each of them.

use rustc_hash::FxHashMap;

use crate::cluster::Node;
use crate::intern::Symbol;
use crate::select::value;

/// Sets of keys that are kept; one more, and all are made anew. Workloads spread over zones, hosts, or both.
const MAX_SETS: usize = 16;

/// Domains without a pod in them.
pub type Counts = FxHashMap<Symbol, i64>;

#[derive(Default)]
pub struct Domains {
    /// For each set of keys the domains by key, in the keys' order.
    known: FxHashMap<Box<[Symbol]>, Vec<Counts>>,
}

impl Domains {
    /// A node came or went, or its labels changed.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// Makes ready for [`Self::of`].
    pub fn prepare(&mut self, keys: &[Symbol], nodes: &[Option<Node>]) {
        if self.known.contains_key(keys) {
            return;
        }
        if self.known.len() >= MAX_SETS {
            self.forget();
        }
        let mut counts = vec![Counts::default(); keys.len()];
        let mut found = Vec::with_capacity(keys.len());
        for node in nodes.iter().flatten() {
            found.clear();
            found.extend(keys.iter().map_while(|key| value(&node.labels, *key)));
            if found.len() == keys.len() {
                counts.iter_mut().zip(&found).for_each(|(counts, domain)| _ = counts.insert(*domain, 0));
            }
        }
        self.known.insert(keys.into(), counts);
    }

    /// The domains of one of the keys, among the nodes that have all of them.
    pub fn of(&self, keys: &[Symbol], place: usize) -> Option<&Counts> {
        self.known.get(keys)?.get(place)
    }
}
