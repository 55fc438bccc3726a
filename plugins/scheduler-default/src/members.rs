//! Placed pods by namespace, and by those labels that a selector has asked for: a spread constraint counts the few pods of one application
//! among all of a namespace. Where that label is all that it asks for, it goes over the pods' nodes and does not look at the pods.
//! What no selector asks for is not kept.

use pintle_sdk::scheduler::NodeId;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::cluster::PlacedPod;
use crate::intern::Symbol;
use crate::select::Selector;

type Pods = FxHashSet<usize>;

#[derive(Default)]
pub struct Members {
    by_namespace: FxHashMap<Symbol, Pods>,
    /// By namespace and label key, then by the label's value.
    by_label: FxHashMap<(Symbol, Symbol), FxHashMap<Symbol, Group>>,
}

/// The pods of a namespace that have one label.
#[derive(Default)]
struct Group {
    pods: Pods,
    /// The node of each of them that is not being deleted, in the order of ids.
    nodes: Vec<NodeId>,
}

impl Members {
    pub fn insert(&mut self, index: usize, pod: &PlacedPod) {
        self.by_namespace.entry(pod.namespace).or_default().insert(index);
        if self.by_label.is_empty() {
            return;
        }
        for (key, value) in &pod.labels {
            if let Some(values) = self.by_label.get_mut(&(pod.namespace, *key)) {
                values.entry(*value).or_default().insert(index, pod);
            }
        }
    }

    pub fn remove(&mut self, index: usize, pod: &PlacedPod) {
        if let Some(pods) = self.by_namespace.get_mut(&pod.namespace) {
            pods.remove(&index);
            if pods.is_empty() {
                self.by_namespace.remove(&pod.namespace);
            }
        }
        if self.by_label.is_empty() {
            return;
        }
        for (key, value) in &pod.labels {
            let place = (pod.namespace, *key);
            let Some(values) = self.by_label.get_mut(&place) else { continue };
            if let Some(group) = values.get_mut(value) {
                group.remove(index, pod);
                if group.pods.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.by_label.remove(&place);
            }
        }
    }

    pub fn of(&self, namespace: Symbol) -> impl Iterator<Item = usize> {
        self.by_namespace.get(&namespace).into_iter().flatten().copied()
    }

    /// Makes ready for [`Self::selected`].
    pub fn prepare(&mut self, namespace: Symbol, selector: &Selector, pods: &[Option<PlacedPod>]) {
        let Some((key, _)) = selector.wanted() else { return };
        let Some(members) = self.by_namespace.get(&namespace) else { return };
        self.by_label.entry((namespace, key)).or_insert_with(|| {
            let mut values: FxHashMap<Symbol, Group> = FxHashMap::default();
            for (index, pod) in members.iter().filter_map(|index| Some((*index, pods.get(*index)?.as_ref()?))) {
                if let Some(value) = crate::select::value(&pod.labels, key) {
                    let group = values.entry(value).or_default();
                    group.pods.insert(index);
                    group.nodes.extend((!pod.deleting).then_some(pod.node));
                }
            }
            values.values_mut().for_each(|group| group.nodes.sort_unstable());
            values
        });
    }

    /// All that the selector can select in the namespace, and maybe others.
    pub fn selected<'a>(&'a self, namespace: Symbol, selector: &'a Selector) -> impl Iterator<Item = usize> + 'a {
        let narrowed = selector.wanted().and_then(|(key, wanted)| Some((self.by_label.get(&(namespace, key))?, wanted)));
        let all = if narrowed.is_none() { self.by_namespace.get(&namespace) } else { None };
        let few = narrowed.into_iter().flat_map(|(values, wanted)| wanted.iter().filter_map(|value| values.get(value)));
        few.map(|group| &group.pods).chain(all).flatten().copied()
    }

    /// The nodes of all pods of the namespace that the selector selects and that are not being deleted, one for each pod, in groups. `None` where
    /// that is not known without a look at the pods.
    pub fn nodes_of_selected<'a>(&'a self, namespace: Symbol, selector: &'a Selector) -> Option<impl Iterator<Item = &'a [NodeId]>> {
        let (key, wanted) = selector.wanted_alone()?;
        let values = self.by_label.get(&(namespace, key))?;
        Some(wanted.iter().filter_map(|value| values.get(value)).map(|group| &*group.nodes))
    }
}

impl Group {
    fn insert(&mut self, index: usize, pod: &PlacedPod) {
        self.pods.insert(index);
        if !pod.deleting {
            let at = self.nodes.partition_point(|node| *node < pod.node);
            self.nodes.insert(at, pod.node);
        }
    }

    fn remove(&mut self, index: usize, pod: &PlacedPod) {
        if self.pods.remove(&index)
            && !pod.deleting
            && let Ok(at) = self.nodes.binary_search(&pod.node)
        {
            self.nodes.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use pintle_sdk::scheduler::*;

    use crate::cluster::Cluster;
    use crate::select::Selector;

    fn pod(number: u32) -> Pod {
        let labels = vec![Pair::new("app", format!("app-{}", number % 3)), Pair::new("tier", format!("{}", number % 2))];
        Pod { labels, namespace: format!("n{}", number % 2), deleting: number.is_multiple_of(5), ..Pod::named(&number.to_string()) }
    }

    /// Uids of what a look through all pods finds, and of what the narrowed one gives that the selector matches. Where nodes are known, they must be
    /// those of the pods that are not being deleted.
    fn found(cluster: &Cluster, namespace: &str, selector: &Selector, symbols: &mut crate::intern::Symbols) -> [Vec<String>; 2] {
        let namespace = symbols.intern(namespace);
        let matches = |index: &usize| cluster.pod(*index).is_some_and(|pod| pod.namespace == namespace && selector.matches(&pod.labels, symbols));
        let uids = |indexes: Vec<usize>| {
            let mut uids: Vec<String> = indexes.iter().filter_map(|i| cluster.pod(*i)).map(|pod| pod.uid.to_string()).collect();
            uids.sort();
            uids
        };
        let all: Vec<usize> = (0..cluster.pods.len()).filter(matches).collect();
        if let Some(nodes) = cluster.members.nodes_of_selected(namespace, selector) {
            let mut nodes: Vec<NodeId> = nodes.flatten().copied().collect();
            let mut of_pods: Vec<NodeId> = all.iter().filter_map(|i| cluster.pod(*i)).filter(|pod| !pod.deleting).map(|pod| pod.node).collect();
            nodes.sort_unstable();
            of_pods.sort_unstable();
            assert_eq!(nodes, of_pods);
        }
        let narrowed = cluster.members.selected(namespace, selector).filter(matches).collect();
        [uids(all), uids(narrowed)]
    }

    #[test]
    fn narrowed_members_are_those_that_a_look_through_all_finds() {
        let mut cluster = Cluster::default();
        for id in 0..3 {
            cluster.apply(Delta::UpsertNode(Node::sized(id, &format!("node-{id}"), 1000, 1 << 30, 1000)));
        }
        let requirement =
            |operator, values: &[&str]| Requirement { key: "app".to_owned(), operator, values: values.iter().map(|v| (*v).to_owned()).collect() };
        let selectors = [
            vec![requirement(Operator::In, &["app-1"])],
            vec![requirement(Operator::In, &["app-1", "app-2", "app-1"])],
            vec![requirement(Operator::Exists, &[])],
            vec![requirement(Operator::NotIn, &["app-1"])],
            vec![],
        ];
        let mut symbols = std::mem::take(&mut cluster.symbols);
        let selectors: Vec<Selector> = selectors.iter().map(|s| Selector::compile(s, &mut symbols)).collect();
        for step in 0..60 {
            cluster.symbols = symbols;
            match step % 4 {
                3 => cluster.apply(Delta::Forget((step - 3).to_string())),
                _ => cluster.apply(Delta::Place(Placement { pod: pod(step), node: step * 7 % 3 })),
            }
            symbols = std::mem::take(&mut cluster.symbols);
            for (namespace, selector) in ["n0", "n1", "n2"].into_iter().flat_map(|n| selectors.iter().map(move |s| (n, s))) {
                let name = symbols.intern(namespace);
                // Some are asked for early and kept up, others when there are pods already.
                if step > 20 || namespace == "n0" {
                    cluster.members.prepare(name, selector, &cluster.pods);
                }
                let [all, narrowed] = found(&cluster, namespace, selector, &mut symbols);
                assert_eq!(all, narrowed, "step {step}, namespace {namespace}");
            }
        }
    }
}
