//! A waiting pod as it is put to the component: with what its volumes, its Services and owners, and its nomination add to its spec.

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::Pod;

use super::cluster::Cluster;
use super::podspec::PodSpec;
use super::spread::Defaults;
use super::volumes::{Needs, Volumes};
use crate::index::Entry;

/// The message says why no node is worth asking about.
pub fn wish(spec: &PodSpec, entry: &Entry, cluster: &Cluster, volumes: &Volumes, defaults: &Defaults) -> Result<(Pod, Needs), String> {
    let mut pod = spec.pod.clone();
    let mut needs = volumes.needs(&pod.namespace, &pod.uid, &spec.claims, cluster.all_nodes())?;
    pod.volume_nodes = std::mem::take(&mut needs.nodes);
    pod.volume_reasons = std::mem::take(&mut needs.reasons);
    pod.exclusive_claims = std::mem::take(&mut needs.exclusive);
    pod.nominated = cluster.id(&spec.nominated);
    if pod.spread.is_empty() {
        pod.spread = defaults.constraints(&pod, entry);
        pod.spread_by_default = true;
    }
    Ok((pod, needs))
}
