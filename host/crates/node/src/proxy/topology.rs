//! Which endpoints a service's traffic may go to from this node: by readiness, by traffic policy, by the hints in EndpointSlices.

use super::model::{Endpoint, ServicePort, Snapshot};

#[derive(Debug, Default)]
pub struct Choice<'a> {
    /// For policy Cluster.
    pub cluster: Vec<&'a Endpoint>,
    /// For policy Local.
    pub local: Vec<&'a Endpoint>,
    /// Some endpoint exists somewhere.
    pub any: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Preference {
    None,
    SameNode,
    SameZone,
}

impl<'a> Choice<'a> {
    pub fn new(endpoints: &[&'a Endpoint], port: &ServicePort, snapshot: &Snapshot) -> Self {
        let mut choice = Choice::default();
        if port.uses_cluster_endpoints() {
            let preference = preference(endpoints, snapshot);
            choice.cluster = pick(endpoints, |e| e.ready && suits(e, preference, snapshot));
            if choice.cluster.is_empty() {
                choice.cluster = pick(endpoints, is_leaving);
            }
            choice.any = !choice.cluster.is_empty();
        }
        if port.uses_local_endpoints() {
            choice.any |= endpoints.iter().any(|e| e.ready || is_leaving(e));
            choice.local = pick(endpoints, |e| is_local(e, snapshot) && e.ready);
            if choice.local.is_empty() {
                choice.local = pick(endpoints, |e| is_local(e, snapshot) && is_leaving(e));
            }
        }
        choice
    }

    /// Every endpoint that some chain leads to, once, in order.
    pub fn reachable(&self) -> Vec<&'a Endpoint> {
        let mut all: Vec<&Endpoint> = self.cluster.iter().chain(&self.local).copied().collect();
        all.sort_by_key(|e| (e.address, e.port));
        all.dedup_by_key(|e| (e.address, e.port));
        all
    }
}

pub fn is_local(endpoint: &Endpoint, snapshot: &Snapshot) -> bool {
    endpoint.node.as_deref() == Some(&snapshot.node_name)
}

/// On its way out, but still able to serve: used where nothing better is left.
fn is_leaving(endpoint: &Endpoint) -> bool {
    endpoint.serving && endpoint.terminating
}

fn pick<'a>(endpoints: &[&'a Endpoint], suits: impl Fn(&Endpoint) -> bool) -> Vec<&'a Endpoint> {
    endpoints.iter().copied().filter(|e| suits(e)).collect()
}

/// Hints count only when every ready endpoint has them and one of them names us.
fn preference(endpoints: &[&Endpoint], snapshot: &Snapshot) -> Preference {
    let mut ready = endpoints.iter().filter(|e| e.ready).peekable();
    if ready.peek().is_none() {
        return Preference::None;
    }
    let ready: Vec<_> = ready.collect();
    if ready.iter().all(|e| !e.node_hints.is_empty()) && ready.iter().any(|e| e.node_hints.contains(&snapshot.node_name)) {
        return Preference::SameNode;
    }
    if ready.iter().all(|e| !e.zone_hints.is_empty()) && ready.iter().any(|e| e.zone_hints.contains(&snapshot.zone)) {
        return Preference::SameZone;
    }
    Preference::None
}

fn suits(endpoint: &Endpoint, preference: Preference, snapshot: &Snapshot) -> bool {
    match preference {
        Preference::None => true,
        Preference::SameNode => endpoint.node_hints.contains(&snapshot.node_name),
        Preference::SameZone => endpoint.zone_hints.contains(&snapshot.zone),
    }
}
