"""The host's stand-ins for tests in CPython: a snapshot of nodes and pods to decide over, and a cluster of objects to reconcile.

Randomness counts up and time stands still until a test moves it, so tests repeat.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import env
from .fake import FakeCluster
from .objects import budget_of, node_of, pod_of, resources
from .scheduler import Loop, Scheduler
from .snapshot import Node, Pod, Taint

__all__ = ["Decision", "FakeCluster", "Nodes", "TestHost", "node", "pod"]

#: Below so many nodes every one is looked at; above, a share that shrinks from half to a twentieth. Upstream's figures, which the host uses.
LOOK_AT_ALL = 100


class TestHost:
    """Answers `pintle.env`. Its log is a list of (level, message)."""

    __test__ = False

    def __init__(self, config: str = ""):
        self.now_nanoseconds = 1_700_000_000 * 10**9
        self.log_lines: list[tuple[str, str]] = []
        self.config_text = config
        self._drawn = 0

    def now(self) -> int:
        return self.now_nanoseconds

    def random(self, count: int) -> bytes:
        self._drawn += 1
        return bytes((self._drawn * 31 + place * 7) % 256 for place in range(count))

    def log(self, level: str, message: str) -> None:
        self.log_lines.append((level, message))

    def config(self) -> str:
        return self.config_text


def node(name: str, cpu: Any = 4, memory: Any = "16Gi", pods: int = 110, taints: list[Taint] | None = None, labels=None, **more) -> Node:
    """A node of that size. Resources by other names: `resources={"nvidia.com/gpu": 2}`."""
    allocatable = resources({"cpu": cpu, "memory": memory, **more.pop("resources", {})})
    labels = {"kubernetes.io/hostname": name, **(labels or {})}
    return Node(name, labels=labels, taints=taints, allocatable=allocatable, max_pods=pods, **more)


def pod(name: str, cpu: Any = 0, memory: Any = 0, **more) -> Pod:
    """A pod that requests so much; the rest as `Pod` has it."""
    requests = resources({"cpu": cpu, "memory": memory, **more.pop("resources", {})})
    more.setdefault("uid", f"{more.get('namespace', 'default')}/{name}")
    return Pod(name, requests=requests, **more)


@dataclass
class Decision:
    # The node's name; None: it fits nowhere.
    node: str | None
    # Of the nodes that fit and were looked at.
    scores: dict[str, float] = field(default_factory=dict)
    # Message and number of nodes, where none fits.
    reasons: dict[str, int] = field(default_factory=dict)


class Nodes:
    """A snapshot and a policy: pods in, decisions out."""

    def __init__(self, policy: Scheduler, nodes: list[Node], config: str = ""):
        self.host = TestHost(config)
        env.use(self.host)
        policy.configure(config)
        self._loop = Loop(policy)
        self._start = 0
        for id, node in enumerate(nodes):
            node.id = id
            self._loop.cluster.upsert_node(node)

    @classmethod
    def from_snapshot(cls, policy: Scheduler, path: str | Path, config: str = "") -> Nodes:
        """From a file of `kubectl get nodes,pods,namespaces,pdb -A -o json`. Pods without a node are left for the test: `pending`."""
        items = json.loads(Path(path).read_text())["items"]
        found = cls(policy, [node_of(o) for o in items if o["kind"] == "Node"], config)
        cluster = found._loop.cluster
        cluster.budgets = [budget_of(o) for o in items if o["kind"] == "PodDisruptionBudget"]
        for namespace in (o["metadata"] for o in items if o["kind"] == "Namespace"):
            cluster.namespaces[namespace["name"]] = dict(namespace.get("labels") or {})
        pods = [o for o in items if o["kind"] == "Pod" and (o.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
        for object in pods:
            at = (object.get("spec") or {}).get("nodeName")
            if at:
                found.add(pod_of(object), at)
        found.pending = [pod_of(o) for o in pods if not (o.get("spec") or {}).get("nodeName")]
        return found

    #: Pods of a snapshot that have no node.
    pending: list[Pod] = []

    def decide(self, pod: Pod) -> Decision:
        """Where the pod would go. It is not placed."""
        count = len(self._loop.cluster.nodes)
        limit = 0 if count <= LOOK_AT_ALL else max(count * max(50 - count // 125, 5) // 100, LOOK_AT_ALL)
        seed = int.from_bytes(self.host.random(8), "little")
        found = self._loop.decide(pod, self._start, limit, top=count, seed=seed)
        self._start = found.next_start
        if not found.ranked:
            return Decision(None, reasons={message: nodes for (_, message, _), nodes in found.rejected.items()})
        return Decision(found.ranked[0][0].name, {node.name: score for node, score in found.ranked})

    def place(self, pod: Pod) -> str | None:
        """Decides and places the pod; gives the node's name."""
        found = self.decide(pod).node
        if found is not None:
            self._loop.assume(pod.uid, self[found].id)
        return found

    def add(self, pod: Pod, on: str) -> None:
        """A pod that runs there already."""
        self._loop.cluster.place(pod, self[on].id)

    def remove(self, pod: Pod) -> None:
        self._loop.cluster.forget(pod.uid)

    def rank(self, pod: Pod, names: list[str]) -> tuple[dict[str, float], dict[str, int]]:
        """As an extender in a profile: scores of those of the named nodes that pass, and the reasons of the others."""
        ranked, rejected = self._loop.rank(pod, [self[name].id for name in names])
        return {node.name: score for node, score in ranked}, {message: nodes for (_, message, _), nodes in rejected.items()}

    def victims(self, pod: Pod, among: list[str] | None = None) -> tuple[str, list[str]] | None:
        """The node, one of the named ones, and the names of the pods that would be evicted for the pod, lowest priority first."""
        found = self._loop.preempt(pod, None if among is None else [self[name].id for name in among])
        return found and (found.node.name, [p.name for p in found.pods])

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self._loop.cluster.nodes.values() if node.name == name)
