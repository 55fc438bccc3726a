//! A pod to be placed, compiled to symbols once for a decision.

use pintle_sdk::scheduler as api;
use pintle_sdk::scheduler::Effect;

use crate::cluster::{ASSUMED_MEMORY_BYTES, ASSUMED_MILLI_CPU, Amounts, Constraint, Node, Port, Taint};
use crate::intern::{Symbol, Symbols};
use crate::select::{Labels, NodeTerm, PodTerm, labels, value};

pub struct Wish {
    pub namespace: Symbol,
    pub labels: Labels,
    pub priority: i32,
    pub requests: Amounts,
    pub assumed_milli_cpu: i64,
    pub assumed_memory: i64,
    node_selector: Labels,
    required_nodes: Option<Vec<NodeTerm>>,
    pub preferred_nodes: Vec<(i64, NodeTerm)>,
    volume_nodes: Vec<Vec<NodeTerm>>,
    tolerations: Vec<Toleration>,
    pub required_affinity: Vec<PodTerm>,
    pub required_anti_affinity: Vec<PodTerm>,
    /// Anti-affinity has a negative weight.
    pub preferred: Vec<(i64, PodTerm)>,
    pub spread: Vec<Constraint>,
    pub ports: Vec<Port>,
    pub images: Vec<Symbol>,
    pub hostname_key: Symbol,
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
        let node_terms = |list: &[api::NodeSelectorTerm], s: &mut Symbols| list.iter().map(|t| NodeTerm::compile(t, s)).collect::<Vec<_>>();
        let pod_terms = |list: &[api::PodAffinityTerm], s: &mut Symbols| list.iter().map(|t| PodTerm::compile(t, s)).collect::<Vec<_>>();
        let mut preferred = Vec::new();
        for (list, sign) in [(&pod.preferred_affinity, 1), (&pod.preferred_anti_affinity, -1)] {
            preferred.extend(list.iter().map(|t| (sign * i64::from(t.weight), PodTerm::compile(&t.term, symbols))));
        }
        let requests = Amounts::compile(&pod.requests, symbols);
        Self {
            namespace: symbols.intern(&pod.namespace),
            labels: labels(&pod.labels, symbols),
            priority: pod.priority,
            assumed_milli_cpu: if requests.milli_cpu == 0 { ASSUMED_MILLI_CPU } else { requests.milli_cpu },
            assumed_memory: if requests.memory == 0 { ASSUMED_MEMORY_BYTES } else { requests.memory },
            requests,
            node_selector: labels(&pod.node_selector, symbols),
            required_nodes: pod.required_nodes.as_deref().map(|t| node_terms(t, symbols)),
            preferred_nodes: pod.preferred_nodes.iter().map(|t| (i64::from(t.weight), NodeTerm::compile(&t.term, symbols))).collect(),
            volume_nodes: pod.volume_nodes.iter().map(|t| node_terms(t, symbols)).collect(),
            tolerations: pod.tolerations.iter().map(|t| Toleration::compile(t, symbols)).collect(),
            required_affinity: pod_terms(&pod.required_affinity, symbols),
            required_anti_affinity: pod_terms(&pod.required_anti_affinity, symbols),
            preferred,
            spread: pod.spread.iter().map(|c| Constraint::compile(c, symbols)).collect(),
            ports: pod.host_ports.iter().map(|p| Port::compile(p, symbols)).collect(),
            images: pod.images.iter().map(|i| symbols.intern(&image_name(i))).collect(),
            hostname_key: symbols.intern("kubernetes.io/hostname"),
        }
    }

    /// `nodeSelector` and required node affinity.
    pub fn accepts_node(&self, node: &Node, symbols: &Symbols) -> bool {
        self.node_selector.iter().all(|(key, wanted)| value(&node.labels, *key) == Some(*wanted))
            && self.required_nodes.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(node, symbols)))
    }

    /// Every volume that is bound to certain nodes can be reached from this one.
    pub fn volumes_reach(&self, node: &Node, symbols: &Symbols) -> bool {
        self.volume_nodes.iter().all(|terms| terms.iter().any(|t| t.matches(node, symbols)))
    }

    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|t| {
            t.effect.is_none_or(|e| e == taint.effect) && t.key.is_none_or(|k| k == taint.key) && t.value.is_none_or(|v| v == taint.value)
        })
    }

    /// Taints that keep pods off: not the ones that merely prefer so.
    pub fn tolerates_all(&self, node: &Node) -> bool {
        node.taints.iter().filter(|t| t.effect != Effect::PreferNoSchedule).all(|t| self.tolerates(t))
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
pub fn image_name(name: &str) -> String {
    let last_part = name.rsplit('/').next().unwrap_or(name);
    if last_part.contains(':') || last_part.contains('@') { name.to_owned() } else { format!("{name}:latest") }
}
