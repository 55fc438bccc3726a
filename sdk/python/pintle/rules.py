"""The filters that every pod is owed, whatever the policy: the ones that upstream's scheduler has, with its names and messages.

`Rules` is made for one pod and one decision; it looks only at what the pod and the nodes have, so a plain pod on plain nodes costs
a few comparisons for each node.
"""

from __future__ import annotations

from collections.abc import Callable

from .domains import AffinityRule, SpreadRule
from .snapshot import Cluster, Node, Pod

#: Filter, message, and whether evicting pods could help.
Refusal = tuple[str, str, bool]

UNSCHEDULABLE: Refusal = ("NodeUnschedulable", "node(s) were unschedulable", False)
TAINT: Refusal = ("TaintToleration", "node(s) had untolerated taint(s)", False)
NODE_AFFINITY: Refusal = ("NodeAffinity", "node(s) didn't match Pod's node affinity/selector", False)
VOLUME_NODE: Refusal = ("VolumeBinding", "node(s) didn't match PersistentVolume's node affinity", False)
PORTS: Refusal = ("NodePorts", "node(s) didn't have free ports for the requested pod ports", True)
TOO_MANY_PODS: Refusal = ("NodeResourcesFit", "Too many pods", True)


def insufficient(resource: str) -> Refusal:
    return ("NodeResourcesFit", f"Insufficient {resource}", True)


class Rules:
    def __init__(self, cluster: Cluster, pod: Pod):
        self.pod = pod
        self.tolerates_unschedulable = pod.tolerates("node.kubernetes.io/unschedulable", "", "NoSchedule")
        self.checks: list[Callable[[Node], Refusal | None]] = []
        if pod.node_selector or pod.required_nodes is not None:
            self.checks.append(lambda node: None if matches_node(pod, node) else NODE_AFFINITY)
        if pod.host_ports:
            self.checks.append(lambda node: None if _ports_free(pod, node) else PORTS)
        if pod.volume_nodes:
            self.checks.append(lambda node: None if _volumes_reach(pod, node) else VOLUME_NODE)
        # These count over the whole cluster once, and only when there is something to count.
        hard = [c for c in pod.spread if c.hard]
        if hard:
            self.checks.append(SpreadRule(cluster, pod, hard, matches_node, tolerates_taints).refusal)
        if pod.required_affinity or pod.required_anti_affinity or cluster.refusing:
            self.checks.append(AffinityRule(cluster, pod).refusal)

    def refusals(self, node: Node) -> list[Refusal]:
        """Empty when the pod can run there. The first filter that refuses counts; of resources, each that is short."""
        if node.unschedulable and not self.tolerates_unschedulable:
            return [UNSCHEDULABLE]
        if node.taints and not tolerates_taints(self.pod, node):
            return [TAINT]
        short = _short(self.pod, node)
        if short:
            return short
        for check in self.checks:
            why = check(node)
            if why is not None:
                return [why]
        return short


def matches_node(pod: Pod, node: Node) -> bool:
    """Node selector and required node affinity."""
    labels = node.labels
    for key, value in pod.node_selector.items():
        if labels.get(key) != value:
            return False
    return pod.required_nodes is None or any(term.matches(node) for term in pod.required_nodes)


def tolerates_taints(pod: Pod, node: Node) -> bool:
    return all(t.effect == "PreferNoSchedule" or pod.tolerates(t.key, t.value, t.effect) for t in node.taints)


def _short(pod: Pod, node: Node) -> list[Refusal]:
    """A resource that is not asked for is not looked at: a full node still takes a pod that wants none of it."""
    short = []
    wants, have, used = pod.requests, node.allocatable, node.used
    if len(node.pods) >= node.max_pods:
        short.append(TOO_MANY_PODS)
    if wants.milli_cpu > 0 and used.milli_cpu + wants.milli_cpu > have.milli_cpu:
        short.append(insufficient("cpu"))
    if wants.memory > 0 and used.memory + wants.memory > have.memory:
        short.append(insufficient("memory"))
    if wants.ephemeral_storage > 0 and used.ephemeral_storage + wants.ephemeral_storage > have.ephemeral_storage:
        short.append(insufficient("ephemeral-storage"))
    for name, amount in wants.extended.items():
        if amount > 0 and used.extended.get(name, 0) + amount > have.extended.get(name, 0):
            short.append(insufficient(name))
    return short


def _ports_free(pod: Pod, node: Node) -> bool:
    taken = [port for other in node.pods.values() for port in other.host_ports]
    return not any(port.collides(other) for port in pod.host_ports for other in taken)


def _volumes_reach(pod: Pod, node: Node) -> bool:
    return all(any(term.matches(node) for term in terms) for terms in pod.volume_nodes)
