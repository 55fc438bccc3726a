//! A waiting pod as it is put to the component: with what its volumes, its Services and owners, and its nomination add to its spec.

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Pod, Spread};

use super::cluster::Cluster;
use super::podspec::{NO_CONSTRAINTS, NO_VOLUMES, PodSpec};
use super::spread::Defaults;
use super::volumes::{Needs, Volumes};
use crate::index::Entry;

/// The message says why no node is worth asking about.
pub fn wish(spec: &PodSpec, entry: &Entry, cluster: &Cluster, volumes: &Volumes, defaults: &Defaults) -> Result<(Pod, Needs), String> {
    let mut pod = spec.pod.clone();
    let mut needs = volumes.needs(&pod.namespace, &pod.uid, &spec.claims, cluster.all_nodes())?;
    pod.nominated = cluster.id(&spec.nominated);
    let spreads = pod.constraints.as_ref().is_some_and(|asked| asked.spread.is_some());
    let spread = if spreads { Vec::new() } else { defaults.constraints(&pod, entry) };
    let demands = !needs.nodes.is_empty() || !needs.exclusive.is_empty();
    if spread.is_empty() && !demands {
        return Ok((pod, needs));
    }
    let asked = pod.constraints.get_or_insert(NO_CONSTRAINTS);
    if demands {
        let volumes = asked.volumes.get_or_insert(NO_VOLUMES);
        volumes.nodes = std::mem::take(&mut needs.nodes);
        volumes.reasons = std::mem::take(&mut needs.reasons);
        volumes.exclusive_claims = std::mem::take(&mut needs.exclusive);
    }
    if !spread.is_empty() {
        asked.spread = Some(Spread { constraints: spread, by_default: true });
    }
    Ok((pod, needs))
}
