//! What a scheduler component knows after a feed: the feed folded into a state, and the state as a feed again. Checkpoints of the log and
//! names of nodes come from here.

use std::collections::BTreeMap;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Budget, Delta, Namespace, Node, Placement};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub nodes: BTreeMap<u32, Node>,
    pub placed: BTreeMap<String, Placement>,
    namespaces: BTreeMap<String, Namespace>,
    nominated: BTreeMap<String, Placement>,
    budgets: Vec<Budget>,
}

impl State {
    pub fn apply(&mut self, whole: bool, deltas: Vec<Delta>) {
        if whole {
            *self = Self::default();
        }
        for delta in deltas {
            match delta {
                Delta::UpsertNode(node) => drop(self.nodes.insert(node.id, node)),
                Delta::RemoveNode(id) => {
                    self.nodes.remove(&id);
                    self.nominated.retain(|_, placement| placement.node != id);
                }
                Delta::Place(placement) => {
                    self.nominated.remove(&placement.pod.uid);
                    self.placed.insert(placement.pod.uid.clone(), placement);
                }
                // A shorthand of the crossing: what is written down is the placement.
                Delta::Assume(_) => {}
                Delta::Forget(uid) => {
                    self.nominated.remove(&uid);
                    self.placed.remove(&uid);
                }
                Delta::Nominate(placement) => drop(self.nominated.insert(placement.pod.uid.clone(), placement)),
                Delta::Withdraw(uid) => drop(self.nominated.remove(&uid)),
                Delta::UpsertNamespace(namespace) => drop(self.namespaces.insert(namespace.name.clone(), namespace)),
                Delta::RemoveNamespace(name) => drop(self.namespaces.remove(&name)),
                Delta::Budgets(budgets) => self.budgets = budgets,
            }
        }
    }

    /// In the order in which a driver feeds everything.
    pub fn into_deltas(self) -> Vec<Delta> {
        let namespaces = self.namespaces.into_values().map(Delta::UpsertNamespace);
        let nodes = self.nodes.into_values().map(Delta::UpsertNode);
        let placed = self.placed.into_values().map(Delta::Place);
        let nominated = self.nominated.into_values().map(Delta::Nominate);
        namespaces.chain(nodes).chain(placed).chain(nominated).chain([Delta::Budgets(self.budgets)]).collect()
    }

    pub fn node_name(&self, id: u32) -> String {
        self.nodes.get(&id).map_or_else(|| format!("#{id}"), |node| node.name.clone())
    }
}
