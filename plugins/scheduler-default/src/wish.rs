//! A pod to be placed, compiled to symbols once for a decision.

use std::borrow::Cow;

use pintle_sdk::scheduler as api;
use pintle_sdk::scheduler::Effect;

use crate::cluster::{Amounts, Constraint, Node, Port, Taint};
use crate::intern::{Symbol, Symbols};
use crate::select::{Labels, NodeTerm, PodTerm, labels, value};

pub struct Wish {
    pub uid: Box<str>,
    pub namespace: Symbol,
    pub labels: Labels,
    pub priority: i32,
    pub requests: Amounts,
    pub scored_milli_cpu: i64,
    pub scored_memory: i64,
    node_selector: Labels,
    required_nodes: Option<Vec<NodeTerm>>,
    /// Every term of the required node affinity names nodes: only these are looked at.
    named: Option<Vec<Symbol>>,
    pub preferred_nodes: Vec<(i64, NodeTerm)>,
    pub volumes: Vec<Demand>,
    pub exclusive_claims: Vec<Symbol>,
    tolerations: Vec<Toleration>,
    pub required_affinity: Vec<PodTerm>,
    pub required_anti_affinity: Vec<PodTerm>,
    /// Anti-affinity has a negative weight.
    pub preferred: Vec<(i64, PodTerm)>,
    pub spread: Vec<Constraint>,
    pub spread_by_default: bool,
    pub ports: Vec<Port>,
    pub images: Vec<Symbol>,
    pub volume_images: Vec<Symbol>,
    pub hostname_key: Symbol,
    pub nominated: Option<api::NodeId>,
}

/// What a volume asks of the node.
pub struct Demand {
    pub filter: Symbol,
    pub message: Symbol,
    nodes: Vec<NodeTerm>,
}

struct Toleration {
    /// None: every key.
    key: Option<Symbol>,
    /// None: every value.
    value: Option<Symbol>,
    effect: Option<Effect>,
}

impl Wish {
    pub fn compile(pod: &api::Pod, symbols: &mut Symbols) -> Self {
        let asked = pod.asks();
        let node_terms = |list: &[api::NodeSelectorTerm], s: &mut Symbols| list.iter().map(|t| NodeTerm::compile(t, s)).collect::<Vec<_>>();
        let requests = Amounts::compile(&pod.requests, symbols);
        Self {
            uid: pod.uid.as_str().into(),
            namespace: symbols.intern(&pod.namespace),
            labels: labels(&pod.labels, symbols),
            priority: pod.priority,
            scored_milli_cpu: pod.scored_milli_cpu,
            scored_memory: pod.scored_memory,
            requests,
            node_selector: labels(&asked.nodes.selector, symbols),
            required_nodes: asked.nodes.required.as_deref().map(|t| node_terms(t, symbols)),
            preferred_nodes: asked.nodes.preferred.iter().map(|t| (i64::from(t.weight), NodeTerm::compile(&t.term, symbols))).collect(),
            named: named(asked.nodes.required.as_deref().unwrap_or_default(), symbols),
            volumes: demands(asked.volumes, symbols),
            exclusive_claims: asked.volumes.exclusive_claims.iter().map(|c| symbols.intern(c)).collect(),
            tolerations: pod.tolerations.iter().map(|t| Toleration::compile(t, symbols)).collect(),
            required_affinity: PodTerm::compile_all(&asked.pods.required, symbols),
            required_anti_affinity: PodTerm::compile_all(&asked.pods.required_anti, symbols),
            preferred: PodTerm::compile_preferred(asked.pods, symbols),
            spread: asked.spread.constraints.iter().map(|c| Constraint::compile(c, symbols)).collect(),
            spread_by_default: asked.spread.by_default,
            ports: asked.host_ports.iter().map(|p| Port::compile(p, symbols)).collect(),
            images: pod.images.iter().map(|i| symbols.intern(&image_name(i))).collect(),
            volume_images: asked.volumes.images.iter().map(|i| symbols.intern(&image_name(i))).collect(),
            nominated: pod.nominated,
            hostname_key: symbols.intern("kubernetes.io/hostname"),
        }
    }

    /// Topology keys of the constraints that forbid, in their order.
    pub fn spread_keys(&self) -> Vec<Symbol> {
        self.spread.iter().filter(|constraint| constraint.hard).map(|constraint| constraint.topology_key).collect()
    }

    /// Neither `nodeSelector` nor required node affinity.
    #[inline]
    pub fn accepts_every_node(&self) -> bool {
        self.node_selector.is_empty() && self.required_nodes.is_none()
    }

    /// `nodeSelector` and required node affinity.
    #[inline]
    pub fn accepts_node(&self, node: &Node, symbols: &Symbols) -> bool {
        self.accepts_every_node() || self.selects_node(node, symbols)
    }

    fn selects_node(&self, node: &Node, symbols: &Symbols) -> bool {
        self.node_selector.iter().all(|(key, wanted)| value(&node.labels, *key) == Some(*wanted))
            && self.required_nodes.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(node, symbols)))
    }

    /// The pod names nodes, and this is none of them.
    #[inline]
    pub fn names_others(&self, node: &Node) -> bool {
        self.named.as_ref().is_some_and(|names| !names.contains(&node.name))
    }

    /// The pod names nodes in a way that no node can meet.
    pub fn names_none(&self) -> bool {
        self.named.as_ref().is_some_and(Vec::is_empty)
    }

    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations
            .iter()
            .any(|t| t.effect.is_none_or(|e| e == taint.effect) && t.key.is_none_or(|k| k == taint.key) && t.value.is_none_or(|v| v == taint.value))
    }

    /// Taints that keep pods off: not the ones that merely prefer so.
    #[inline]
    pub fn tolerates_all(&self, node: &Node) -> bool {
        node.repelling.iter().all(|t| self.tolerates(t))
    }

    /// Taints that would rather have the pod elsewhere.
    #[inline]
    pub fn discouraged_by(&self, node: &Node) -> u32 {
        let all = &node.discouraging;
        (if self.tolerations.is_empty() { all.len() } else { all.iter().filter(|t| !self.tolerates(t)).count() }) as u32
    }

    /// The pod asks for nothing but room: no filter but taints and resources can refuse it for what it says itself.
    pub fn wants_room_alone(&self) -> bool {
        let asks_of_nodes = !self.node_selector.is_empty() || self.required_nodes.is_some() || !self.volumes.is_empty() || !self.ports.is_empty();
        !asks_of_nodes && self.requests.extended.is_empty()
    }

    /// `spec.unschedulable` is a taint to a pod that says it tolerates it.
    pub fn tolerates_unschedulable(&self, symbols: &Symbols) -> bool {
        self.tolerations.iter().any(|t| {
            t.effect.is_none_or(|e| e == Effect::NoSchedule)
                && t.key.is_none_or(|k| symbols.text(k) == "node.kubernetes.io/unschedulable")
                && t.value.is_none_or(|v| symbols.text(v).is_empty())
        })
    }
}

impl Demand {
    pub fn allows(&self, node: &Node, symbols: &Symbols) -> bool {
        self.nodes.iter().any(|term| term.matches(node, symbols))
    }
}

fn demands(asked: &api::VolumeUse, symbols: &mut Symbols) -> Vec<Demand> {
    let unnamed =
        api::VolumeReason { filter: "VolumeBinding".to_owned(), message: "node(s) didn't match PersistentVolume's node affinity".to_owned() };
    let demand = |(i, terms): (usize, &Vec<api::NodeSelectorTerm>)| {
        let reason = asked.reasons.get(i).unwrap_or(&unnamed);
        Demand {
            filter: symbols.intern(&reason.filter),
            message: symbols.intern(&reason.message),
            nodes: terms.iter().map(|t| NodeTerm::compile(t, symbols)).collect(),
        }
    };
    asked.nodes.iter().enumerate().map(demand).collect()
}

/// The names that the terms demand, if each demands some: then no other node is worth a look.
fn named(terms: &[api::NodeSelectorTerm], symbols: &mut Symbols) -> Option<Vec<Symbol>> {
    let mut names: Option<Vec<Symbol>> = None;
    for term in terms {
        let by_name = |r: &&api::Requirement| r.key == "metadata.name" && r.operator == api::Operator::In;
        let mut of_term: Option<Vec<Symbol>> = None;
        for requirement in term.fields.iter().filter(by_name) {
            let values: Vec<Symbol> = requirement.values.iter().map(|v| symbols.intern(v)).collect();
            of_term = Some(match of_term {
                Some(before) => before.into_iter().filter(|name| values.contains(name)).collect(),
                None => values,
            });
        }
        names.get_or_insert_default().extend(of_term?);
    }
    names
}

impl Toleration {
    fn compile(fed: &api::Toleration, symbols: &mut Symbols) -> Self {
        Self {
            key: (!fed.key.is_empty()).then(|| symbols.intern(&fed.key)),
            value: (!fed.exists).then(|| symbols.intern(&fed.value)),
            effect: fed.effect,
        }
    }
}

/// With the tag that the runtime would add.
fn image_name(name: &str) -> Cow<'_, str> {
    let last_part = name.rsplit('/').next().unwrap_or(name);
    if last_part.contains([':', '@']) { name.into() } else { format!("{name}:latest").into() }
}
