//! Claims, volumes and classes of storage, as far as the choice of a node depends on them, and which volume a claim would take.
//! Pure; read by `volumes`.

use std::collections::HashMap;

use pintle_api::quantity::Quantity;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Node, NodeSelectorTerm, Operator, Requirement};
use serde::Deserialize;

use super::pairs::Pairs;
use super::podspec::{LabelSelector, NodeSelector};
use super::volumes::SELECTED_NODE;

/// Says that a claim and its volume have found each other.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const CLASS_BEFORE_IT_WAS_A_FIELD: &str = "volume.beta.kubernetes.io/storage-class";
/// The provisioner of classes whose volumes somebody makes by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
const EXCLUSIVE: &str = "ReadWriteOncePod";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    pub labels: Pairs,
    #[serde(default)]
    annotations: Pairs,
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

#[derive(Deserialize)]
pub struct Claim {
    pub metadata: Metadata,
    #[serde(default)]
    pub spec: ClaimSpec,
    #[serde(default)]
    pub status: Phase,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    pub volume_name: String,
    storage_class_name: Option<String>,
    access_modes: Vec<String>,
    volume_mode: Option<String>,
    selector: Option<LabelSelector>,
    resources: ClaimResources,
    volume_attributes_class_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClaimResources {
    requests: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
pub struct Phase {
    #[serde(default)]
    pub phase: String,
}

#[derive(Deserialize)]
pub struct Volume {
    pub metadata: Metadata,
    #[serde(default)]
    spec: VolumeSpec,
    #[serde(default)]
    status: Phase,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeSpec {
    capacity: HashMap<String, String>,
    access_modes: Vec<String>,
    claim_ref: Option<ClaimRef>,
    storage_class_name: String,
    volume_mode: Option<String>,
    node_affinity: Option<VolumeAffinity>,
    volume_attributes_class_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClaimRef {
    namespace: String,
    name: String,
    uid: String,
}

#[derive(Deserialize)]
struct VolumeAffinity {
    #[serde(default)]
    required: Option<NodeSelector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Class {
    #[serde(default)]
    pub volume_binding_mode: String,
    #[serde(default)]
    provisioner: String,
    #[serde(default)]
    pub allowed_topologies: Vec<Topology>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    #[serde(default)]
    match_label_expressions: Vec<TopologyLabel>,
}

#[derive(Deserialize)]
struct TopologyLabel {
    key: String,
    values: Vec<String>,
}

impl Claim {
    pub fn is_bound(&self) -> bool {
        !self.spec.volume_name.is_empty() && annotation(&self.metadata, BIND_COMPLETED).is_some()
    }

    pub fn is_exclusive(&self) -> bool {
        self.spec.access_modes.iter().any(|mode| mode == EXCLUSIVE)
    }

    pub fn class(&self) -> &str {
        let before = annotation(&self.metadata, CLASS_BEFORE_IT_WAS_A_FIELD);
        before.or(self.spec.storage_class_name.as_deref()).unwrap_or_default()
    }

    pub fn selected_node(&self) -> Option<&str> {
        annotation(&self.metadata, SELECTED_NODE)
    }

    pub fn asked_bytes(&self) -> i64 {
        bytes(&self.spec.resources.requests)
    }

    /// The volume that is meant for the claim, or the smallest free one that is large enough and that the node reaches.
    pub fn smallest_match<'a>(&self, volumes: &'a [Volume], taken: &[&str], node: &Node) -> Option<&'a Volume> {
        let mut smallest: Option<&Volume> = None;
        for volume in volumes.iter().filter(|v| !taken.contains(&v.metadata.name.as_str()) && self.could_take(v)) {
            let reached = volume.reach().is_none_or(|terms| terms.iter().any(|term| matches(term, node)));
            if volume.spec.claim_ref.is_some() {
                return reached.then_some(volume);
            }
            let of_class = volume.spec.storage_class_name == self.class() && volume.status.phase == "Available";
            let modes = self.spec.access_modes.iter().all(|mode| volume.spec.access_modes.contains(mode));
            if of_class && modes && reached && self.selects(volume) && smallest.is_none_or(|s| s.bytes() > volume.bytes()) {
                smallest = Some(volume);
            }
        }
        smallest
    }

    fn could_take(&self, volume: &Volume) -> bool {
        let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
        volume.spec.claim_ref.as_ref().is_none_or(|of| of.is(&self.metadata))
            && volume.bytes() >= self.asked_bytes()
            && mode(&self.spec.volume_mode) == mode(&volume.spec.volume_mode)
            && self.spec.volume_attributes_class_name.as_deref().unwrap_or_default()
                == volume.spec.volume_attributes_class_name.as_deref().unwrap_or_default()
            && volume.metadata.deletion_timestamp.is_none()
    }

    fn selects(&self, volume: &Volume) -> bool {
        let Some(selector) = &self.spec.selector else { return true };
        selector.requirements().iter().all(|r| holds(r, value(&volume.metadata.labels, &r.key)))
    }
}

impl ClaimRef {
    fn is(&self, claim: &Metadata) -> bool {
        self.name == claim.name && self.namespace == claim.namespace && (self.uid.is_empty() || self.uid == claim.uid)
    }
}

impl Volume {
    /// The terms of its node affinity, where it has one.
    pub fn reach(&self) -> Option<Vec<NodeSelectorTerm>> {
        self.spec.node_affinity.as_ref()?.required.clone().map(NodeSelector::lift)
    }

    fn bytes(&self) -> i64 {
        bytes(&self.spec.capacity)
    }
}

impl Class {
    pub fn provisions(&self) -> bool {
        !self.provisioner.is_empty() && self.provisioner != NO_PROVISIONER
    }

    /// A volume may be made where the node is.
    pub fn reaches(&self, node: &Node) -> bool {
        let holds = |label: &TopologyLabel| node.labels.iter().any(|l| l.key == label.key && label.values.contains(&l.value));
        let here = |topology: &Topology| topology.match_label_expressions.iter().all(holds);
        self.allowed_topologies.is_empty() || self.allowed_topologies.iter().any(here)
    }
}

fn annotation<'a>(metadata: &'a Metadata, key: &str) -> Option<&'a str> {
    value(&metadata.annotations, key)
}

fn value<'a>(pairs: &'a Pairs, key: &str) -> Option<&'a str> {
    pairs.0.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
}

fn bytes(amounts: &HashMap<String, String>) -> i64 {
    amounts.get("storage").and_then(|text| Quantity::parse(text).ok()).map_or(0, |quantity| quantity.value())
}

fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let label = |key: &str| node.labels.iter().find(|l| l.key == key).map(|l| l.value.as_str());
    let empty = term.labels.is_empty() && term.fields.is_empty();
    !empty && term.labels.iter().all(|r| holds(r, label(&r.key))) && term.fields.iter().all(|r| holds(r, Some(&node.name)))
}

fn holds(requirement: &Requirement, found: Option<&str>) -> bool {
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
    let bound = || number(requirement.values.first().map(String::as_str));
    match requirement.operator {
        Operator::In => found.is_some_and(|f| requirement.values.iter().any(|v| v == f)),
        Operator::NotIn => !found.is_some_and(|f| requirement.values.iter().any(|v| v == f)),
        Operator::Exists => found.is_some(),
        Operator::DoesNotExist => found.is_none(),
        Operator::Gt => number(found).zip(bound()).is_some_and(|(f, b)| f > b),
        Operator::Lt => number(found).zip(bound()).is_some_and(|(f, b)| f < b),
    }
}
