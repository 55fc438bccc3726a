//! A waiting pod as it is put to the component: with what its volumes, its Services and owners, and its nomination add to its spec.

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::Pod;

use super::cluster::Cluster;
use super::podspec::{NO_CONSTRAINTS, PodSpec};
use super::spread::Defaults;
use super::volumes::{Needs, Volumes};
use crate::index::Entry;

/// The message says why no node is worth asking about.
pub fn wish(spec: &PodSpec, entry: &Entry, cluster: &Cluster, volumes: &Volumes, defaults: &Defaults) -> Result<(Pod, Needs), String> {
    let mut pod = spec.pod.clone();
    let mut needs = volumes.needs(&pod.namespace, &pod.uid, &spec.claims, cluster.all_nodes())?;
    pod.nominated = cluster.id(&spec.nominated);
    let spread = if pod.constraints.as_ref().is_none_or(|asked| asked.spread.is_empty()) { defaults.constraints(&pod, entry) } else { Vec::new() };
    if spread.is_empty() && needs.nodes.is_empty() && needs.exclusive.is_empty() {
        return Ok((pod, needs));
    }
    let asked = pod.constraints.get_or_insert(NO_CONSTRAINTS);
    asked.volume_nodes = std::mem::take(&mut needs.nodes);
    asked.volume_reasons = std::mem::take(&mut needs.reasons);
    asked.exclusive_claims = std::mem::take(&mut needs.exclusive);
    if asked.spread.is_empty() {
        asked.spread = spread;
        asked.spread_by_default = true;
    }
    Ok((pod, needs))
}
