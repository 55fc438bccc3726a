//! Which nodes a pod's claims allow, with upstream's words for those that they do not: VolumeBinding and VolumeZone.
//!
//! Bound claims bring their volume's node affinity and zone; claims that wait for their first consumer take a free volume that the node
//! reaches, or one that is provisioned there, and are told the chosen node; every other unbound claim holds the pod back. The storage
//! that CSI drivers publish as free (CSIStorageCapacity), and how many volumes a node takes (CSINode), are not looked at.

use std::sync::Arc;

use pintle_api::GroupVersionResource;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Node, NodeSelectorTerm, Operator, Requirement, VolumeReason};

use super::podspec::ClaimUse;
use super::storage::{Claim, Class, Volume};
use crate::index::{Entry, Informer};

pub const CLAIMS: GroupVersionResource = GroupVersionResource::constant("", "v1", "persistentvolumeclaims");
pub const VOLUMES: GroupVersionResource = GroupVersionResource::constant("", "v1", "persistentvolumes");
pub const CLASSES: GroupVersionResource = GroupVersionResource::constant("storage.k8s.io", "v1", "storageclasses");
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

const OUT_OF_REACH: &str = "node(s) didn't match PersistentVolume's node affinity";
const NOTHING_TO_BIND: &str = "node(s) didn't find available persistent volumes to bind";
const NO_ZONE: &str = "node(s) had no available volume zone";
/// A node that has none of these takes volumes of every zone.
const ZONE_LABELS: [&str; 4] = [
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

/// The indexes that volumes are looked up in.
pub struct Volumes {
    pub claims: Arc<Informer>,
    pub volumes: Arc<Informer>,
    pub classes: Arc<Informer>,
}

/// What the claims ask of a node.
#[derive(Debug, Default, PartialEq)]
pub struct Needs {
    /// For each demand: terms, any of which must match.
    pub nodes: Vec<Vec<NodeSelectorTerm>>,
    pub reasons: Vec<VolumeReason>,
    /// Claims that no other pod may use beside this one.
    pub exclusive: Vec<String>,
    /// Claims that are bound once they know the node.
    pub to_select: Vec<String>,
}

impl Volumes {
    /// The message says why the pod cannot go anywhere yet.
    pub fn needs<'a>(&self, namespace: &str, pod_uid: &str, uses: &[ClaimUse], nodes: impl Iterator<Item = &'a Node>) -> Result<Needs, String> {
        let mut needs = Needs::default();
        if uses.is_empty() {
            return Ok(needs);
        }
        let claims = self.claims_of(namespace, pod_uid, uses)?;
        let (bound, unbound): (Vec<Claim>, Vec<Claim>) = claims.into_iter().partition(Claim::is_bound);
        if unbound.iter().any(|claim| !claim.spec.volume_name.is_empty() || !self.waits_for_consumer(claim)) {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        let volumes = bound.iter().map(|claim| self.volume(&claim.spec.volume_name)).collect::<Result<Vec<Volume>, String>>()?;
        for volume in &volumes {
            if let Some(terms) = volume.reach() {
                needs.demand(terms, "VolumeBinding", OUT_OF_REACH);
            }
        }
        if !unbound.is_empty()
            && let Some(names) = self.nodes_that_bind(&unbound, nodes)
        {
            let by_name = Requirement { key: "metadata.name".to_owned(), operator: Operator::In, values: names };
            needs.demand(vec![NodeSelectorTerm { labels: Vec::new(), fields: vec![by_name] }], "VolumeBinding", NOTHING_TO_BIND);
        }
        for terms in volumes.iter().flat_map(zones) {
            needs.demand(terms, "VolumeZone", NO_ZONE);
        }
        needs.exclusive = bound.iter().chain(&unbound).filter(|c| c.is_exclusive()).map(|c| c.metadata.name.clone()).collect();
        needs.to_select = unbound.into_iter().map(|c| c.metadata.name).collect();
        Ok(needs)
    }

    /// In the order in which upstream's filters find fault with them.
    fn claims_of(&self, namespace: &str, pod_uid: &str, uses: &[ClaimUse]) -> Result<Vec<Claim>, String> {
        let missing = |claim: &ClaimUse| format!("persistentvolumeclaim {:?} not found", claim.name);
        if let Some(claim) = uses.iter().find(|c| !c.ephemeral && self.claims.get(namespace, &c.name).is_none()) {
            return Err(missing(claim));
        }
        let mut claims = Vec::with_capacity(uses.len());
        for used in uses {
            let name = &used.name;
            let Some(entry) = self.claims.get(namespace, name) else {
                return Err(format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"));
            };
            let claim: Claim = read(&entry)?;
            if claim.status.phase == "Lost" {
                return Err(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {:?}", claim.spec.volume_name));
            }
            if entry.meta.deleting {
                return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            if used.ephemeral && entry.meta.controller.as_ref().is_none_or(|owner| *owner.uid != *pod_uid) {
                return Err(format!("PVC {namespace}/{name} was not created for the pod (pod is not owner)"));
            }
            claims.push(claim);
        }
        Ok(claims)
    }

    fn volume(&self, name: &str) -> Result<Volume, String> {
        let entry = self.volumes.get("", name).ok_or_else(|| format!("persistentvolume {name:?} not found"))?;
        read(&entry)
    }

    fn waits_for_consumer(&self, claim: &Claim) -> bool {
        self.class(claim).is_some_and(|class| class.volume_binding_mode == "WaitForFirstConsumer")
    }

    fn class(&self, claim: &Claim) -> Option<Class> {
        let entry = self.classes.get("", claim.class())?;
        read(&entry).ok()
    }

    /// The names of the nodes where each claim finds a free volume or gets one made. `None`: everywhere.
    fn nodes_that_bind<'a>(&self, unbound: &[Claim], nodes: impl Iterator<Item = &'a Node>) -> Option<Vec<String>> {
        let mut claims: Vec<(&Claim, Option<Class>)> = unbound.iter().map(|claim| (claim, self.class(claim))).collect();
        claims.sort_by_key(|(claim, _)| claim.asked_bytes());
        let anywhere = |class: &Class| class.provisions() && class.allowed_topologies.is_empty();
        if claims.iter().all(|(claim, class)| class.as_ref().is_some_and(anywhere) && claim.selected_node().is_none()) {
            return None;
        }
        let volumes: Vec<Volume> = self.volumes.all().iter().filter_map(|entry| read(entry).ok()).collect();
        let binds = |node: &&Node| {
            let mut taken: Vec<&str> = Vec::new();
            claims.iter().all(|(claim, class)| {
                let provided = || class.as_ref().is_some_and(|class| class.provisions() && class.reaches(node));
                match claim.selected_node() {
                    Some(selected) => selected == node.name && provided(),
                    None => match claim.smallest_match(&volumes, &taken, node) {
                        Some(volume) => {
                            taken.push(&volume.metadata.name);
                            true
                        }
                        None => provided(),
                    },
                }
            })
        };
        Some(nodes.filter(binds).map(|node| node.name.clone()).collect())
    }
}

impl Needs {
    fn demand(&mut self, nodes: Vec<NodeSelectorTerm>, filter: &str, message: &str) {
        self.nodes.push(nodes);
        self.reasons.push(VolumeReason { filter: filter.to_owned(), message: message.to_owned() });
    }
}

/// For each zone or region label of the volume, what a node must have.
fn zones(volume: &Volume) -> Vec<Vec<NodeSelectorTerm>> {
    let term = |labels: Vec<Requirement>| NodeSelectorTerm { labels, fields: Vec::new() };
    let absent = |key: &str| Requirement { key: key.to_owned(), operator: Operator::DoesNotExist, values: Vec::new() };
    let labels = volume.metadata.labels.0.iter().filter(|label| ZONE_LABELS.contains(&label.key.as_str()));
    let demand = |label: &pintle_plugin_bindings::common::types::Pair| {
        let values: Vec<String> = label.value.split("__").map(|zone| zone.trim().to_owned()).collect();
        let with = |key: &str| Requirement { key: key.to_owned(), operator: Operator::In, values: values.clone() };
        let mut terms = vec![term(vec![with(&label.key)])];
        // A node may name by the newer label what the volume names by the older one.
        if let Some(kind) = label.key.strip_prefix("failure-domain.beta.kubernetes.io/") {
            terms.push(term(vec![absent(&label.key), with(&format!("topology.kubernetes.io/{kind}"))]));
        }
        terms.push(term(ZONE_LABELS.iter().map(|key| absent(key)).collect()));
        terms
    };
    labels.map(demand).collect()
}

fn read<T: serde::de::DeserializeOwned>(entry: &Entry) -> Result<T, String> {
    serde_json::from_slice(&entry.json).map_err(|e| e.to_string())
}
