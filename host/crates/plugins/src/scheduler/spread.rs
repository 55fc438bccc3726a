//! Upstream's default spread constraints, for pods that have none of their own but belong to a Service or a controller: three apart by
//! host, five by zone, preferred only.

use std::collections::HashMap;
use std::sync::Arc;

use pintle_api::GroupVersionResource;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Operator, Pod, Requirement, SpreadConstraint, Unsatisfiable};
use serde::Deserialize;

use super::pairs::Pairs;
use super::podspec::LabelSelector;
use crate::grants::{PolicyRule, allows};
use crate::index::{Entry, Informer, Informers, Subject};

pub const SERVICES: GroupVersionResource = GroupVersionResource::constant("", "v1", "services");
const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Kinds of owners whose selector counts.
const OWNERS: [(&str, GroupVersionResource); 3] = [
    ("ReplicaSet", GroupVersionResource::constant("apps", "v1", "replicasets")),
    ("StatefulSet", GroupVersionResource::constant("apps", "v1", "statefulsets")),
    ("ReplicationController", GroupVersionResource::constant("", "v1", "replicationcontrollers")),
];

/// The selectors of Services, and where owners are looked up.
#[derive(Default)]
pub struct Defaults {
    /// Namespace to name to selector. Services without one select nothing and are left out.
    services: HashMap<Arc<str>, HashMap<Arc<str>, Pairs>>,
    services_granted: bool,
    owners: Vec<(&'static str, Arc<Informer>)>,
}

impl Defaults {
    /// Looks up the owners that the plugin may list, and no others.
    pub fn grant(&mut self, informers: &Informers, grants: &[PolicyRule]) {
        self.services_granted = allows(grants, "list", &SERVICES, "", "");
        let granted = OWNERS.into_iter().filter(|(_, resource)| allows(grants, "list", resource, "", ""));
        self.owners = granted.map(|(kind, resource)| (kind, informers.informer(&Subject::all(resource)))).collect();
    }

    /// Granted everything, over these indexes of ReplicaSets and StatefulSets.
    #[cfg(test)]
    pub fn of(replica_sets: Arc<Informer>, stateful_sets: Arc<Informer>) -> Self {
        let owners = vec![("ReplicaSet", replica_sets), ("StatefulSet", stateful_sets)];
        Self { services_granted: true, owners, ..Self::default() }
    }

    pub fn service_changed(&mut self, before: Option<&Arc<Entry>>, after: Option<&Arc<Entry>>) {
        let Some(entry) = after.or(before) else { return };
        let in_namespace = self.services.entry(entry.meta.namespace.clone()).or_default();
        let selector = after.and_then(|e| service_selector(&e.json)).filter(|s| !s.0.is_empty());
        match selector {
            Some(selector) => in_namespace.insert(entry.meta.name.clone(), selector),
            None => in_namespace.remove(&entry.meta.name),
        };
    }

    pub fn constraints(&self, pod: &Pod, entry: &Entry) -> Vec<SpreadConstraint> {
        let mut selector: Vec<Requirement> = Vec::new();
        let services = self.services.get(pod.namespace.as_str()).filter(|_| self.services_granted);
        for pairs in services.into_iter().flat_map(HashMap::values) {
            let selects = pairs.0.iter().all(|wanted| pod.labels.contains(wanted));
            if selects {
                let exact = pairs.0.iter().map(|p| Requirement { key: p.key.clone(), operator: Operator::In, values: vec![p.value.clone()] });
                selector.extend(exact);
            }
        }
        selector.extend(self.owner_selector(entry));
        selector.sort_by(|a, b| a.key.cmp(&b.key));
        selector.dedup_by(|a, b| a == b);
        if selector.is_empty() {
            return Vec::new();
        }
        let constraint = |topology_key: &str, max_skew| SpreadConstraint {
            max_skew,
            topology_key: topology_key.to_owned(),
            when_unsatisfiable: Unsatisfiable::ScheduleAnyway,
            selector: Some(selector.clone()),
            min_domains: None,
            honor_node_affinity: true,
            honor_node_taints: false,
        };
        vec![constraint(HOSTNAME, 3), constraint(ZONE, 5)]
    }

    fn owner_selector(&self, entry: &Entry) -> Vec<Requirement> {
        let look_up = || {
            let owner = entry.meta.controller.as_ref()?;
            let (kind, informer) = self.owners.iter().find(|(kind, _)| *kind == &*owner.kind)?;
            let owner = informer.get(&entry.meta.namespace, &owner.name)?;
            owner_selector(kind, &owner.json)
        };
        look_up().unwrap_or_default()
    }
}

fn service_selector(json: &[u8]) -> Option<Pairs> {
    #[derive(Deserialize)]
    struct Service {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        #[serde(default)]
        selector: Pairs,
    }
    serde_json::from_slice::<Service>(json).ok().map(|s| s.spec.selector)
}

fn owner_selector(kind: &str, json: &[u8]) -> Option<Vec<Requirement>> {
    if kind == "ReplicationController" {
        let pairs = service_selector(json)?.0.into_iter();
        return Some(pairs.map(|p| Requirement { key: p.key, operator: Operator::In, values: vec![p.value] }).collect());
    }
    #[derive(Deserialize)]
    struct Owner {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        #[serde(default)]
        selector: LabelSelector,
    }
    serde_json::from_slice::<Owner>(json).ok().map(|o| o.spec.selector.lift())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use pintle_api::client::Served;
    use serde_json::{Value, json};

    fn entry(value: Value) -> Arc<Entry> {
        Entry::parse(Served { json: Bytes::from(value.to_string()), revision: 1 }).expect("an object")
    }

    #[test]
    fn a_service_that_selects_the_pod_spreads_it() {
        let mut defaults = Defaults { services_granted: true, ..Defaults::default() };
        let service = |selector: Value| entry(json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"selector": selector}}));
        let pod = entry(json!({"metadata": {"name": "p", "namespace": "n", "labels": {"app": "a", "x": "y"}}, "spec": {"containers": []}}));
        let spec = super::super::podspec::parse(&pod.json).expect("a pod");
        let keys = |defaults: &Defaults| {
            let constraints = defaults.constraints(&spec.pod, &pod);
            constraints.into_iter().map(|c| (c.topology_key, c.max_skew)).collect::<Vec<_>>()
        };
        defaults.service_changed(None, Some(&service(json!({"app": "b"}))));
        assert_eq!(keys(&defaults), []);
        defaults.service_changed(None, Some(&service(json!({"app": "a"}))));
        assert_eq!(keys(&defaults), [(HOSTNAME.to_owned(), 3), (ZONE.to_owned(), 5)]);
        defaults.service_changed(Some(&service(json!({"app": "a"}))), None);
        assert_eq!(keys(&defaults), []);
    }
}
