"""Whom to evict so that a pod fits, as upstream's DefaultPreemption chooses.

On each candidate node all pods of lower priority are taken away; if the pod fits then, as many as possible are put back, those under
a disruption budget and of high priority first. The node that hurts least wins. Called by `scheduler.Loop`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import env
from .rules import Refusal, Rules
from .snapshot import Cluster, Node, Pod, all_hold

#: After so long the best of the candidates so far is taken: a call that outlives its deadline, one second, costs the instance.
MAX_SECONDS = 0.3
#: Nodes for which victims are worked out; more would cost time and rarely find better ones.
MAX_CANDIDATES = 100


@dataclass(slots=True)
class Victims:
    node: Node
    # Lowest priority first.
    pods: list[Pod]
    violations: int

    def harm(self) -> tuple:
        """Smaller is better: violated budgets, the most important victim, all of them, their number, and how long they have run."""
        highest = max(p.priority for p in self.pods)
        # Priorities may be negative; shifted, more victims always weigh more.
        total = sum(p.priority + 2**31 for p in self.pods)
        earliest = min(p.started for p in self.pods if p.priority == highest)
        return (self.violations, highest, total, len(self.pods), -earliest)


def choose(
    cluster: Cluster, pod: Pod, own: Callable[[Pod, Node], list[Refusal]], among: list[int] | None = None
) -> Victims | None:
    """`among`: ids of the nodes that may be chosen; all when there is no list."""
    permitted = None if among is None else set(among)
    rules = Rules(cluster, pod)
    end = env.now() + MAX_SECONDS
    candidates = []
    for node in cluster.ordered():
        if permitted is not None and node.id not in permitted:
            continue
        refusals = rules.refusals(node)
        resolvable = refusals and all(resolvable for _, _, resolvable in refusals)
        if resolvable and any(p.priority < pod.priority for p in node.pods.values()):
            victims = _victims_on(cluster, pod, node, own)
            if victims is not None:
                candidates.append(victims)
            if len(candidates) >= MAX_CANDIDATES or env.now() > end:
                break
    return min(candidates, key=Victims.harm, default=None)


def _victims_on(cluster: Cluster, pod: Pod, node: Node, own: Callable[[Pod, Node], list[Refusal]]) -> Victims | None:
    """Tries on the live state and leaves it as it was."""

    def fits() -> bool:
        return not Rules(cluster, pod).refusals(node) and not own(pod, node)

    # Most important first: higher priority, then longer running.
    lower = sorted((p for p in node.pods.values() if p.priority < pod.priority), key=lambda p: (-p.priority, p.started))
    for victim in lower:
        cluster.forget(victim.uid)
    victims, violations = [], 0
    if fits():
        violating = _violating(cluster, lower)
        for candidate in sorted(lower, key=lambda p: p.uid not in violating):
            cluster.place(candidate, node.id)
            if not fits():
                cluster.forget(candidate.uid)
                victims.append(candidate)
                violations += candidate.uid in violating
        lower = victims
    for gone in lower:
        cluster.place(gone, node.id)
    victims.sort(key=lambda p: p.priority)
    return Victims(node, victims, violations) if victims else None


def _violating(cluster: Cluster, pods: list[Pod]) -> set[str]:
    """Those whose eviction, in this order, would overdraw a disruption budget."""
    left = [budget.allowed for budget in cluster.budgets]
    violating = set()
    for pod in pods:
        for place, budget in enumerate(cluster.budgets):
            if budget.namespace != pod.namespace or not pod.labels:
                continue
            if budget.selector is not None and all_hold(budget.selector, pod.labels):
                left[place] -= 1
                if left[place] < 0:
                    violating.add(pod.uid)
    return violating
