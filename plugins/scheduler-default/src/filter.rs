//! The filters, in upstream's order: the first that refuses a node gives its reason.

use pintle_sdk::scheduler::Rejection;

use crate::affinity::{AffinityFacts, AffinityFault};
use crate::cluster::{Cluster, Node};
use crate::intern::{Symbol, Symbols};
use crate::spread::{Spread, SpreadFault};
use crate::wish::Wish;

/// What is counted over the whole cluster before single nodes are looked at.
pub struct Facts {
    affinity: AffinityFacts,
    spread: Vec<Spread>,
}

impl Facts {
    pub fn gather(cluster: &Cluster, wish: &Wish) -> Self {
        Self { affinity: AffinityFacts::gather(cluster, wish), spread: crate::spread::gather(cluster, wish) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Unschedulable,
    Taint,
    NodeAffinity,
    Ports,
    TooManyPods,
    Cpu,
    Memory,
    EphemeralStorage,
    Extended(Symbol),
    VolumeNode,
    SpreadLabel,
    Spread,
    Affinity,
    AntiAffinity,
    ExistingAntiAffinity,
}

/// Reasons with the number of nodes that they refused.
#[derive(Default)]
pub struct Rejections(Vec<(Why, u32)>);

impl Rejections {
    fn add(&mut self, why: Why) {
        match self.0.iter_mut().find(|r| r.0 == why) {
            Some(entry) => entry.1 += 1,
            None => self.0.push((why, 1)),
        }
    }

    pub fn resolvable_only(&self) -> bool {
        self.0.iter().all(|(why, _)| why.resolvable())
    }

    pub fn report(&self, symbols: &Symbols) -> Vec<Rejection> {
        let report = self.0.iter().map(|(why, nodes)| {
            let (filter, message) = why.words(symbols);
            Rejection { filter: filter.to_owned(), message, nodes: *nodes, resolvable: why.resolvable() }
        });
        report.collect()
    }
}

/// Notes each reason when the node is refused. Lack of several resources gives several reasons.
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
    let fault = if !wish.volumes_reach(node, symbols) {
        Some(Why::VolumeNode)
    } else if let Some(fault) = crate::spread::fault(&facts.spread, wish, node) {
        Some(if fault == SpreadFault::MissingLabel { Why::SpreadLabel } else { Why::Spread })
    } else {
        facts.affinity.fault(wish, node).map(|fault| match fault {
            AffinityFault::Affinity => Why::Affinity,
            AffinityFault::AntiAffinity => Why::AntiAffinity,
            AffinityFault::ExistingAntiAffinity => Why::ExistingAntiAffinity,
        })
    };
    fault.inspect(|why| rejections.add(*why)).is_none()
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
        lack(Why::Cpu);
    }
    if want.memory > 0 && want.memory > have.memory - used.memory {
        lack(Why::Memory);
    }
    if want.ephemeral_storage > 0 && want.ephemeral_storage > have.ephemeral_storage - used.ephemeral_storage {
        lack(Why::EphemeralStorage);
    }
    for (name, amount) in want.extended.iter().filter(|e| e.1 > 0) {
        if *amount > have.extended(*name) - used.extended(*name) {
            lack(Why::Extended(*name));
        }
    }
    fits
}

impl Why {
    /// Whether evicting pods could make the node fit.
    fn resolvable(self) -> bool {
        !matches!(self, Why::Unschedulable | Why::Taint | Why::NodeAffinity | Why::VolumeNode | Why::SpreadLabel | Why::Affinity)
    }

    /// The filter's name and upstream's message.
    fn words(self, symbols: &Symbols) -> (&'static str, String) {
        let (filter, message) = match self {
            Why::Unschedulable => ("NodeUnschedulable", "node(s) were unschedulable"),
            Why::Taint => ("TaintToleration", "node(s) had untolerated taint(s)"),
            Why::NodeAffinity => ("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"),
            Why::Ports => ("NodePorts", "node(s) didn't have free ports for the requested pod ports"),
            Why::TooManyPods => ("NodeResourcesFit", "Too many pods"),
            Why::Cpu => ("NodeResourcesFit", "Insufficient cpu"),
            Why::Memory => ("NodeResourcesFit", "Insufficient memory"),
            Why::EphemeralStorage => ("NodeResourcesFit", "Insufficient ephemeral-storage"),
            Why::Extended(name) => return ("NodeResourcesFit", format!("Insufficient {}", symbols.text(name))),
            Why::VolumeNode => ("VolumeBinding", "node(s) didn't match PersistentVolume's node affinity"),
            Why::SpreadLabel => ("PodTopologySpread", "node(s) didn't match pod topology spread constraints (missing required label)"),
            Why::Spread => ("PodTopologySpread", "node(s) didn't match pod topology spread constraints"),
            Why::Affinity => ("InterPodAffinity", "node(s) didn't match pod affinity rules"),
            Why::AntiAffinity => ("InterPodAffinity", "node(s) didn't match pod anti-affinity rules"),
            Why::ExistingAntiAffinity => ("InterPodAffinity", "node(s) didn't satisfy existing pods anti-affinity rules"),
        };
        (filter, message.to_owned())
    }
}
