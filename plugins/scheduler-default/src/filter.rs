//! The filters, in upstream's order: the first that refuses a node gives its reasons.

use pintle_sdk::scheduler::{NodeId, Rejection};

use crate::affinity::{AffinityFacts, AffinityFault};
use crate::cluster::{Cluster, Node, PlacedPod};
use crate::intern::{Symbol, Symbols};
use crate::spread::{Spread, SpreadFault};
use crate::strides::{count_while_in_strides, each_number_in_strides};
use crate::wish::Wish;

/// What is counted over the whole cluster before single nodes are looked at. Follows a pod that is put or taken away for a trial.
#[derive(Clone)]
pub struct Facts {
    affinity: AffinityFacts,
    spread: Vec<Spread>,
    /// Placed pods that use a claim which the pod must have for itself.
    claims_in_use: i64,
}

impl Facts {
    pub fn gather(cluster: &mut Cluster, wish: &Wish) -> Self {
        cluster.prepare(wish);
        let cluster = &*cluster;
        let mut facts = Self { affinity: AffinityFacts::gather(cluster, wish), spread: crate::spread::gather(cluster, wish), claims_in_use: 0 };
        if !wish.exclusive_claims.is_empty() {
            let used = |claim: &&Symbol| cluster.members.of(wish.namespace).filter_map(|i| cluster.pod(i)).any(|pod| pod.claims.contains(claim));
            facts.claims_in_use = wish.exclusive_claims.iter().filter(used).count() as i64;
        }
        facts
    }

    /// Neither the pod nor those that are placed tell nodes apart by anything but taints, room and spread.
    fn leave_all_nodes(&self, wish: &Wish) -> bool {
        wish.wants_room_alone() && self.affinity.refuses_none(wish) && self.claims_in_use == 0
    }

    /// As if the pod came to (1) or left (-1) its node.
    pub fn shift(&mut self, cluster: &Cluster, wish: &Wish, pod: &PlacedPod, by: i64) {
        let Some(node) = cluster.node(pod.node) else { return };
        self.affinity.shift(cluster, wish, pod, node, by);
        crate::spread::shift(&mut self.spread, cluster, wish, pod, node, by);
        if pod.namespace == wish.namespace {
            self.claims_in_use += by * wish.exclusive_claims.iter().filter(|claim| pod.claims.contains(claim)).count() as i64;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The pod names the nodes that it wants, and this is none of them.
    OtherNode,
    /// It names nodes that cannot be the same.
    NoSuchNode,
    Unschedulable,
    Taint,
    NodeAffinity,
    Ports,
    TooManyPods,
    /// Not even an empty node would do (true), or others have taken it.
    Cpu(bool),
    Memory(bool),
    EphemeralStorage(bool),
    Extended(Symbol, bool),
    ClaimInUse,
    Volume(Symbol, Symbol),
    SpreadLabel,
    Spread,
    Affinity,
    AntiAffinity,
    ExistingAntiAffinity,
    NoVictims,
    NotHelpful,
}

/// Reasons with the number of nodes that they refused.
#[derive(Default)]
pub struct Rejections(Vec<(Why, u32)>);

impl Rejections {
    pub fn add(&mut self, why: Why) {
        self.add_nodes(why, 1);
    }

    pub fn add_nodes(&mut self, why: Why, nodes: u32) {
        match self.0.iter_mut().find(|r| r.0 == why) {
            Some(entry) => entry.1 += nodes,
            None => self.0.push((why, nodes)),
        }
    }

    pub fn resolvable_only(&self) -> bool {
        self.0.iter().all(|(why, _)| why.resolvable())
    }

    pub fn report(&self, symbols: &Symbols) -> Vec<Rejection> {
        let report = self.0.iter().map(|(why, nodes)| {
            let (filter, message) = why.words(symbols);
            // It speaks of the pod, not of a node.
            let nodes = if *why == Why::NoSuchNode { 0 } else { *nodes };
            Rejection { filter, message, nodes, resolvable: why.resolvable() }
        });
        report.collect()
    }
}

/// The nodes that take the pod, in the order of their ids from `start` on and round, until there are `enough`.
pub struct Sifted {
    pub feasible: Vec<NodeId>,
    pub looked_at: u32,
    pub next_start: u32,
}

pub fn sift(cluster: &mut Cluster, wish: &Wish, facts: &Facts, start: usize, enough: usize, rejections: &mut Rejections) -> Sifted {
    let count = cluster.nodes.len();
    let mut sifted = Sifted { feasible: Vec::with_capacity(enough.min(count)), looked_at: 0, next_start: 0 };
    let wants_room_alone = !cluster.nominates() && facts.leave_all_nodes(wish);
    let mut next = start;
    for slots in [start..count, 0..start] {
        next = slots.start;
        while next < slots.end && sifted.feasible.len() < enough {
            if wants_room_alone {
                let wanted = enough - sifted.feasible.len();
                let last = slots.end.min(next.saturating_add(wanted));
                let passed = with_room(&cluster.nodes[next..last], wish);
                sift_spread(&facts.spread, next as NodeId, passed, &mut sifted.feasible, rejections);
                sifted.looked_at += passed as u32;
                next += passed;
                if next == last {
                    continue;
                }
            }
            if cluster.nodes[next].is_some() {
                sifted.looked_at += 1;
                if accepts(cluster, wish, facts, next as NodeId, rejections) {
                    sifted.feasible.push(next as NodeId);
                }
            }
            next += 1;
        }
        if sifted.feasible.len() >= enough {
            break;
        }
    }
    sifted.next_start = if next == count { 0 } else { next as u32 };
    sifted
}

/// How many of the nodes have room before the first that has none. A loop of its own: beside the other filters a guest keeps nothing of it in registers.
#[inline(never)]
fn with_room(nodes: &[Option<Node>], wish: &Wish) -> usize {
    count_while_in_strides(nodes, |node| node.as_ref().is_some_and(|node| has_room(node, wish)))
}

/// Of so many nodes, the first of which has that id, takes those in whose domains the pod may be, and notes the others.
fn sift_spread(spreads: &[Spread], first: NodeId, count: usize, feasible: &mut Vec<NodeId>, rejections: &mut Rejections) {
    match spreads {
        [] => feasible.extend((first..).take(count)),
        [only] => sift_by(only.faults(), first, count, feasible, rejections),
        several => sift_by(|id| crate::spread::fault(several, id), first, count, feasible, rejections),
    }
}

#[inline(never)]
fn sift_by(fault: impl Fn(NodeId) -> Option<SpreadFault>, first: NodeId, count: usize, feasible: &mut Vec<NodeId>, rejections: &mut Rejections) {
    let before = feasible.len();
    feasible.resize(before + count, 0);
    let places = &mut feasible[before..];
    let mut taken = 0;
    let mut refused = [0; 2];
    each_number_in_strides(first, count, |id| match fault(id) {
        None => {
            if let Some(place) = places.get_mut(taken) {
                *place = id;
            }
            taken += 1;
        }
        Some(SpreadFault::MissingLabel) => refused[0] += 1,
        Some(SpreadFault::Skew) => refused[1] += 1,
    });
    feasible.truncate(before + taken);
    let [missing, skewed] = [(SpreadFault::MissingLabel, refused[0]), (SpreadFault::Skew, refused[1])];
    // Reasons are told in the order in which they were met.
    let skew_first = skewed.1 > 0 && (first..).take(count).find_map(&fault) == Some(SpreadFault::Skew);
    let told = if skew_first { [skewed, missing] } else { [missing, skewed] };
    told.into_iter().filter(|(_, nodes)| *nodes > 0).for_each(|(fault, nodes)| rejections.add_nodes(fault.into(), nodes));
}

/// All that is left to ask of a node for a pod that wants room alone. The other filters say why not, where it is not so.
#[inline(always)]
fn has_room(node: &Node, wish: &Wish) -> bool {
    let (want, have, used) = (&wish.requests, &node.allocatable, &node.requested);
    let fits = |want: i64, have: i64, used: i64| want <= 0 || want <= have - used;
    !node.unschedulable
        && node.repelling.is_empty()
        && (node.pods.len() as u32) < node.max_pods
        && fits(want.milli_cpu, have.milli_cpu, used.milli_cpu)
        && fits(want.memory, have.memory, used.memory)
        && fits(want.ephemeral_storage, have.ephemeral_storage, used.ephemeral_storage)
}

/// Whether the node may take the pod. One that the pod does not name is not looked at, unless victims were evicted there for it.
#[inline(always)]
pub fn accepts(cluster: &mut Cluster, wish: &Wish, facts: &Facts, id: NodeId, rejections: &mut Rejections) -> bool {
    let Some(node) = cluster.node(id) else { return false };
    if wish.names_others(node) && wish.nominated != Some(id) {
        rejections.add(Why::OtherNode);
        return false;
    }
    check(cluster, wish, facts, id, rejections)
}

/// Asks the filters, also as if the pods that are nominated for the node were there already: both must pass.
#[inline(always)]
pub fn check(cluster: &mut Cluster, wish: &Wish, facts: &Facts, id: NodeId, rejections: &mut Rejections) -> bool {
    if cluster.nominates() && !passes_beside_nominated(cluster, wish, facts, id, rejections) {
        return false;
    }
    cluster.node(id).is_some_and(|node| passes(cluster, node, wish, facts, rejections))
}

fn passes_beside_nominated(cluster: &mut Cluster, wish: &Wish, facts: &Facts, id: NodeId, rejections: &mut Rejections) -> bool {
    let nominated = cluster.nominated_before(id, wish);
    if nominated.is_empty() {
        return true;
    }
    let mut with_them = facts.clone();
    for pod in &nominated {
        with_them.shift(cluster, wish, pod, 1);
    }
    let uids: Vec<Box<str>> = nominated.iter().map(|p| p.uid.clone()).collect();
    nominated.into_iter().for_each(|pod| cluster.place(pod));
    let fits = cluster.node(id).is_some_and(|node| passes(cluster, node, wish, &with_them, rejections));
    for uid in uids {
        cluster.take_away(&uid);
    }
    fits
}

/// Notes each reason when the node is refused. Lack of several resources gives several reasons, and so do several volumes.
pub fn passes(cluster: &Cluster, node: &Node, wish: &Wish, facts: &Facts, rejections: &mut Rejections) -> bool {
    let symbols = &cluster.symbols;
    let fault = if node.unschedulable && !wish.tolerates_unschedulable(symbols) {
        Some(Why::Unschedulable)
    } else if !wish.tolerates_all(node) {
        Some(Why::Taint)
    } else if !wish.accepts_node(node, symbols) {
        Some(Why::NodeAffinity)
    } else if !wish.ports.is_empty() && !ports_free(cluster, node, wish) {
        Some(Why::Ports)
    } else {
        None
    };
    if let Some(why) = fault {
        rejections.add(why);
        return false;
    }
    if !fits(node, wish, |why| rejections.add(why)) {
        return false;
    }
    if facts.claims_in_use > 0 {
        rejections.add(Why::ClaimInUse);
        return false;
    }
    if !wish.volumes.is_empty() && !volumes_reach(node, wish, symbols, rejections) {
        return false;
    }
    let fault = match crate::spread::fault(&facts.spread, node.id) {
        Some(fault) => Some(fault.into()),
        None => facts.affinity.fault(wish, node).map(|fault| match fault {
            AffinityFault::Affinity => Why::Affinity,
            AffinityFault::AntiAffinity => Why::AntiAffinity,
            AffinityFault::ExistingAntiAffinity => Why::ExistingAntiAffinity,
        }),
    };
    fault.inspect(|why| rejections.add(*why)).is_none()
}

impl From<SpreadFault> for Why {
    fn from(fault: SpreadFault) -> Self {
        match fault {
            SpreadFault::MissingLabel => Why::SpreadLabel,
            SpreadFault::Skew => Why::Spread,
        }
    }
}

fn ports_free(cluster: &Cluster, node: &Node, wish: &Wish) -> bool {
    let taken = node.pods.iter().filter_map(|i| cluster.pod(*i)).flat_map(|p| p.ports.iter());
    !taken.into_iter().any(|used| wish.ports.iter().any(|p| p.clashes(used)))
}

/// A resource that is not asked for is not looked at: a full node still takes a pod that wants none of it.
fn fits(node: &Node, wish: &Wish, mut refuse: impl FnMut(Why)) -> bool {
    let mut fits = true;
    let mut lack = |why: Why| {
        fits = false;
        refuse(why);
    };
    if node.pods.len() as u32 + 1 > node.max_pods {
        lack(Why::TooManyPods);
    }
    let (want, have, used) = (&wish.requests, &node.allocatable, &node.requested);
    if want.milli_cpu > 0 && want.milli_cpu > have.milli_cpu - used.milli_cpu {
        lack(Why::Cpu(want.milli_cpu > have.milli_cpu));
    }
    if want.memory > 0 && want.memory > have.memory - used.memory {
        lack(Why::Memory(want.memory > have.memory));
    }
    if want.ephemeral_storage > 0 && want.ephemeral_storage > have.ephemeral_storage - used.ephemeral_storage {
        lack(Why::EphemeralStorage(want.ephemeral_storage > have.ephemeral_storage));
    }
    for (name, amount) in want.extended.iter().filter(|e| e.1 > 0) {
        let there = have.extended(*name);
        if *amount > there - used.extended(*name) {
            lack(Why::Extended(*name, *amount > there));
        }
    }
    fits
}

/// The demands of the first filter that refuses; each of its reasons counts once.
fn volumes_reach(node: &Node, wish: &Wish, symbols: &Symbols, rejections: &mut Rejections) -> bool {
    let mut said: Vec<Why> = Vec::new();
    for demand in wish.volumes.iter().filter(|demand| !demand.allows(node, symbols)) {
        let why = Why::Volume(demand.filter, demand.message);
        let of_another_filter = said.iter().any(|s| !matches!(s, Why::Volume(filter, _) if *filter == demand.filter));
        if !of_another_filter && !said.contains(&why) {
            said.push(why);
        }
    }
    said.iter().for_each(|why| rejections.add(*why));
    said.is_empty()
}

impl Why {
    /// Whether evicting pods could make the node fit.
    fn resolvable(self) -> bool {
        match self {
            Why::Cpu(hopeless) | Why::Memory(hopeless) | Why::EphemeralStorage(hopeless) | Why::Extended(_, hopeless) => !hopeless,
            Why::Ports | Why::TooManyPods | Why::ClaimInUse | Why::Spread | Why::AntiAffinity | Why::ExistingAntiAffinity => true,
            Why::OtherNode | Why::NoSuchNode | Why::Unschedulable | Why::Taint | Why::NodeAffinity | Why::Volume(..) => false,
            Why::SpreadLabel | Why::Affinity | Why::NoVictims | Why::NotHelpful => false,
        }
    }

    /// The filter's name and upstream's message.
    fn words(self, symbols: &Symbols) -> (String, String) {
        let (filter, message) = match self {
            Why::OtherNode => ("NodeAffinity", "node(s) didn't satisfy plugin(s) [NodeAffinity]"),
            Why::NoSuchNode => ("NodeAffinity", "pod affinity terms conflict"),
            Why::Unschedulable => ("NodeUnschedulable", "node(s) were unschedulable"),
            Why::Taint => ("TaintToleration", "node(s) had untolerated taint(s)"),
            Why::NodeAffinity => ("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"),
            Why::Ports => ("NodePorts", "node(s) didn't have free ports for the requested pod ports"),
            Why::TooManyPods => ("NodeResourcesFit", "Too many pods"),
            Why::Cpu(_) => ("NodeResourcesFit", "Insufficient cpu"),
            Why::Memory(_) => ("NodeResourcesFit", "Insufficient memory"),
            Why::EphemeralStorage(_) => ("NodeResourcesFit", "Insufficient ephemeral-storage"),
            Why::Extended(name, _) => return ("NodeResourcesFit".to_owned(), format!("Insufficient {}", symbols.text(name))),
            Why::ClaimInUse => (
                "VolumeRestrictions",
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod",
            ),
            Why::Volume(filter, message) => return (symbols.text(filter).to_owned(), symbols.text(message).to_owned()),
            Why::SpreadLabel => ("PodTopologySpread", "node(s) didn't match pod topology spread constraints (missing required label)"),
            Why::Spread => ("PodTopologySpread", "node(s) didn't match pod topology spread constraints"),
            Why::Affinity => ("InterPodAffinity", "node(s) didn't match pod affinity rules"),
            Why::AntiAffinity => ("InterPodAffinity", "node(s) didn't match pod anti-affinity rules"),
            Why::ExistingAntiAffinity => ("InterPodAffinity", "node(s) didn't satisfy existing pods anti-affinity rules"),
            Why::NotHelpful => ("DefaultPreemption", "Preemption is not helpful for scheduling"),
            Why::NoVictims => ("DefaultPreemption", "No preemption victims found for incoming pod"),
        };
        (filter.to_owned(), message.to_owned())
    }
}
