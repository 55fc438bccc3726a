//! Values of the scheduler world as 0.1 has them, made from the current ones, and its answers as the current ones.
//!
//! Only what changed its shape is written out: a pod, whose constraints were its own fields; what holds a pod; the scope, which had no seed.
//! All else is the same field by field and crosses in the serialised form that the decision log uses. Called by [`super::versions`] alone.

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Constraints, Delta, Placement, Pod, Scope};
use pintle_plugin_bindings::scheduler_0_1::pintle::scheduler::types as old;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::podspec::NO_CONSTRAINTS;

/// A value whose type is the same in both versions.
pub fn same<A: Serialize, B: DeserializeOwned>(value: &A) -> wasmtime::Result<B> {
    let bytes = postcard::to_stdvec(value).map_err(|error| wasmtime::format_err!("a value of one version is none of the other: {error}"))?;
    postcard::from_bytes(&bytes).map_err(|error| wasmtime::format_err!("a value of one version is none of the other: {error}"))
}

pub fn deltas(deltas: &[Delta]) -> wasmtime::Result<Vec<old::Delta>> {
    deltas.iter().map(delta).collect()
}

pub fn scope(Scope { start, limit, top, seed: _ }: Scope) -> old::Scope {
    old::Scope { start, limit, top }
}

pub fn pod(pod: &Pod) -> wasmtime::Result<old::Pod> {
    static NOTHING: Constraints = NO_CONSTRAINTS;
    let asked = pod.constraints.as_ref().unwrap_or(&NOTHING);
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
        node_selector: asked.node_selector.clone(),
        required_nodes: same(&asked.required_nodes)?,
        preferred_nodes: same(&asked.preferred_nodes)?,
        volume_nodes: same(&asked.volume_nodes)?,
        volume_reasons: same(&asked.volume_reasons)?,
        claims: asked.claims.clone(),
        exclusive_claims: asked.exclusive_claims.clone(),
        tolerations: same(&pod.tolerations)?,
        required_affinity: same(&asked.required_affinity)?,
        preferred_affinity: same(&asked.preferred_affinity)?,
        required_anti_affinity: same(&asked.required_anti_affinity)?,
        preferred_anti_affinity: same(&asked.preferred_anti_affinity)?,
        spread: same(&asked.spread)?,
        spread_by_default: asked.spread_by_default,
        host_ports: same(&asked.host_ports)?,
        images: pod.images.clone(),
        volume_images: asked.volume_images.clone(),
        nominated: pod.nominated,
        started: pod.started,
        deleting: pod.deleting,
    })
}

fn delta(delta: &Delta) -> wasmtime::Result<old::Delta> {
    Ok(match delta {
        Delta::UpsertNode(node) => old::Delta::UpsertNode(same(node)?),
        Delta::RemoveNode(id) => old::Delta::RemoveNode(*id),
        Delta::Place(placed) => old::Delta::Place(placement(placed)?),
        Delta::Assume(_) => wasmtime::bail!("0.1 has no `assume`"),
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

    #[test]
    fn constraints_are_fields_of_an_older_pod() {
        let object = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {
            "nodeSelector": {"disk": "ssd"},
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]}}},
            "containers": [{"image": "i", "ports": [{"hostPort": 80, "protocol": "TCP"}]}]}});
        let current = podspec::parse(object.to_string().as_bytes()).expect("a pod").pod;
        let old = pod(&current).expect("converts");
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
                [
                    HostPort {
                        ip: "0.0.0.0",
                        protocol: "TCP",
                        port: 80,
                    },
                ],
            )
        "#]]
        .assert_debug_eq(&(old.node_selector, old.required_nodes, old.host_ports));
    }

    #[test]
    fn a_pod_without_constraints_has_empty_ones() {
        let object = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [{"image": "i"}]}});
        let current = podspec::parse(object.to_string().as_bytes()).expect("a pod").pod;
        assert_eq!(current.constraints, None);
        let old = deltas(&[Delta::Place(Placement { pod: current, node: 3 })]).expect("converts");
        let [old::Delta::Place(placed)] = &old[..] else { panic!("{old:?}") };
        assert_eq!((placed.node, &*placed.pod.uid, placed.pod.spread.len(), placed.pod.required_nodes.is_some()), (3, "u", 0, false));
    }
}
