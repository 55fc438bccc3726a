//! The cluster as it was fed: nodes by their dense id, pods in a slab, and the indexes that filters and scores read.

use pintle_sdk::scheduler as api;
use pintle_sdk::scheduler::{Delta, Effect, NodeId, Unsatisfiable};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::domains::Domains;
use crate::intern::{Symbol, Symbols};
use crate::members::Members;
use crate::select::{Labels, PodTerm, Selector, labels};
use crate::wish::Wish;

#[derive(Default)]
pub struct Cluster {
    pub symbols: Symbols,
    pub nodes: Vec<Option<Node>>,
    pub node_count: usize,
    pub pods: Vec<Option<PlacedPod>>,
    free: Vec<usize>,
    by_uid: FxHashMap<Box<str>, usize>,
    pub members: Members,
    pub domains: Domains,
    /// Pods with required anti-affinity: they may forbid a node to others.
    pub with_anti_affinity: FxHashSet<usize>,
    /// Pods with affinity of any kind: their wishes count when others are scored.
    pub with_affinity: FxHashSet<usize>,
    /// Pods without a node that wait for room on one.
    nominated: FxHashMap<NodeId, Vec<PlacedPod>>,
    pub namespaces: FxHashMap<Symbol, Labels>,
    pub budgets: Vec<Budget>,
    /// On how many nodes an image is.
    pub image_nodes: FxHashMap<Symbol, u32>,
}

#[derive(Clone, Debug, Default)]
pub struct Amounts {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    pub extended: Vec<(Symbol, i64)>,
}

pub struct Node {
    pub id: NodeId,
    pub name: Symbol,
    /// The symbol of `metadata.name`, the one field that affinity may name.
    pub name_field: Symbol,
    pub labels: Labels,
    /// Taints that keep pods off.
    pub repelling: Box<[Taint]>,
    /// `PreferNoSchedule`.
    pub discouraging: Box<[Taint]>,
    pub unschedulable: bool,
    pub allocatable: Amounts,
    pub max_pods: u32,
    pub requested: Amounts,
    /// As `requested`, but containers that ask for nothing count as small ones: so that scores tell nodes apart.
    pub scored_milli_cpu: i64,
    pub scored_memory: i64,
    /// How even CPU and memory are in use: it changes less often than it is asked for.
    pub evenness: i64,
    pub pods: Vec<usize>,
    pub images: FxHashMap<Symbol, u64>,
}

#[derive(Clone, Copy, Debug)]
pub struct Taint {
    pub key: Symbol,
    pub value: Symbol,
    pub effect: api::Effect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub ip: Symbol,
    pub any_ip: bool,
    pub protocol: Symbol,
    pub port: u16,
}

#[derive(Clone)]
pub struct PlacedPod {
    pub uid: Box<str>,
    /// Not a symbol: pods come and go, and symbols stay.
    pub name: Box<str>,
    pub node: NodeId,
    pub namespace: Symbol,
    pub labels: Labels,
    pub priority: i32,
    pub started: i64,
    pub deleting: bool,
    pub requests: Amounts,
    pub scored_milli_cpu: i64,
    pub scored_memory: i64,
    pub claims: Box<[Symbol]>,
    pub ports: Box<[Port]>,
    pub required_affinity: Box<[PodTerm]>,
    pub required_anti_affinity: Box<[PodTerm]>,
    /// Anti-affinity has a negative weight.
    pub preferred: Box<[(i64, PodTerm)]>,
}

pub struct Budget {
    pub namespace: Symbol,
    pub selector: Option<Selector>,
    pub allowed: i32,
    pub disrupted: Box<[Box<str>]>,
}

impl Cluster {
    pub fn apply(&mut self, delta: Delta) {
        match delta {
            Delta::UpsertNode(node) => self.upsert_node(&node),
            Delta::RemoveNode(id) => self.remove_node(id),
            Delta::Place(placement) => {
                let pod = PlacedPod::compile(&placement.pod, placement.node, &mut self.symbols);
                self.settle(pod);
            }
            // Of the pod that was asked about last, which is not known here.
            Delta::Assume(_) => {}
            Delta::Forget(uid) => {
                self.withdraw(&uid);
                self.take_away(&uid);
            }
            Delta::Nominate(placement) => {
                let pod = PlacedPod::compile(&placement.pod, placement.node, &mut self.symbols);
                self.withdraw(&pod.uid);
                self.nominated.entry(placement.node).or_default().push(pod);
            }
            Delta::Withdraw(uid) => self.withdraw(&uid),
            Delta::UpsertNamespace(namespace) => {
                let name = self.symbols.intern(&namespace.name);
                let labels = labels(&namespace.labels, &mut self.symbols);
                self.namespaces.insert(name, labels);
            }
            Delta::RemoveNamespace(name) => {
                let name = self.symbols.intern(&name);
                self.namespaces.remove(&name);
            }
            Delta::Budgets(budgets) => {
                self.budgets = budgets.iter().map(|b| Budget::compile(b, &mut self.symbols)).collect();
            }
        }
    }

    #[inline]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)?.as_ref()
    }

    /// Makes ready for what the pod's constraints count.
    pub fn prepare(&mut self, wish: &Wish) {
        for selector in wish.spread.iter().filter_map(|constraint| constraint.selector.as_ref()) {
            self.members.prepare(wish.namespace, selector, &self.pods);
        }
        if !wish.spread.is_empty() {
            let keys = wish.spread.iter().map(|constraint| constraint.topology_key);
            self.domains.prepare(keys, &wish.spread_keys(), &self.nodes);
        }
    }

    /// Whether any pod waits for room somewhere.
    pub fn nominates(&self) -> bool {
        !self.nominated.is_empty()
    }

    /// The pods that the wish's pod must leave room for on the node.
    pub fn nominated_before(&self, id: NodeId, wish: &Wish) -> Vec<PlacedPod> {
        let waiting = self.nominated.get(&id).into_iter().flatten();
        waiting.filter(|pod| pod.priority >= wish.priority && *pod.uid != *wish.uid).cloned().collect()
    }

    fn withdraw(&mut self, uid: &str) {
        for waiting in self.nominated.values_mut() {
            waiting.retain(|pod| *pod.uid != *uid);
        }
        self.nominated.retain(|_, waiting| !waiting.is_empty());
    }

    pub fn namespace_labels(&self, namespace: Symbol) -> &[(Symbol, Symbol)] {
        self.namespaces.get(&namespace).map_or(&[], |l| l)
    }

    pub fn pod(&self, index: usize) -> Option<&PlacedPod> {
        self.pods.get(index)?.as_ref()
    }

    fn upsert_node(&mut self, fed: &api::Node) {
        let symbols = &mut self.symbols;
        let mut images = FxHashMap::default();
        for image in &fed.images {
            for name in &image.names {
                images.insert(symbols.intern(name), image.size_bytes);
            }
        }
        let taint = |t: &api::Taint| Taint { key: symbols.intern(&t.key), value: symbols.intern(&t.value), effect: t.effect };
        let (discouraging, repelling) = fed.taints.iter().map(taint).partition::<Vec<_>, _>(|t| t.effect == Effect::PreferNoSchedule);
        let mut node = Node {
            id: fed.id,
            name: symbols.intern(&fed.name),
            name_field: symbols.intern("metadata.name"),
            labels: labels(&fed.labels, symbols),
            repelling: repelling.into(),
            discouraging: discouraging.into(),
            unschedulable: fed.unschedulable,
            allocatable: Amounts::compile(&fed.allocatable, symbols),
            max_pods: fed.max_pods,
            requested: Amounts::default(),
            scored_milli_cpu: 0,
            scored_memory: 0,
            evenness: 0,
            pods: Vec::new(),
            images,
        };
        let slot = fed.id as usize;
        if self.nodes.len() <= slot {
            self.nodes.resize_with(slot + 1, || None);
        }
        if self.nodes[slot].as_ref().is_none_or(|old| old.labels != node.labels) {
            self.domains.forget();
        }
        if let Some(old) = self.nodes[slot].take() {
            self.count_images(&old, -1);
            node.pods = old.pods;
            node.requested = old.requested;
            node.scored_milli_cpu = old.scored_milli_cpu;
            node.scored_memory = old.scored_memory;
        } else {
            self.node_count += 1;
        }
        node.evenness = node.evenness_with(&Amounts::default());
        self.count_images(&node, 1);
        self.nodes[slot] = Some(node);
    }

    fn remove_node(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id as usize).and_then(Option::take) else { return };
        self.node_count -= 1;
        self.domains.forget();
        self.nominated.remove(&id);
        self.count_images(&node, -1);
        for index in node.pods {
            self.release(index);
        }
    }

    fn count_images(&mut self, node: &Node, by: i64) {
        for image in node.images.keys() {
            let count = self.image_nodes.entry(*image).or_default();
            *count = (i64::from(*count) + by).max(0) as u32;
        }
    }

    /// The pod is there from now on, wherever it was before.
    pub fn settle(&mut self, pod: PlacedPod) {
        self.withdraw(&pod.uid);
        self.take_away(&pod.uid);
        self.place(pod);
    }

    /// Puts a pod on its node. A pod of an unknown node is not kept: the host feeds nodes first.
    pub fn place(&mut self, pod: PlacedPod) {
        let Some(node) = self.nodes.get_mut(pod.node as usize).and_then(Option::as_mut) else { return };
        let index = self.free.pop().unwrap_or(self.pods.len());
        node.pods.push(index);
        node.charge(&pod, 1);
        self.by_uid.insert(pod.uid.clone(), index);
        self.members.insert(index, &pod);
        if !pod.required_anti_affinity.is_empty() {
            self.with_anti_affinity.insert(index);
        }
        if !pod.preferred.is_empty() || !pod.required_affinity.is_empty() {
            self.with_affinity.insert(index);
        }
        if index == self.pods.len() {
            self.pods.push(Some(pod));
        } else {
            self.pods[index] = Some(pod);
        }
    }

    /// Takes a pod off its node and gives it back, so that preemption can try without it.
    pub fn take_away(&mut self, uid: &str) -> Option<PlacedPod> {
        let index = *self.by_uid.get(uid)?;
        let pod = self.release(index)?;
        if let Some(node) = self.nodes.get_mut(pod.node as usize).and_then(Option::as_mut) {
            node.charge(&pod, -1);
            node.pods.retain(|p| *p != index);
        }
        Some(pod)
    }

    fn release(&mut self, index: usize) -> Option<PlacedPod> {
        let pod = self.pods.get_mut(index)?.take()?;
        self.by_uid.remove(&pod.uid);
        self.members.remove(index, &pod);
        self.with_anti_affinity.remove(&index);
        self.with_affinity.remove(&index);
        self.free.push(index);
        Some(pod)
    }
}

impl Node {
    fn charge(&mut self, pod: &PlacedPod, sign: i64) {
        let requests = &pod.requests;
        self.requested.milli_cpu += sign * requests.milli_cpu;
        self.requested.memory += sign * requests.memory;
        self.requested.ephemeral_storage += sign * requests.ephemeral_storage;
        for (name, amount) in &requests.extended {
            match self.requested.extended.iter_mut().find(|e| e.0 == *name) {
                Some(entry) => entry.1 += sign * amount,
                None => self.requested.extended.push((*name, sign * amount)),
            }
        }
        self.scored_milli_cpu += sign * pod.scored_milli_cpu;
        self.scored_memory += sign * pod.scored_memory;
        self.evenness = self.evenness_with(&Amounts::default());
    }

    /// How near the shares of CPU and memory in use come to each other with these requests added: 100 are equal shares.
    #[inline]
    pub fn evenness_with(&self, added: &Amounts) -> i64 {
        let share = |used: i64, of: i64| (of > 0).then(|| if used < of { used as f64 / of as f64 } else { 1.0 });
        let cpu = share(self.requested.milli_cpu + added.milli_cpu, self.allocatable.milli_cpu);
        let memory = share(self.requested.memory + added.memory, self.allocatable.memory);
        let deviation = match (cpu, memory) {
            (Some(cpu), Some(memory)) => ((cpu - memory) / 2.0).abs(),
            _ => 0.0,
        };
        ((1.0 - deviation) * 100.0) as i64
    }
}

impl Amounts {
    pub fn compile(fed: &api::Resources, symbols: &mut Symbols) -> Self {
        Self {
            milli_cpu: fed.milli_cpu,
            memory: fed.memory,
            ephemeral_storage: fed.ephemeral_storage,
            extended: fed.extended.iter().map(|(name, amount)| (symbols.intern(name), *amount)).collect(),
        }
    }

    pub fn extended(&self, name: Symbol) -> i64 {
        self.extended.iter().find(|e| e.0 == name).map_or(0, |e| e.1)
    }
}

impl PlacedPod {
    fn compile(pod: &api::Pod, node: NodeId, symbols: &mut Symbols) -> Self {
        let asked = pod.asks();
        Self {
            uid: pod.uid.as_str().into(),
            name: pod.name.as_str().into(),
            node,
            namespace: symbols.intern(&pod.namespace),
            labels: labels(&pod.labels, symbols),
            priority: pod.priority,
            started: pod.started,
            deleting: pod.deleting,
            requests: Amounts::compile(&pod.requests, symbols),
            scored_milli_cpu: pod.scored_milli_cpu,
            scored_memory: pod.scored_memory,
            claims: asked.volumes.claims.iter().map(|c| symbols.intern(c)).collect(),
            ports: asked.host_ports.iter().map(|p| Port::compile(p, symbols)).collect(),
            required_affinity: PodTerm::compile_all(&asked.pods.required, symbols).into(),
            required_anti_affinity: PodTerm::compile_all(&asked.pods.required_anti, symbols).into(),
            preferred: PodTerm::compile_preferred(asked.pods, symbols).into(),
        }
    }

    /// One that was decided about: what was compiled for that is not compiled again.
    pub fn decided(pod: api::Pod, wish: Wish, node: NodeId, symbols: &mut Symbols) -> Self {
        Self {
            claims: pod.asks().volumes.claims.iter().map(|c| symbols.intern(c)).collect(),
            uid: wish.uid,
            name: pod.name.into(),
            node,
            namespace: wish.namespace,
            labels: wish.labels,
            priority: wish.priority,
            started: pod.started,
            deleting: pod.deleting,
            requests: wish.requests,
            scored_milli_cpu: wish.scored_milli_cpu,
            scored_memory: wish.scored_memory,
            ports: wish.ports.into(),
            required_affinity: wish.required_affinity.into(),
            required_anti_affinity: wish.required_anti_affinity.into(),
            preferred: wish.preferred.into(),
        }
    }
}

impl Port {
    pub fn compile(port: &api::HostPort, symbols: &mut Symbols) -> Self {
        let any_ip = port.ip.is_empty() || port.ip == "0.0.0.0";
        Self { ip: symbols.intern(&port.ip), any_ip, protocol: symbols.intern(&port.protocol), port: port.port }
    }

    pub fn clashes(&self, other: &Port) -> bool {
        self.port == other.port && self.protocol == other.protocol && (self.any_ip || other.any_ip || self.ip == other.ip)
    }
}

impl Budget {
    fn compile(budget: &api::Budget, symbols: &mut Symbols) -> Self {
        Self {
            namespace: symbols.intern(&budget.namespace),
            selector: budget.selector.as_deref().map(|s| Selector::compile(s, symbols)),
            allowed: budget.allowed,
            disrupted: budget.disrupted.iter().map(|name| name.as_str().into()).collect(),
        }
    }
}

/// A spread constraint, compiled.
pub struct Constraint {
    pub max_skew: i64,
    pub topology_key: Symbol,
    pub hard: bool,
    pub selector: Option<Selector>,
    pub min_domains: Option<i64>,
    pub honor_affinity: bool,
    pub honor_taints: bool,
}

impl Constraint {
    pub fn compile(constraint: &api::SpreadConstraint, symbols: &mut Symbols) -> Self {
        Self {
            max_skew: i64::from(constraint.max_skew),
            topology_key: symbols.intern(&constraint.topology_key),
            hard: constraint.when_unsatisfiable == Unsatisfiable::DoNotSchedule,
            selector: constraint.selector.as_deref().map(|s| Selector::compile(s, symbols)),
            min_domains: constraint.min_domains.map(i64::from),
            honor_affinity: constraint.honor_node_affinity,
            honor_taints: constraint.honor_node_taints,
        }
    }
}
