//! The cluster as the host and the component know it: nodes with ids, pods on them, and the changes the component was not told yet.
//!
//! The host keeps sums of requests beside, to check a decision before it binds. Pure: the driver feeds what it returns.

use std::collections::HashMap;
use std::sync::Arc;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Budget, Delta, HostPort, Namespace, Node, Placement, Pod, Preemption, Resources};

use super::amounts;
use super::commit::Victim;
use super::podspec::{self, PodSpec};
use crate::index::Entry;

pub type Uid = Arc<str>;

#[derive(Default)]
pub struct Cluster {
    nodes: Vec<Option<HostNode>>,
    free: Vec<u32>,
    by_name: HashMap<String, u32>,
    pods: HashMap<Uid, Placed>,
    /// Pods on nodes that are not known yet, by the node's name.
    waiting: HashMap<String, HashMap<Uid, Arc<Entry>>>,
    /// Pods that shall get a node once their victims are gone.
    nominated: HashMap<Uid, Nomination>,
    namespaces: HashMap<String, Namespace>,
    budgets: Vec<Budget>,
    /// What the component was not told yet, in order.
    pub untold: Vec<Delta>,
}

struct HostNode {
    /// Shared with snapshots.
    node: Arc<Node>,
    used: Resources,
    pods: u32,
}

struct Placed {
    node: u32,
    requests: Resources,
    priority: i32,
    /// As parsed; a fresh instance is fed from it. `None` while it is only assumed: then the pod is in `assumed`.
    entry: Option<Arc<Entry>>,
    assumed: Option<Box<Pod>>,
}

struct Nomination {
    node: u32,
    pod: Box<Pod>,
}

/// The cluster at one moment.
pub struct Snapshot {
    namespaces: Vec<Namespace>,
    nodes: Vec<Arc<Node>>,
    pods: Vec<(Seen, u32)>,
    nominated: Vec<Placement>,
    budgets: Vec<Budget>,
}

enum Seen {
    Assumed(Box<Pod>),
    Object(Arc<Entry>),
}

impl Snapshot {
    /// How many deltas it is.
    pub fn len(&self) -> usize {
        self.namespaces.len() + self.nodes.len() + self.pods.len() + self.nominated.len() + 1
    }

    /// Reads the pods' objects: with thousands of them it takes as long as feeding.
    pub fn deltas(self) -> impl Iterator<Item = Delta> + Send + 'static {
        let Self { namespaces, nodes, pods, nominated, budgets } = self;
        let pods = pods.into_iter().filter_map(|(seen, node)| {
            let pod = match seen {
                Seen::Assumed(pod) => *pod,
                Seen::Object(entry) => podspec::parse(&entry.json).ok()?.in_place(),
            };
            Some(Delta::Place(Placement { pod, node }))
        });
        let namespaces = namespaces.into_iter().map(Delta::UpsertNamespace);
        let nodes = nodes.into_iter().map(|node| Delta::UpsertNode(Arc::unwrap_or_clone(node)));
        let nominated = nominated.into_iter().map(Delta::Nominate);
        namespaces.chain(nodes).chain(pods).chain(nominated).chain([Delta::Budgets(budgets)])
    }
}

impl Cluster {
    pub fn nodes(&self) -> usize {
        self.by_name.len()
    }

    /// What makes feeding it take long: nodes, and pods on them.
    pub fn size(&self) -> usize {
        self.by_name.len() + self.pods.len()
    }

    pub fn id(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub fn name(&self, id: u32) -> Option<&str> {
        self.node(id).map(|n| n.node.name.as_str())
    }

    pub fn is_placed(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// The object of a pod on a node, where it has been seen there.
    pub fn placed_entry(&self, uid: &str) -> Option<&Arc<Entry>> {
        self.pods.get(uid)?.entry.as_ref()
    }

    /// The node exists and has room, also beside pods of the same or higher priority that wait for it.
    pub fn admits(&self, id: u32, pod: &Pod) -> bool {
        let Some(node) = self.node(id) else { return false };
        let mut used = node.used.clone();
        let mut pods = node.pods;
        for (uid, nomination) in &self.nominated {
            if nomination.node == id && nomination.pod.priority >= pod.priority && **uid != *pod.uid {
                amounts::add(&mut used, &nomination.pod.requests);
                pods += 1;
            }
        }
        pods < node.node.max_pods && amounts::fits(&node.node.allocatable, &used, &pod.requests)
    }

    /// True when something changed that may let a waiting pod fit.
    pub fn upsert_node(&mut self, json: &[u8]) -> Result<bool, serde_json::Error> {
        let mut node = super::nodespec::parse(json, 0)?;
        if let Some(id) = self.id(&node.name) {
            node.id = id;
            let Some(known) = self.nodes[id as usize].as_mut() else { return Ok(false) };
            if *known.node == node {
                return Ok(false);
            }
            known.node = Arc::new(node.clone());
            self.untold.push(Delta::UpsertNode(node));
            return Ok(true);
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
        });
        node.id = id;
        self.by_name.insert(node.name.clone(), id);
        let name = node.name.clone();
        self.nodes[id as usize] = Some(HostNode { node: Arc::new(node.clone()), used: amounts::zero(), pods: 0 });
        self.untold.push(Delta::UpsertNode(node));
        for (_, entry) in self.waiting.remove(&name).unwrap_or_default() {
            if let Ok(spec) = podspec::parse(&entry.json) {
                self.place(spec, Some(entry));
            }
        }
        Ok(true)
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(id) = self.by_name.remove(name) else { return };
        let stranded: Vec<Uid> = self.pods.iter().filter(|(_, p)| p.node == id).map(|(uid, _)| uid.clone()).collect();
        for uid in stranded {
            if let Some(entry) = self.forget(&uid) {
                self.waiting.entry(name.to_owned()).or_default().insert(uid, entry);
            }
        }
        self.nominated.retain(|_, n| n.node != id);
        self.nodes[id as usize] = None;
        self.free.push(id);
        self.untold.push(Delta::RemoveNode(id));
    }

    /// The pod runs on its node, says the API.
    pub fn observe(&mut self, entry: &Arc<Entry>) -> Result<(), serde_json::Error> {
        let uid = &entry.meta.uid;
        if let Some(placed) = self.pods.get_mut(uid)
            && let Some(known) = &placed.entry
            && known.meta.generation == entry.meta.generation
            && known.meta.labels == entry.meta.labels
            && known.meta.deleting == entry.meta.deleting
            && known.meta.node == entry.meta.node
        {
            // Only its status moved.
            placed.entry = Some(entry.clone());
            return Ok(());
        }
        self.place(podspec::parse(&entry.json)?, Some(entry.clone()));
        Ok(())
    }

    /// The pod is taken to run on the node from now on.
    pub fn assume(&mut self, pod: Pod, node: u32) {
        self.nominated.remove(pod.uid.as_str());
        self.settle(pod, node, None);
    }

    /// The pod is gone, or what was assumed is taken back. Gives the object, if the API had shown it there.
    pub fn forget(&mut self, uid: &str) -> Option<Arc<Entry>> {
        self.withdraw(uid);
        for waiting in self.waiting.values_mut() {
            waiting.remove(uid);
        }
        self.waiting.retain(|_, pods| !pods.is_empty());
        let placed = self.pods.remove(uid)?;
        self.release(&placed);
        self.untold.push(Delta::Forget(uid.to_owned()));
        placed.entry
    }

    pub fn nominate(&mut self, pod: &Pod, node: u32) {
        if self.nominated.get(pod.uid.as_str()).is_some_and(|known| known.node == node && *known.pod == *pod) {
            return;
        }
        self.nominated.insert(pod.uid.as_str().into(), Nomination { node, pod: Box::new(pod.clone()) });
        self.untold.push(Delta::Nominate(Placement { pod: pod.clone(), node }));
    }

    pub fn withdraw(&mut self, uid: &str) {
        if self.nominated.remove(uid).is_some() {
            self.untold.push(Delta::Withdraw(uid.to_owned()));
        }
    }

    pub fn upsert_namespace(&mut self, namespace: Namespace) -> bool {
        if self.namespaces.get(&namespace.name) == Some(&namespace) {
            return false;
        }
        self.namespaces.insert(namespace.name.clone(), namespace.clone());
        self.untold.push(Delta::UpsertNamespace(namespace));
        true
    }

    pub fn remove_namespace(&mut self, name: &str) {
        if self.namespaces.remove(name).is_some() {
            self.untold.push(Delta::RemoveNamespace(name.to_owned()));
        }
    }

    pub fn set_budgets(&mut self, budgets: Vec<Budget>) {
        if self.budgets != budgets {
            self.budgets.clone_from(&budgets);
            self.untold.push(Delta::Budgets(budgets));
        }
    }

    /// Everything, for an instance that knows nothing. What was untold is in it.
    #[cfg(test)]
    pub fn everything(&mut self) -> Vec<Delta> {
        self.snapshot().deltas().collect()
    }

    /// The same, not spelled out yet: taking it costs a thousandth, for what is large is shared.
    pub fn snapshot(&mut self) -> Snapshot {
        self.untold.clear();
        let state = |placed: &Placed| match (&placed.assumed, &placed.entry) {
            (Some(pod), _) => Some(Seen::Assumed(pod.clone())),
            (None, entry) => entry.clone().map(Seen::Object),
        };
        Snapshot {
            namespaces: self.namespaces.values().cloned().collect(),
            nodes: self.nodes.iter().flatten().map(|n| n.node.clone()).collect(),
            pods: self.pods.values().filter_map(|placed| Some((state(placed)?, placed.node))).collect(),
            nominated: self.nominated.values().map(|n| Placement { pod: (*n.pod).clone(), node: n.node }).collect(),
            budgets: self.budgets.clone(),
        }
    }

    /// The chosen victims, if every one is on the node and of lower priority. One that is only assumed there is one, too: it has an object,
    /// and its binding finds that gone.
    pub fn victims(&self, choice: &Preemption, priority: i32) -> Option<Vec<Victim>> {
        self.node(choice.node)?;
        let victim = |uid: &String| {
            let placed = self.pods.get(uid.as_str()).filter(|p| p.node == choice.node && p.priority < priority)?;
            let (namespace, name) = match (&placed.assumed, &placed.entry) {
                (Some(pod), _) => (pod.namespace.clone(), pod.name.clone()),
                (None, entry) => entry.as_ref().map(|e| (e.meta.namespace.to_string(), e.meta.name.to_string()))?,
            };
            Some(Victim { namespace, name, uid: uid.clone() })
        };
        choice.victims.iter().map(victim).collect()
    }

    /// What the nodes are, as the component was told.
    pub fn ids(&self) -> Vec<u32> {
        self.all_nodes().map(|node| node.id).collect()
    }

    pub fn all_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten().map(|n| &*n.node)
    }

    fn node(&self, id: u32) -> Option<&HostNode> {
        self.nodes.get(id as usize)?.as_ref()
    }

    fn place(&mut self, spec: PodSpec, entry: Option<Arc<Entry>>) {
        match self.id(&spec.node) {
            Some(node) => self.settle(spec.in_place(), node, entry),
            None => {
                let uid: Uid = spec.pod.uid.as_str().into();
                self.forget(&uid);
                if let Some(entry) = entry {
                    self.waiting.entry(spec.node).or_default().insert(uid, entry);
                }
            }
        }
    }

    fn settle(&mut self, pod: Pod, node: u32, entry: Option<Arc<Entry>>) {
        let uid: Uid = pod.uid.as_str().into();
        self.nominated.remove(&uid);
        if let Some(before) = self.pods.remove(&uid) {
            self.release(&before);
            // The API confirms what was assumed: the component knows it.
            let same = before.node == node && before.assumed.as_deref().is_some_and(|known| same_to_policy(known, &pod));
            if same && entry.is_some() {
                self.hold(uid, Placed { entry, assumed: None, ..before });
                return;
            }
        }
        let assumed = entry.is_none().then(|| Box::new(pod.clone()));
        let placed = Placed { node, requests: pod.requests.clone(), priority: pod.priority, entry, assumed };
        self.hold(uid, placed);
        self.untold.push(Delta::Place(Placement { pod, node }));
    }

    fn hold(&mut self, uid: Uid, placed: Placed) {
        if let Some(node) = self.nodes.get_mut(placed.node as usize).and_then(Option::as_mut) {
            amounts::add(&mut node.used, &placed.requests);
            node.pods += 1;
        }
        self.pods.insert(uid, placed);
    }

    fn release(&mut self, placed: &Placed) {
        if let Some(node) = self.nodes.get_mut(placed.node as usize).and_then(Option::as_mut) {
            amounts::subtract(&mut node.used, &placed.requests);
            node.pods = node.pods.saturating_sub(1);
        }
    }
}

/// Equal but for what a binding changes by itself.
fn same_to_policy(a: &Pod, b: &Pod) -> bool {
    fn ports(pod: &Pod) -> &[HostPort] {
        pod.constraints.as_ref().map_or(&[], |asked| &asked.host_ports)
    }
    a.labels == b.labels && a.deleting == b.deleting && a.requests == b.requests && a.priority == b.priority && ports(a) == ports(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use pintle_api::client::Served;
    use serde_json::{Value, json};

    fn node(name: &str, cpu: &str) -> Vec<u8> {
        json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "2"}}}).to_string().into_bytes()
    }
    fn pod(uid: &str, node: &str, cpu: &str) -> Arc<Entry> {
        let value: Value = json!({"metadata": {"name": uid, "namespace": "n", "uid": uid, "generation": 1},
            "spec": {"nodeName": node, "containers": [{"image": "i", "resources": {"requests": {"cpu": cpu}}}]}});
        Entry::parse(Served { json: Bytes::from(value.to_string()), revision: 1 }).expect("a pod")
    }
    fn wish(uid: &str, cpu: &str) -> Pod {
        podspec::parse(&pod(uid, "", cpu).json).expect("a pod").pod
    }
    fn told(cluster: &mut Cluster) -> Vec<String> {
        let name = |d: Delta| match d {
            Delta::UpsertNode(n) => format!("node {}={}", n.name, n.id),
            Delta::RemoveNode(id) => format!("no node {id}"),
            Delta::Place(p) => format!("{} on {}", p.pod.uid, p.node),
            Delta::Forget(uid) => format!("forget {uid}"),
            _ => "other".to_owned(),
        };
        std::mem::take(&mut cluster.untold).into_iter().map(name).collect()
    }

    #[test]
    fn sums_follow_assuming_confirming_and_forgetting() {
        let mut cluster = Cluster::default();
        cluster.upsert_node(&node("a", "1")).expect("a node");
        assert!(cluster.admits(0, &wish("p", "1")));
        cluster.assume(wish("p", "600m"), 0);
        assert!(!cluster.admits(0, &wish("q", "500m")));
        assert!(cluster.admits(0, &wish("q", "400m")));
        assert_eq!(told(&mut cluster), ["node a=0", "p on 0"]);
        cluster.observe(&pod("p", "a", "600m")).expect("a pod");
        assert_eq!(told(&mut cluster), [""; 0], "what was assumed came true, the component knows it");
        assert!(!cluster.admits(0, &wish("q", "500m")));
        cluster.forget("p");
        assert!(cluster.admits(0, &wish("q", "1")));
        assert_eq!(told(&mut cluster), ["forget p"]);
    }

    #[test]
    fn pods_on_an_unknown_node_wait_for_it_and_survive_its_return() {
        let mut cluster = Cluster::default();
        cluster.observe(&pod("p", "b", "1")).expect("a pod");
        assert_eq!(told(&mut cluster), [""; 0]);
        cluster.upsert_node(&node("b", "1")).expect("a node");
        assert_eq!(told(&mut cluster), ["node b=0", "p on 0"]);
        cluster.remove_node("b");
        cluster.upsert_node(&node("b", "1")).expect("a node");
        assert_eq!(told(&mut cluster), ["forget p", "no node 0", "node b=0", "p on 0"]);
        assert!(!cluster.admits(0, &wish("q", "1")));
    }

    #[test]
    fn a_nominated_pod_keeps_its_room_from_its_equals() {
        let mut cluster = Cluster::default();
        cluster.upsert_node(&node("a", "1")).expect("a node");
        cluster.nominate(&wish("p", "1"), 0);
        assert!(!cluster.admits(0, &wish("q", "1")));
        assert!(cluster.admits(0, &wish("p", "1")));
        cluster.withdraw("p");
        assert!(cluster.admits(0, &wish("q", "1")));
    }

    #[test]
    fn who_is_only_assumed_on_a_node_may_be_evicted_from_it() {
        let mut cluster = Cluster::default();
        cluster.upsert_node(&node("a", "1")).expect("a node");
        cluster.assume(wish("assumed", "500m"), 0);
        cluster.observe(&pod("confirmed", "a", "500m")).expect("a pod");
        let choice = |victims: &[&str]| Preemption { node: 0, victims: victims.iter().map(|v| (*v).to_owned()).collect() };
        let names = |priority: i32, uids: &[&str]| {
            Some(cluster.victims(&choice(uids), priority)?.into_iter().map(|v| format!("{}/{}", v.namespace, v.name)).collect::<Vec<_>>())
        };
        assert_eq!(names(1, &["assumed", "confirmed"]), Some(vec!["n/assumed".to_owned(), "n/confirmed".to_owned()]));
        assert_eq!(names(0, &["assumed"]), None, "none of lower priority");
        assert_eq!(names(1, &["stranger"]), None);
    }

    #[test]
    fn what_is_not_asked_for_may_be_overdrawn_and_pods_are_counted() {
        let mut cluster = Cluster::default();
        cluster.upsert_node(&node("a", "1")).expect("a node");
        cluster.assume(wish("p", "2"), 0);
        assert!(cluster.admits(0, &wish("q", "0")));
        cluster.assume(wish("q", "0"), 0);
        assert!(!cluster.admits(0, &wish("r", "0")), "two pods at most");
    }
}
