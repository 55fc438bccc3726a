//! A Pod object as the scheduler world sees it: the parts that decide where it goes, requests summed, defaults written out.

use std::borrow::Cow;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{
    Constraints, HostPort, NodeAffinity as NodeWishes, NodeSelectorTerm, Operator, Pod, PodAffinity as PodWishes, PodAffinityTerm, PreferredNodeTerm,
    PreferredPodTerm, Requirement, Resources, Spread as Spreading, SpreadConstraint, Toleration, Unsatisfiable, VolumeUse,
};
use serde::Deserialize;

use super::amounts::{self, Quantities};
use super::nodespec::effect;
use super::pairs::Pairs;
use crate::meta::seconds;

/// A pod and what the driver itself needs to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSpec {
    pub pod: Pod,
    pub scheduler: String,
    /// `spec.nodeName`.
    pub node: String,
    pub nominated: String,
    pub gated: bool,
    /// It has ended and takes no room.
    pub finished: bool,
    /// The PersistentVolumeClaims of its volumes, in their order.
    pub claims: Vec<ClaimUse>,
    /// CPU and memory that scores take it to use once it is placed.
    pub scored_in_place: (i64, i64),
    /// The message of `PodScheduled=False`, as the object has it.
    pub told: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClaimUse {
    pub name: String,
    /// Made for an ephemeral volume: it must be the pod's own.
    pub ephemeral: bool,
}

/// What scores take a container to use that asks for nothing.
const SCORED_MILLI_CPU: i64 = 100;
const SCORED_MEMORY_BYTES: i64 = 200 * 1024 * 1024;

/// Of a pod that asks for nothing but room.
pub const NO_CONSTRAINTS: Constraints = Constraints { nodes: None, pods: None, volumes: None, spread: None, host_ports: Vec::new() };
/// Parts that ask for nothing: they are left out.
const NO_NODES: NodeWishes = NodeWishes { selector: Vec::new(), required: None, preferred: Vec::new() };
const NO_PODS: PodWishes = PodWishes { required: Vec::new(), preferred: Vec::new(), required_anti: Vec::new(), preferred_anti: Vec::new() };
pub const NO_VOLUMES: VolumeUse =
    VolumeUse { nodes: Vec::new(), reasons: Vec::new(), claims: Vec::new(), exclusive_claims: Vec::new(), images: Vec::new() };

impl PodSpec {
    /// As it counts on a node.
    pub fn in_place(self) -> Pod {
        let (scored_milli_cpu, scored_memory) = self.scored_in_place;
        Pod { scored_milli_cpu, scored_memory, ..self.pod }
    }
}

pub fn parse(json: &[u8]) -> Result<PodSpec, serde_json::Error> {
    let raw: Raw<'_> = serde_json::from_slice(json)?;
    let claims = claims(&raw);
    let Raw { metadata, spec, status } = raw;
    let namespace = metadata.namespace.into_owned();
    let affinity = spec.affinity.unwrap_or_default();
    let (node_affinity, pod_affinity) = (affinity.node_affinity.unwrap_or_default(), affinity.pod_affinity.unwrap_or_default());
    let anti = affinity.pod_anti_affinity.unwrap_or_default();
    let terms = |terms: Option<Vec<AffinityTerm>>| terms.unwrap_or_default().into_iter().map(|t| t.lift(&namespace)).collect();
    let weighted = |terms: Option<Vec<Weighted<AffinityTerm>>>| {
        let lift = |w: Weighted<AffinityTerm>| PreferredPodTerm { weight: w.weight, term: w.pod_affinity_term.lift(&namespace) };
        terms.unwrap_or_default().into_iter().map(lift).collect()
    };
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let sum = |whole: &RawResources<'_>, of: fn(&Container<'_>) -> Resources| requests(&spec.containers, init, whole, &spec.overhead, of);
    let requests = sum(&spec.resources, |c| c.resources.requests.amounts());
    // Upstream forgets the requests of the whole pod where it scores the pod that is decided about, and there alone.
    let (scored, scored_in_place) = (sum(&RawResources::default(), |c| c.scored()), sum(&spec.resources, |c| c.scored()));
    let volumes = || spec.volumes.iter().flatten();
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let lasting = || spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(|c| c.is_sidecar()));
    let labels = metadata.labels.0;
    let constraints = spec.topology_spread_constraints.unwrap_or_default();
    let nodes = NodeWishes {
        selector: spec.node_selector.0,
        required: node_affinity.required_during_scheduling_ignored_during_execution.map(NodeSelector::lift),
        preferred: node_affinity.preferred_during_scheduling_ignored_during_execution.unwrap_or_default().into_iter().map(Preference::lift).collect(),
    };
    let pods = PodWishes {
        required: terms(pod_affinity.required_during_scheduling_ignored_during_execution),
        preferred: weighted(pod_affinity.preferred_during_scheduling_ignored_during_execution),
        required_anti: terms(anti.required_during_scheduling_ignored_during_execution),
        preferred_anti: weighted(anti.preferred_during_scheduling_ignored_during_execution),
    };
    let used = VolumeUse {
        claims: volumes().filter_map(|v| v.persistent_volume_claim.as_ref()).map(|c| c.claim_name.to_string()).collect(),
        images: volumes().filter_map(|v| v.image.as_ref()).map(|i| i.reference.to_string()).collect(),
        ..NO_VOLUMES
    };
    let spread: Vec<SpreadConstraint> = constraints.into_iter().map(|c| c.lift(&labels)).collect();
    let asked = Constraints {
        nodes: (nodes != NO_NODES).then_some(nodes),
        pods: (pods != NO_PODS).then_some(pods),
        volumes: (used != NO_VOLUMES).then_some(used),
        spread: (!spread.is_empty()).then_some(Spreading { constraints: spread, by_default: false }),
        host_ports: lasting().flat_map(Container::host_ports).collect(),
    };
    let pod = Pod {
        uid: metadata.uid.into_owned(),
        name: metadata.name.into_owned(),
        annotations: metadata.annotations.0.into_iter().filter(|a| a.key != "kubectl.kubernetes.io/last-applied-configuration").collect(),
        priority: spec.priority.unwrap_or_default(),
        may_preempt: spec.preemption_policy.as_deref() != Some("Never"),
        requests,
        scored_milli_cpu: scored.milli_cpu,
        scored_memory: scored.memory,
        tolerations: spec.tolerations.unwrap_or_default().into_iter().map(RawToleration::lift).collect(),
        images: containers().map(|c| c.image.to_string()).collect(),
        constraints: (asked != NO_CONSTRAINTS).then_some(asked),
        nominated: None,
        started: status.start_time.as_deref().map_or(i64::MAX, seconds),
        deleting: metadata.deletion_timestamp.is_some(),
        labels,
        namespace,
    };
    let told = status.conditions.unwrap_or_default().into_iter().find(|c| c.kind == "PodScheduled" && c.status == "False");
    Ok(PodSpec {
        pod,
        scheduler: spec.scheduler_name.unwrap_or(Cow::Borrowed(pintle_api::plugin::DEFAULT_SCHEDULER)).into_owned(),
        node: spec.node_name.unwrap_or_default().into_owned(),
        nominated: status.nominated_node_name.unwrap_or_default().into_owned(),
        gated: spec.scheduling_gates.is_some_and(|g| !g.is_empty()),
        finished: matches!(&*status.phase.unwrap_or_default(), "Succeeded" | "Failed"),
        claims,
        scored_in_place: (scored_in_place.milli_cpu, scored_in_place.memory),
        told: told.and_then(|c| c.message).unwrap_or_default().into_owned(),
    })
}

/// Containers side by side, init containers one after another beside the sidecars that began before them, and the overhead. Requests
/// of the whole pod, where given, stand for the containers'.
fn requests(containers: &[Container], init: &[Container], whole: &RawResources, overhead: &Quantities, of: fn(&Container) -> Resources) -> Resources {
    let mut sum = amounts::zero();
    for container in containers {
        amounts::add(&mut sum, &of(container));
    }
    let (mut sidecars, mut peak) = (amounts::zero(), amounts::zero());
    for container in init {
        let own = of(container);
        if container.is_sidecar() {
            amounts::add(&mut sum, &own);
            amounts::add(&mut sidecars, &own);
            amounts::raise(&mut peak, &sidecars);
        } else {
            let mut beside = sidecars.clone();
            amounts::add(&mut beside, &own);
            amounts::raise(&mut peak, &beside);
        }
    }
    amounts::raise(&mut sum, &peak);
    let asked = whole.requests.amounts();
    for (name, _) in &whole.requests.0 {
        match name.as_ref() {
            "cpu" => sum.milli_cpu = asked.milli_cpu,
            "memory" => sum.memory = asked.memory,
            name if name.starts_with("hugepages-") => amounts::set_extended(&mut sum, name, amounts::extended(&asked, name)),
            _ => {}
        }
    }
    amounts::add(&mut sum, &overhead.amounts());
    sum
}

fn claims(raw: &Raw<'_>) -> Vec<ClaimUse> {
    let volumes = raw.spec.volumes.iter().flatten();
    let claim = |v: &Volume<'_>| match (&v.persistent_volume_claim, &v.ephemeral) {
        (Some(claim), _) => Some(ClaimUse { name: claim.claim_name.to_string(), ephemeral: false }),
        (None, Some(_)) => Some(ClaimUse { name: format!("{}-{}", raw.metadata.name, v.name), ephemeral: true }),
        (None, None) => None,
    };
    volumes.filter_map(claim).collect()
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Spec<'a>,
    #[serde(borrow, default)]
    status: Status<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(default)]
    labels: Pairs,
    #[serde(default)]
    annotations: Pairs,
    #[serde(borrow, default)]
    deletion_timestamp: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status<'a> {
    #[serde(borrow)]
    phase: Option<Cow<'a, str>>,
    #[serde(borrow)]
    nominated_node_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    start_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    conditions: Option<Vec<Condition<'a>>>,
}

#[derive(Deserialize)]
struct Condition<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow, default)]
    containers: Vec<Container<'a>>,
    #[serde(borrow, default)]
    init_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow, default)]
    resources: RawResources<'a>,
    #[serde(borrow, default)]
    overhead: Quantities<'a>,
    #[serde(borrow, default)]
    volumes: Option<Vec<Volume<'a>>>,
    #[serde(borrow, default)]
    node_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    scheduler_name: Option<Cow<'a, str>>,
    #[serde(default)]
    node_selector: Pairs,
    #[serde(borrow, default)]
    tolerations: Option<Vec<RawToleration<'a>>>,
    #[serde(default)]
    affinity: Option<Affinity>,
    #[serde(default)]
    topology_spread_constraints: Option<Vec<Spread>>,
    #[serde(default)]
    priority: Option<i32>,
    #[serde(borrow, default)]
    preemption_policy: Option<Cow<'a, str>>,
    #[serde(default)]
    scheduling_gates: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    #[serde(borrow, default)]
    image: Cow<'a, str>,
    #[serde(borrow, default)]
    resources: RawResources<'a>,
    #[serde(borrow, default)]
    ports: Option<Vec<Port<'a>>>,
    #[serde(borrow, default)]
    restart_policy: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawResources<'a> {
    #[serde(borrow)]
    requests: Quantities<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port<'a> {
    #[serde(default)]
    host_port: Option<u16>,
    #[serde(borrow, default, rename = "hostIP")]
    host_ip: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    protocol: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    persistent_volume_claim: Option<ClaimSource<'a>>,
    #[serde(default)]
    ephemeral: Option<serde::de::IgnoredAny>,
    #[serde(borrow, default)]
    image: Option<ImageSource<'a>>,
}

#[derive(Deserialize)]
struct ImageSource<'a> {
    #[serde(borrow, default)]
    reference: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSource<'a> {
    #[serde(borrow)]
    claim_name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RawToleration<'a> {
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    operator: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    value: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    effect: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Affinity {
    node_affinity: Option<NodeAffinity>,
    pod_affinity: Option<PodAffinity>,
    pod_anti_affinity: Option<PodAffinity>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeAffinity {
    required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
    preferred_during_scheduling_ignored_during_execution: Option<Vec<Preference>>,
}

/// `nodeSelectorTerms`, of pods and of PersistentVolumes.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    node_selector_terms: Option<Vec<NodeTerm>>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeTerm {
    match_expressions: Option<Vec<Expression>>,
    match_fields: Option<Vec<Expression>>,
}

#[derive(Deserialize)]
struct Preference {
    weight: i32,
    preference: NodeTerm,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodAffinity {
    required_during_scheduling_ignored_during_execution: Option<Vec<AffinityTerm>>,
    preferred_during_scheduling_ignored_during_execution: Option<Vec<Weighted<AffinityTerm>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Weighted<T> {
    weight: i32,
    pod_affinity_term: T,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AffinityTerm {
    label_selector: Option<LabelSelector>,
    namespaces: Option<Vec<String>>,
    namespace_selector: Option<LabelSelector>,
    topology_key: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    match_labels: Pairs,
    match_expressions: Option<Vec<Expression>>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Expression {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spread {
    max_skew: i32,
    topology_key: String,
    when_unsatisfiable: String,
    label_selector: Option<LabelSelector>,
    min_domains: Option<i32>,
    node_affinity_policy: Option<String>,
    node_taints_policy: Option<String>,
    match_label_keys: Option<Vec<String>>,
}

impl Container<'_> {
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
    /// Its requests, and something where it asks for none.
    fn scored(&self) -> Resources {
        let asks = |name: &str| self.resources.requests.0.iter().any(|(asked, _)| asked == name);
        let mut scored = self.resources.requests.amounts();
        if !asks("cpu") {
            scored.milli_cpu = SCORED_MILLI_CPU;
        }
        if !asks("memory") {
            scored.memory = SCORED_MEMORY_BYTES;
        }
        scored
    }
    fn host_ports(&self) -> impl Iterator<Item = HostPort> + '_ {
        self.ports.iter().flatten().filter_map(|port| {
            Some(HostPort {
                port: port.host_port.filter(|p| *p > 0)?,
                ip: port.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0").to_owned(),
                protocol: port.protocol.as_deref().unwrap_or("TCP").to_owned(),
            })
        })
    }
}

impl RawToleration<'_> {
    fn lift(self) -> Toleration {
        Toleration {
            key: self.key.unwrap_or_default().into_owned(),
            exists: self.operator.as_deref() == Some("Exists"),
            value: self.value.unwrap_or_default().into_owned(),
            effect: self.effect.as_deref().and_then(effect),
        }
    }
}

impl NodeSelector {
    pub fn lift(self) -> Vec<NodeSelectorTerm> {
        self.node_selector_terms.unwrap_or_default().into_iter().map(NodeTerm::lift).collect()
    }
}

impl NodeTerm {
    fn lift(self) -> NodeSelectorTerm {
        NodeSelectorTerm { labels: requirements(self.match_expressions), fields: requirements(self.match_fields) }
    }
}

impl Preference {
    fn lift(self) -> PreferredNodeTerm {
        PreferredNodeTerm { weight: self.weight, term: self.preference.lift() }
    }
}

impl AffinityTerm {
    fn lift(self, own: &str) -> PodAffinityTerm {
        let mut namespaces = self.namespaces.unwrap_or_default();
        if namespaces.is_empty() && self.namespace_selector.is_none() {
            namespaces.push(own.to_owned());
        }
        PodAffinityTerm {
            selector: self.label_selector.map(LabelSelector::lift),
            namespaces,
            namespace_selector: self.namespace_selector.map(LabelSelector::lift),
            topology_key: self.topology_key,
        }
    }
}

impl LabelSelector {
    pub fn requirements(&self) -> Vec<Requirement> {
        self.clone().lift()
    }

    pub fn lift(self) -> Vec<Requirement> {
        let exact = self.match_labels.0.into_iter().map(|pair| Requirement { key: pair.key, operator: Operator::In, values: vec![pair.value] });
        exact.chain(requirements(self.match_expressions)).collect()
    }
}

impl Spread {
    fn lift(self, labels: &[pintle_plugin_bindings::common::types::Pair]) -> SpreadConstraint {
        let mut selector = self.label_selector.map(LabelSelector::lift);
        if let Some(selector) = &mut selector {
            for key in self.match_label_keys.unwrap_or_default() {
                let written_out = selector.iter().any(|r| r.key == key);
                if let Some(pair) = labels.iter().find(|l| l.key == key).filter(|_| !written_out) {
                    selector.push(Requirement { key, operator: Operator::In, values: vec![pair.value.clone()] });
                }
            }
        }
        SpreadConstraint {
            max_skew: self.max_skew,
            topology_key: self.topology_key,
            when_unsatisfiable: match self.when_unsatisfiable.as_str() {
                "ScheduleAnyway" => Unsatisfiable::ScheduleAnyway,
                _ => Unsatisfiable::DoNotSchedule,
            },
            selector,
            min_domains: self.min_domains,
            honor_node_affinity: self.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_node_taints: self.node_taints_policy.as_deref() == Some("Honor"),
        }
    }
}

fn requirements(expressions: Option<Vec<Expression>>) -> Vec<Requirement> {
    let lift = |e: Expression| {
        let operator = match e.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Gt,
            "Lt" => Operator::Lt,
            _ => return None,
        };
        Some(Requirement { key: e.key, operator, values: e.values.unwrap_or_default() })
    };
    expressions.unwrap_or_default().into_iter().filter_map(lift).collect()
}
