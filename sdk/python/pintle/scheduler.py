"""The scheduler world: inherit from `Scheduler` and write `filter` and `score`.

The SDK keeps the nodes and the pods on them, applies the filters that every pod is owed (resources, selectors, taints, ports, volumes,
affinity, spread), looks at as many nodes as the host asks for, starting where the last decision ended, and breaks ties by the seed that
the host draws for each decision. A policy sees none of that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from .preempt import Victims, choose
from .rules import Refusal, Rules
from .snapshot import Cluster, HostPort, Node, NodeTerm, Pod, PodTerm, Requirement, Resources, Spread, Taint, Toleration

__all__ = [
    "BadConfig", "config_object", "HostPort", "Node", "NodeTerm", "Pod", "PodTerm", "Requirement", "Resources", "Scheduler", "Spread", "Taint", "Toleration",
]


class BadConfig(ValueError):
    """Raised by `configure`: refuses the plugin, with what is wrong in its configuration."""


class Scheduler:
    def configure(self, config: str) -> None:
        """Takes `spec.config`, before anything else. Raise `BadConfig` to refuse it."""

    def filter(self, pod: Pod, node: Node) -> str | bool | None:
        """Why the pod shall not run there, or None. Called for nodes where the pod could run."""
        return None

    def score(self, pod: Pod, node: Node) -> float:
        """From 0 to 100, higher is better; fractions count."""
        return 0

    def preempts(self) -> bool:
        """Whether pods of lower priority are evicted for one that fits nowhere, as upstream's scheduler does."""
        return True


@dataclass(slots=True)
class Decision:
    """Best first, with scores; or the reasons, each with its number of nodes."""

    ranked: list[tuple[Node, float]]
    rejected: dict[Refusal, int]
    feasible: int
    looked_at: int
    next_start: int


class Loop:
    """Runs a policy over the cluster. Made by the component's entry and by `pintle.testing`."""

    def __init__(self, policy: Scheduler):
        self.policy = policy
        self.cluster = Cluster()
        # The pod of the last decision, until it is assumed to run somewhere.
        self._asked: Pod | None = None
        # A policy without a filter of its own costs no call.
        self.filter = policy.filter if type(policy).filter is not Scheduler.filter else None

    def decide(self, pod: Pod, start: int = 0, limit: int = 0, top: int = 1, seed: int = 0) -> Decision:
        """`seed`: any number; says which of the equally best nodes comes first."""
        self._asked = pod
        nodes = self.cluster.ordered()
        rules = Rules(self.cluster, pod)
        rejected: dict[Refusal, int] = {}
        feasible: list[Node] = []
        start = start % len(nodes) if nodes else 0
        looked_at = 0
        for node in nodes[start:] + nodes[:start] if start else nodes:
            looked_at += 1
            refusals = rules.refusals(node) or self._own(pod, node)
            if refusals:
                for why in refusals:
                    rejected[why] = rejected.get(why, 0) + 1
                continue
            feasible.append(node)
            if 0 < limit <= len(feasible):
                break
        score = self.policy.score
        ranked = [(node, score(pod, node)) for node in feasible]
        return Decision(_best(ranked, max(top, 1), seed), rejected, len(feasible), looked_at, (start + looked_at) % max(len(nodes), 1))

    def assume(self, uid: str, node_id: int) -> None:
        """The pod of the last decision is taken to run there. Of another pod there is nothing to place."""
        if self._asked is not None and self._asked.uid == uid:
            self.cluster.place(self._asked, node_id)
            self._asked = None

    def rank(self, pod: Pod, ids: list[int]) -> tuple[list[tuple[Node, float]], dict[Refusal, int]]:
        """Of these nodes and no others: who passes with which score, and why the others do not."""
        rules = Rules(self.cluster, pod)
        ranked: list[tuple[Node, float]] = []
        rejected: dict[Refusal, int] = {}
        for node in filter(None, map(self.cluster.nodes.get, ids)):
            refusals = rules.refusals(node) or self._own(pod, node)
            for why in refusals:
                rejected[why] = rejected.get(why, 0) + 1
            if not refusals:
                ranked.append((node, self.policy.score(pod, node)))
        return ranked, rejected

    def preempt(self, pod: Pod, among: list[int] | None = None) -> Victims | None:
        if not pod.may_preempt or not self.policy.preempts():
            return None
        return choose(self.cluster, pod, self._own, among)

    def explain(self, pod: Pod, node_id: int) -> list[tuple[str, str, str | None, int | None]]:
        """Stage, criterion, rejection, score."""
        node = self.cluster.nodes.get(node_id)
        if node is None:
            return []
        refusals = Rules(self.cluster, pod).refusals(node) or self._own(pod, node)
        if refusals:
            return [("Filter", criterion, message, None) for criterion, message, _ in refusals]
        name = type(self.policy).__name__
        return [("Filter", name, None, None), ("Score", name, None, round(self.policy.score(pod, node)))]

    def _own(self, pod: Pod, node: Node) -> list[Refusal]:
        if self.filter is None:
            return []
        said = self.filter(pod, node)
        if said is None or said is True:
            return []
        message = said if isinstance(said, str) else "node(s) were refused by the policy"
        return [(type(self.policy).__name__, message, False)]


def _best(ranked: list[tuple[Node, float]], top: int, seed: int) -> list[tuple[Node, float]]:
    """The best `top`; which of the equally best comes first is the seed's choice."""
    if not ranked:
        return []
    # Stable: equal ones stay in the order in which they were looked at.
    ranked.sort(key=lambda r: -r[1])
    best = ranked[0][1]
    equal = 1
    while equal < len(ranked) and ranked[equal][1] == best:
        equal += 1
    drawn = seed % equal
    ranked[0], ranked[drawn] = ranked[drawn], ranked[0]
    return ranked[:top]


def config_object(config: str) -> dict:
    """The configuration as a JSON object; an empty one when there is none."""
    try:
        parsed = json.loads(config) if config.strip() else {}
    except ValueError as error:
        raise BadConfig(f"the configuration is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise BadConfig("the configuration must be a JSON object")
    return parsed
