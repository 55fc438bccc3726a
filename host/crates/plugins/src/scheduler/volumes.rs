//! Which nodes a pod's claims allow. Bound claims bring their volume's node affinity; claims that wait for their first consumer are told
//! the chosen node; every other unbound claim holds the pod back.

use std::sync::Arc;

use pintle_api::GroupVersionResource;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::NodeSelectorTerm;
use serde::Deserialize;

use super::podspec::NodeSelector;
use crate::index::Informer;

pub const CLAIMS: GroupVersionResource = GroupVersionResource::constant("", "v1", "persistentvolumeclaims");
pub const VOLUMES: GroupVersionResource = GroupVersionResource::constant("", "v1", "persistentvolumes");
pub const CLASSES: GroupVersionResource = GroupVersionResource::constant("storage.k8s.io", "v1", "storageclasses");
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// The indexes that volumes are looked up in.
pub struct Volumes {
    pub claims: Arc<Informer>,
    pub volumes: Arc<Informer>,
    pub classes: Arc<Informer>,
}

/// What the claims ask of a node.
#[derive(Debug, Default, PartialEq)]
pub struct Needs {
    /// For each bound volume: terms, any of which must match.
    pub nodes: Vec<Vec<NodeSelectorTerm>>,
    /// Claims that are bound once they know the node.
    pub to_select: Vec<String>,
}

impl Volumes {
    /// The message says why the pod cannot go anywhere yet.
    pub fn needs(&self, namespace: &str, claims: &[String]) -> Result<Needs, String> {
        let mut needs = Needs::default();
        for name in claims {
            let claim = self.claims.get(namespace, name).ok_or_else(|| format!("persistentvolumeclaim {name:?} not found"))?;
            if claim.meta.deleting {
                return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            let claim: Claim = serde_json::from_slice(&claim.json).map_err(|e| e.to_string())?;
            match claim.spec.volume_name.as_deref().filter(|v| !v.is_empty()) {
                Some(volume) if claim.status.phase == "Bound" => {
                    let volume = self.volumes.get("", volume).ok_or_else(|| format!("persistentvolume {volume:?} not found"))?;
                    let volume: Volume = serde_json::from_slice(&volume.json).map_err(|e| e.to_string())?;
                    needs.nodes.extend(volume.spec.node_affinity.and_then(|a| a.required).map(NodeSelector::lift));
                }
                _ if self.waits_for_consumer(&claim) => needs.to_select.push(name.clone()),
                _ => return Err("pod has unbound immediate PersistentVolumeClaims".to_owned()),
            }
        }
        Ok(needs)
    }

    fn waits_for_consumer(&self, claim: &Claim) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Class {
            #[serde(default)]
            volume_binding_mode: String,
        }
        let class = claim.spec.storage_class_name.as_deref().and_then(|class| self.classes.get("", class));
        let class: Option<Class> = class.and_then(|c| serde_json::from_slice(&c.json).ok());
        class.is_some_and(|c| c.volume_binding_mode == "WaitForFirstConsumer")
    }
}

#[derive(Deserialize)]
struct Claim {
    spec: ClaimSpec,
    #[serde(default)]
    status: ClaimStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSpec {
    #[serde(default)]
    volume_name: Option<String>,
    #[serde(default)]
    storage_class_name: Option<String>,
}

#[derive(Default, Deserialize)]
struct ClaimStatus {
    #[serde(default)]
    phase: String,
}

#[derive(Deserialize)]
struct Volume {
    spec: VolumeSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeSpec {
    #[serde(default)]
    node_affinity: Option<VolumeAffinity>,
}

#[derive(Deserialize)]
struct VolumeAffinity {
    #[serde(default)]
    required: Option<NodeSelector>,
}
