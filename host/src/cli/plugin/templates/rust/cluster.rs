//! What the scheduler knows of the cluster, kept from the host's deltas, and the loop that asks `filter` and `score`.
//!
//! It heeds requests, node selectors, required node affinity, taints and host ports. It knows neither pod affinity, topology spread
//! nor preemption: add them here if your cluster uses them.

use std::collections::{BTreeMap, HashMap};

use pintle_sdk::Env;
use pintle_sdk::scheduler::{
    Choice, Delta, Effect, HostPort, Node, NodeId, NodeSelectorTerm, Operator, Outcome, Pod, Ranked, Reason, Rejection, Requirement,
    Resources, Scheduler, Scope, Toleration,
};

use crate::{Policy, filter, score};

#[derive(Default)]
pub struct Cluster {
    nodes: BTreeMap<NodeId, OnNode>,
    /// By uid: where, and what was counted there.
    placed: HashMap<String, (NodeId, Pod)>,
}

/// A node and what its pods use.
pub struct OnNode {
    pub node: Node,
    pub pods: u32,
    pub used: Resources,
    ports: Vec<HostPort>,
}

impl Scheduler for Policy {
    fn reset(&mut self) {
        *self = Self::default();
    }

    fn feed(&mut self, _env: &dyn Env, deltas: Vec<Delta>) {
        for delta in deltas {
            self.cluster.apply(delta);
        }
    }

    fn schedule(&mut self, _env: &dyn Env, pod: Pod, scope: Scope) -> Result<Outcome, String> {
        Ok(self.cluster.decide(&pod, scope))
    }

    fn explain(&mut self, _env: &dyn Env, pod: Pod, node: NodeId) -> Vec<Reason> {
        let Some(here) = self.cluster.nodes.get(&node) else { return Vec::new() };
        let rejected = filter(&pod, here).map(str::to_owned);
        let reason = |stage: &str, rejected, score| Reason { stage: stage.to_owned(), criterion: "policy".to_owned(), rejected, score };
        match rejected {
            Some(why) => vec![reason("Filter", Some(why), None)],
            None => vec![reason("Filter", None, None), reason("Score", None, Some(score(&pod, here)))],
        }
    }
}

impl Cluster {
    fn apply(&mut self, delta: Delta) {
        match delta {
            Delta::UpsertNode(node) => {
                let id = node.id;
                match self.nodes.get_mut(&id) {
                    Some(known) => known.node = node,
                    None => {
                        self.nodes.insert(id, OnNode::new(node));
                        // Pods may be fed before the node that they run on.
                        let here = self.nodes.get_mut(&id).expect("inserted above");
                        self.placed.values().filter(|(at, _)| *at == id).for_each(|(_, pod)| here.count(pod, 1));
                    }
                }
            }
            Delta::RemoveNode(id) => {
                self.nodes.remove(&id);
            }
            Delta::Place(placement) => {
                self.forget(&placement.pod.uid);
                if let Some(here) = self.nodes.get_mut(&placement.node) {
                    here.count(&placement.pod, 1);
                }
                self.placed.insert(placement.pod.uid.clone(), (placement.node, placement.pod));
            }
            Delta::Forget(uid) => self.forget(&uid),
            // The SDK spells `assume` out as `place`.
            Delta::Assume(_) => {}
            Delta::UpsertNamespace(_) | Delta::RemoveNamespace(_) | Delta::Budgets(_) | Delta::Nominate(_) | Delta::Withdraw(_) => {}
        }
    }

    fn forget(&mut self, uid: &str) {
        if let Some((node, pod)) = self.placed.remove(uid)
            && let Some(here) = self.nodes.get_mut(&node)
        {
            here.count(&pod, -1);
        }
    }

    fn decide(&self, pod: &Pod, scope: Scope) -> Outcome {
        let mut ranked: Vec<Ranked> = Vec::new();
        let mut rejected: BTreeMap<&'static str, u32> = BTreeMap::new();
        let mut looked_at = 0;
        let start = scope.start as usize % self.nodes.len().max(1);
        for here in self.nodes.values().skip(start).chain(self.nodes.values().take(start)) {
            looked_at += 1;
            match filter(pod, here) {
                Some(why) => *rejected.entry(why).or_default() += 1,
                None => ranked.push(Ranked { node: here.node.id, score: score(pod, here) }),
            }
            if scope.limit > 0 && ranked.len() as u32 >= scope.limit {
                break;
            }
        }
        if ranked.is_empty() {
            let rejection = |(message, nodes): (&str, u32)| Rejection { filter: "policy".to_owned(), message: message.to_owned(), nodes, resolvable: false };
            return Outcome::None(rejected.into_iter().map(rejection).collect());
        }
        let feasible = ranked.len() as u32;
        ranked.sort_by(|a, b| b.score.cmp(&a.score).then(a.node.cmp(&b.node)));
        ranked.truncate(scope.top.max(1) as usize);
        Outcome::Fits(Choice { ranked, feasible, looked_at, next_start: (start as u32 + looked_at) % self.nodes.len() as u32 })
    }
}

impl OnNode {
    fn new(node: Node) -> Self {
        Self { node, pods: 0, used: Resources::default(), ports: Vec::new() }
    }

    fn count(&mut self, pod: &Pod, sign: i64) {
        self.pods = self.pods.saturating_add_signed(sign as i32);
        self.used.milli_cpu += sign * pod.requests.milli_cpu;
        self.used.memory += sign * pod.requests.memory;
        self.used.ephemeral_storage += sign * pod.requests.ephemeral_storage;
        for (name, amount) in &pod.requests.extended {
            match self.used.extended.iter_mut().find(|(known, _)| known == name) {
                Some((_, used)) => *used += sign * amount,
                None => self.used.extended.push((name.clone(), sign * amount)),
            }
        }
        for port in pod.asks().host_ports {
            if sign > 0 {
                self.ports.push(port.clone());
            } else if let Some(at) = self.ports.iter().position(|p| p == port) {
                self.ports.remove(at);
            }
        }
    }

    /// Cordoned, and the pod does not tolerate it.
    pub fn is_closed_to(&self, pod: &Pod) -> bool {
        self.node.unschedulable && !pod.tolerations.iter().any(|t| tolerates(t, "node.kubernetes.io/unschedulable", "", Effect::NoSchedule))
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.labels.iter().find(|l| l.key == key).map(|l| l.value.as_str())
    }

    /// The pod's node selector, required node affinity, and the nodes that its volumes are bound to.
    pub fn labels_match(&self, pod: &Pod) -> bool {
        let any = |terms: &Vec<NodeSelectorTerm>| terms.iter().any(|term| self.term_matches(term));
        let asks = pod.asks();
        asks.nodes.selector.iter().all(|wanted| self.label(&wanted.key) == Some(&wanted.value))
            && asks.nodes.required.as_ref().is_none_or(any)
            && asks.volumes.nodes.iter().all(any)
    }

    fn term_matches(&self, term: &NodeSelectorTerm) -> bool {
        !(term.labels.is_empty() && term.fields.is_empty())
            && term.labels.iter().all(|r| holds(r, self.label(&r.key)))
            && term.fields.iter().all(|r| holds(r, Some(&self.node.name)))
    }

    pub fn has_untolerated_taint(&self, pod: &Pod) -> bool {
        let counts = self.node.taints.iter().filter(|taint| taint.effect != Effect::PreferNoSchedule);
        counts.into_iter().any(|taint| !pod.tolerations.iter().any(|t| tolerates(t, &taint.key, &taint.value, taint.effect)))
    }

    /// What there is too little of for the pod.
    pub fn lacks(&self, pod: &Pod) -> Option<&'static str> {
        let (has, wants) = (&self.node.allocatable, &pod.requests);
        let short = |used: i64, wanted: i64, all: i64| wanted > 0 && used + wanted > all;
        let extended = |resources: &Resources, name: &str| resources.extended.iter().find(|(n, _)| n == name).map_or(0, |(_, amount)| *amount);
        if self.pods >= self.node.max_pods {
            Some("Too many pods")
        } else if short(self.used.milli_cpu, wants.milli_cpu, has.milli_cpu) {
            Some("Insufficient cpu")
        } else if short(self.used.memory, wants.memory, has.memory) {
            Some("Insufficient memory")
        } else if short(self.used.ephemeral_storage, wants.ephemeral_storage, has.ephemeral_storage) {
            Some("Insufficient ephemeral-storage")
        } else if wants.extended.iter().any(|(name, amount)| short(extended(&self.used, name), *amount, extended(has, name))) {
            Some("Insufficient extended resources")
        } else if pod.asks().host_ports.iter().any(|port| self.ports.iter().any(|taken| collide(port, taken))) {
            Some("node(s) didn't have free ports for the requested pod ports")
        } else {
            None
        }
    }
}

fn collide(a: &HostPort, b: &HostPort) -> bool {
    let any = |port: &HostPort| port.ip == "0.0.0.0";
    a.port == b.port && a.protocol == b.protocol && (a.ip == b.ip || any(a) || any(b))
}

fn tolerates(toleration: &Toleration, key: &str, value: &str, effect: Effect) -> bool {
    let same_effect = toleration.effect.is_none_or(|e| e == effect);
    let same_key = if toleration.key.is_empty() { toleration.exists } else { toleration.key == key };
    same_effect && same_key && (toleration.exists || toleration.value == value)
}

fn holds(requirement: &Requirement, value: Option<&str>) -> bool {
    let listed = |value: &str| requirement.values.iter().any(|v| v == value);
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
    let bound = || number(requirement.values.first().map(String::as_str));
    match requirement.operator {
        Operator::In => value.is_some_and(listed),
        Operator::NotIn => !value.is_some_and(listed),
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
        Operator::Gt => number(value).zip(bound()).is_some_and(|(value, bound)| value > bound),
        Operator::Lt => number(value).zip(bound()).is_some_and(|(value, bound)| value < bound),
    }
}
