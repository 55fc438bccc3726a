//! Values of the scheduler world as 0.2 has them, made from the current ones, and its answers as the current ones.
//!
//! Only what changed its shape is written out: a pod, whose constraints stood in one record, and what holds a pod.
//! All else is the same field by field and crosses in the serialised form that the decision log uses. Called by [`super::versions`] alone.

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Constraints, Delta, Placement, Pod};
use pintle_plugin_bindings::scheduler_0_2::pintle::scheduler::types as old;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value whose type is the same in both versions.
pub fn same<A: Serialize, B: DeserializeOwned>(value: &A) -> wasmtime::Result<B> {
    let bytes = postcard::to_stdvec(value).map_err(|error| wasmtime::format_err!("a value of one version is none of the other: {error}"))?;
    postcard::from_bytes(&bytes).map_err(|error| wasmtime::format_err!("a value of one version is none of the other: {error}"))
}

pub fn deltas(deltas: &[Delta]) -> wasmtime::Result<Vec<old::Delta>> {
    deltas.iter().map(delta).collect()
}

pub fn pod(pod: &Pod) -> wasmtime::Result<old::Pod> {
    Ok(old::Pod {
        uid: pod.uid.clone(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        labels: pod.labels.clone(),
        annotations: pod.annotations.clone(),
        priority: pod.priority,
        may_preempt: pod.may_preempt,
        requests: same(&pod.requests)?,
        scored_milli_cpu: pod.scored_milli_cpu,
        scored_memory: pod.scored_memory,
        tolerations: same(&pod.tolerations)?,
        images: pod.images.clone(),
        constraints: pod.constraints.as_ref().map(constraints).transpose()?,
        nominated: pod.nominated,
        started: pod.started,
        deleting: pod.deleting,
    })
}

/// What a pod has not is empty.
fn constraints(Constraints { nodes, pods, volumes, spread, host_ports }: &Constraints) -> wasmtime::Result<old::Constraints> {
    let (nodes, pods, volumes, spread) = (nodes.as_ref(), pods.as_ref(), volumes.as_ref(), spread.as_ref());
    Ok(old::Constraints {
        node_selector: nodes.map(|n| n.selector.clone()).unwrap_or_default(),
        required_nodes: same(&nodes.and_then(|n| n.required.as_ref()))?,
        preferred_nodes: list(nodes.map(|n| &*n.preferred))?,
        volume_nodes: list(volumes.map(|v| &*v.nodes))?,
        volume_reasons: list(volumes.map(|v| &*v.reasons))?,
        claims: volumes.map(|v| v.claims.clone()).unwrap_or_default(),
        exclusive_claims: volumes.map(|v| v.exclusive_claims.clone()).unwrap_or_default(),
        required_affinity: list(pods.map(|p| &*p.required))?,
        preferred_affinity: list(pods.map(|p| &*p.preferred))?,
        required_anti_affinity: list(pods.map(|p| &*p.required_anti))?,
        preferred_anti_affinity: list(pods.map(|p| &*p.preferred_anti))?,
        spread: list(spread.map(|s| &*s.constraints))?,
        spread_by_default: spread.is_some_and(|s| s.by_default),
        host_ports: same(host_ports)?,
        volume_images: volumes.map(|v| v.images.clone()).unwrap_or_default(),
    })
}

fn list<A: Serialize, B: DeserializeOwned>(values: Option<&[A]>) -> wasmtime::Result<Vec<B>> {
    same(&values.unwrap_or_default())
}

fn delta(delta: &Delta) -> wasmtime::Result<old::Delta> {
    Ok(match delta {
        Delta::UpsertNode(node) => old::Delta::UpsertNode(same(node)?),
        Delta::RemoveNode(id) => old::Delta::RemoveNode(*id),
        Delta::Place(placed) => old::Delta::Place(placement(placed)?),
        Delta::Assume(assumed) => old::Delta::Assume(same(assumed)?),
        Delta::Forget(uid) => old::Delta::Forget(uid.clone()),
        Delta::UpsertNamespace(namespace) => old::Delta::UpsertNamespace(same(namespace)?),
        Delta::RemoveNamespace(name) => old::Delta::RemoveNamespace(name.clone()),
        Delta::Budgets(budgets) => old::Delta::Budgets(same(budgets)?),
        Delta::Nominate(nominated) => old::Delta::Nominate(placement(nominated)?),
        Delta::Withdraw(uid) => old::Delta::Withdraw(uid.clone()),
    })
}

fn placement(placement: &Placement) -> wasmtime::Result<old::Placement> {
    Ok(old::Placement { pod: pod(&placement.pod)?, node: placement.node })
}

#[cfg(test)]
mod tests {
    use super::super::podspec;
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    fn parsed(spec: serde_json::Value) -> Pod {
        let object = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "a"}}, "spec": spec});
        podspec::parse(object.to_string().as_bytes()).expect("a pod").pod
    }

    #[test]
    fn constraints_are_one_record_of_an_older_pod() {
        let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "a"}}});
        let current = parsed(json!({
            "nodeSelector": {"disk": "ssd"},
            "affinity": {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]}},
                "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]},
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "podAffinityTerm": term}]}},
            "topologySpreadConstraints": [{"maxSkew": 3, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "i", "image": {"reference": "r"}}],
            "containers": [{"image": "i", "ports": [{"hostPort": 80, "protocol": "TCP"}]}]}));
        let asked = pod(&current).expect("converts").constraints.expect("it asks for something");
        let spread: Vec<_> = asked.spread.iter().map(|s| (s.max_skew, &*s.topology_key, s.when_unsatisfiable)).collect();
        let affinity = (asked.required_affinity.len(), asked.preferred_affinity.len(), asked.required_anti_affinity.len());
        let apart: Vec<_> = asked.preferred_anti_affinity.iter().map(|p| (p.weight, &*p.term.topology_key, &p.term.namespaces)).collect();
        let volumes = (asked.claims, asked.volume_images, asked.volume_nodes.len());
        expect![[r#"
            (
                [
                    Pair {
                        key: "disk",
                        value: "ssd",
                    },
                ],
                Some(
                    [
                        NodeSelectorTerm {
                            labels: [
                                Requirement {
                                    key: "zone",
                                    operator: Operator::In,
                                    values: [
                                        "a",
                                        "b",
                                    ],
                                },
                            ],
                            fields: [],
                        },
                    ],
                ),
                (
                    1,
                    0,
                    0,
                ),
                [
                    (
                        7,
                        "zone",
                        [
                            "n",
                        ],
                    ),
                ],
                [
                    (
                        3,
                        "zone",
                        Unsatisfiable::DoNotSchedule,
                    ),
                ],
                [
                    HostPort {
                        ip: "0.0.0.0",
                        protocol: "TCP",
                        port: 80,
                    },
                ],
                (
                    [
                        "c",
                    ],
                    [
                        "r",
                    ],
                    0,
                ),
            )
        "#]]
        .assert_debug_eq(&(asked.node_selector, asked.required_nodes, affinity, apart, spread, asked.host_ports, volumes));
    }

    #[test]
    fn a_pod_without_constraints_has_none() {
        let current = parsed(json!({"containers": [{"image": "i"}]}));
        assert_eq!(current.constraints, None);
        let old = deltas(&[Delta::Place(Placement { pod: current, node: 3 })]).expect("converts");
        let [old::Delta::Place(placed)] = &old[..] else { panic!("{old:?}") };
        assert_eq!((placed.node, &*placed.pod.uid, placed.pod.constraints.is_some()), (3, "u", false));
    }
}
