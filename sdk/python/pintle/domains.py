"""Rules about topology domains: required pod affinity and anti-affinity, and spread constraints that forbid.

Each is counted once for a decision over the placed pods and then looked up for each node. Called by `rules`.
"""

from __future__ import annotations

from collections.abc import Callable

from .snapshot import Cluster, Node, Pod, PodTerm, Spread, all_hold

AFFINITY = ("InterPodAffinity", "node(s) didn't match pod affinity rules", False)
ANTI_AFFINITY = ("InterPodAffinity", "node(s) didn't match pod anti-affinity rules", True)
EXISTING_ANTI_AFFINITY = ("InterPodAffinity", "node(s) didn't satisfy existing pods anti-affinity rules", True)
SPREAD = ("PodTopologySpread", "node(s) didn't match pod topology spread constraints", True)
SPREAD_LABEL = ("PodTopologySpread", "node(s) didn't match pod topology spread constraints (missing required label)", False)


class AffinityRule:
    def __init__(self, cluster: Cluster, pod: Pod):
        self.pod = pod
        #: (topology key, domain) that placed pods' anti-affinity refuses to this pod.
        self.refused: set[tuple[str, str]] = set()
        #: For each required term: domains that hold a pod which matches all of them.
        self.wanted: list[set[str]] = [set() for _ in pod.required_affinity]
        #: For each anti-affinity term: domains that hold a match.
        self.avoided: list[set[str]] = [set() for _ in pod.required_anti_affinity]
        for at, placed in cluster.refusing.values():
            for term in placed.required_anti_affinity:
                domain = _domain(cluster, at, term)
                if domain is not None and term.matches(pod, cluster.namespaces):
                    self.refused.add((term.topology_key, domain))
        if pod.required_affinity or pod.required_anti_affinity:
            for at, placed in cluster.placed.values():
                self._count(cluster, at, placed)
        # The first of its group may go anywhere.
        self.first_of_group = not any(self.wanted) and all(t.matches(pod, cluster.namespaces) for t in pod.required_affinity)

    def _count(self, cluster: Cluster, at: int, placed: Pod) -> None:
        required = self.pod.required_affinity
        if required and all(t.matches(placed, cluster.namespaces) for t in required):
            for term, domains in zip(required, self.wanted):
                domain = _domain(cluster, at, term)
                if domain is not None:
                    domains.add(domain)
        for term, domains in zip(self.pod.required_anti_affinity, self.avoided):
            domain = _domain(cluster, at, term)
            if domain is not None and term.matches(placed, cluster.namespaces):
                domains.add(domain)

    def refusal(self, node: Node):
        labels = node.labels
        present = True
        for term, domains in zip(self.pod.required_affinity, self.wanted):
            domain = labels.get(term.topology_key)
            if domain is None:
                return AFFINITY
            present = present and domain in domains
        if not present and not self.first_of_group:
            return AFFINITY
        for term, domains in zip(self.pod.required_anti_affinity, self.avoided):
            if labels.get(term.topology_key) in domains:
                return ANTI_AFFINITY
        if any(labels.get(key) == domain for key, domain in self.refused):
            return EXISTING_ANTI_AFFINITY
        return None


class SpreadRule:
    def __init__(
        self,
        cluster: Cluster,
        pod: Pod,
        constraints: list[Spread],
        matches_node: Callable[[Pod, Node], bool],
        tolerates_taints: Callable[[Pod, Node], bool],
    ):
        self.constraints = constraints
        self.counts: list[dict[str, int]] = []
        keys = [c.topology_key for c in constraints]
        complete = [node for node in cluster.ordered() if all(key in node.labels for key in keys)]
        for constraint in constraints:
            counts: dict[str, int] = {}
            for node in complete:
                if constraint.honor_node_affinity and not matches_node(pod, node):
                    continue
                if constraint.honor_node_taints and not tolerates_taints(pod, node):
                    continue
                domain = node.labels[constraint.topology_key]
                counts[domain] = counts.get(domain, 0) + _matching(constraint, pod.namespace, node)
            self.counts.append(counts)
        self.least = [self._least(c, counts) for c, counts in zip(constraints, self.counts)]
        self.itself = [int(c.selector is not None and all_hold(c.selector, pod.labels)) for c in constraints]

    @staticmethod
    def _least(constraint: Spread, counts: dict[str, int]) -> int:
        too_few = constraint.min_domains is not None and len(counts) < constraint.min_domains
        return 0 if too_few or not counts else min(counts.values())

    def refusal(self, node: Node):
        for constraint, counts, least, itself in zip(self.constraints, self.counts, self.least, self.itself):
            domain = node.labels.get(constraint.topology_key)
            if domain is None:
                return SPREAD_LABEL
            if counts.get(domain, 0) + itself - least > constraint.max_skew:
                return SPREAD
        return None


def _matching(constraint: Spread, namespace: str, node: Node) -> int:
    if constraint.selector is None:
        return 0
    pods = (p for p in node.pods.values() if p.namespace == namespace and not p.deleting)
    return sum(all_hold(constraint.selector, p.labels) for p in pods)


def _domain(cluster: Cluster, at: int, term: PodTerm) -> str | None:
    node = cluster.nodes.get(at)
    return node.labels.get(term.topology_key) if node is not None else None
