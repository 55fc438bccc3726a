"""Nodes and pods as a scheduling policy sees them, and the cluster that the SDK keeps of what the host feeds.

Authors read `Node` and `Pod`; `Cluster` is the SDK's own. Nothing here decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Resources:
    """Amounts in base units: CPU in millicores, memory and storage in bytes, all others in whole units by name."""

    milli_cpu: int = 0
    memory: int = 0
    ephemeral_storage: int = 0
    extended: dict[str, int] = field(default_factory=dict)

    def add(self, other: Resources, sign: int = 1) -> None:
        self.milli_cpu += sign * other.milli_cpu
        self.memory += sign * other.memory
        self.ephemeral_storage += sign * other.ephemeral_storage
        for name, amount in other.extended.items():
            self.extended[name] = self.extended.get(name, 0) + sign * amount


@dataclass(slots=True)
class Taint:
    key: str
    value: str
    # NoSchedule, PreferNoSchedule or NoExecute
    effect: str


@dataclass(slots=True)
class Toleration:
    # Empty with `exists`: every key.
    key: str = ""
    exists: bool = False
    value: str = ""
    # None: every effect.
    effect: str | None = None

    def tolerates(self, key: str, value: str, effect: str) -> bool:
        if self.effect is not None and self.effect != effect:
            return False
        if self.key != key and (self.key or not self.exists):
            return False
        return self.exists or self.value == value


@dataclass(slots=True)
class Requirement:
    key: str
    # In, NotIn, Exists, DoesNotExist; in node affinity also Gt and Lt
    operator: str
    values: list[str] = field(default_factory=list)

    def holds(self, labels: dict[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        found, bound = _number(value), _number(self.values[0] if self.values else None)
        if found is None or bound is None:
            return False
        return found > bound if self.operator == "Gt" else found < bound


@dataclass(slots=True)
class NodeTerm:
    """One of a node selector's terms: all of it must hold; an empty one matches nothing."""

    labels: list[Requirement] = field(default_factory=list)
    # Over `metadata.name`, the only field.
    fields: list[Requirement] = field(default_factory=list)

    def matches(self, node: Node) -> bool:
        if not self.labels and not self.fields:
            return False
        return all_hold(self.labels, node.labels) and all_hold(self.fields, {"metadata.name": node.name})


@dataclass(slots=True)
class PodTerm:
    """A term of pod affinity or anti-affinity."""

    topology_key: str
    # None matches no pod.
    selector: list[Requirement] | None
    namespaces: list[str] = field(default_factory=list)
    # Over the labels of namespaces; None selects by `namespaces` alone.
    namespace_selector: list[Requirement] | None = None
    # Of preferred terms.
    weight: int = 0

    def matches(self, pod: Pod, namespaces: dict[str, dict[str, str]]) -> bool:
        if self.selector is None or not all_hold(self.selector, pod.labels):
            return False
        if pod.namespace in self.namespaces:
            return True
        return self.namespace_selector is not None and all_hold(self.namespace_selector, namespaces.get(pod.namespace, {}))


@dataclass(slots=True)
class Spread:
    """A topology spread constraint."""

    topology_key: str
    max_skew: int
    # DoNotSchedule; else ScheduleAnyway
    hard: bool
    selector: list[Requirement] | None
    min_domains: int | None = None
    honor_node_affinity: bool = True
    honor_node_taints: bool = False


@dataclass(slots=True)
class HostPort:
    port: int
    protocol: str = "TCP"
    # 0.0.0.0 for all addresses
    ip: str = "0.0.0.0"

    def collides(self, other: HostPort) -> bool:
        if self.port != other.port or self.protocol != other.protocol:
            return False
        return self.ip == other.ip or "0.0.0.0" in (self.ip, other.ip)


@dataclass(slots=True)
class Pod:
    """A pod as scheduling sees it: defaults applied, requests summed over containers, init containers and overhead."""

    name: str
    namespace: str = "default"
    uid: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    # False for `preemptionPolicy: Never`
    may_preempt: bool = True
    requests: Resources = field(default_factory=Resources)
    node_selector: dict[str, str] = field(default_factory=dict)
    # None: no required node affinity
    required_nodes: list[NodeTerm] | None = None
    # (weight, term)
    preferred_nodes: list[tuple[int, NodeTerm]] = field(default_factory=list)
    # For each volume that is bound to certain nodes: terms, any of which must match.
    volume_nodes: list[list[NodeTerm]] = field(default_factory=list)
    tolerations: list[Toleration] = field(default_factory=list)
    required_affinity: list[PodTerm] = field(default_factory=list)
    preferred_affinity: list[PodTerm] = field(default_factory=list)
    required_anti_affinity: list[PodTerm] = field(default_factory=list)
    preferred_anti_affinity: list[PodTerm] = field(default_factory=list)
    spread: list[Spread] = field(default_factory=list)
    host_ports: list[HostPort] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    # Seconds since 1970
    started: int = 0
    deleting: bool = False

    def tolerates(self, key: str, value: str, effect: str) -> bool:
        return any(t.tolerates(key, value, effect) for t in self.tolerations)


class Node:
    """A node with the pods on it. Read it; what you write to it is lost at the next change of the node."""

    __slots__ = ("id", "name", "labels", "annotations", "taints", "unschedulable", "allocatable", "max_pods", "images", "pods", "used")

    def __init__(
        self,
        name: str,
        id: int = 0,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        taints: list[Taint] | None = None,
        unschedulable: bool = False,
        allocatable: Resources | None = None,
        max_pods: int = 110,
        images: dict[str, int] | None = None,
    ):
        self.id = id
        self.name = name
        self.labels = labels or {}
        self.annotations = annotations or {}
        self.taints = taints or []
        self.unschedulable = unschedulable
        self.allocatable = allocatable or Resources()
        self.max_pods = max_pods
        #: Bytes by image name.
        self.images = images or {}
        #: Pods that run here or are assumed to, by uid.
        self.pods: dict[str, Pod] = {}
        #: The sum of their requests.
        self.used = Resources()

    @property
    def free(self) -> Resources:
        """What is allocatable and not requested yet."""
        have, used = self.allocatable, self.used
        names = have.extended.items()
        return Resources(
            have.milli_cpu - used.milli_cpu,
            have.memory - used.memory,
            have.ephemeral_storage - used.ephemeral_storage,
            {name: amount - used.extended.get(name, 0) for name, amount in names},
        )

    def __repr__(self) -> str:
        return f"Node({self.name!r}, {len(self.pods)} pods)"


@dataclass(slots=True)
class Budget:
    """A PodDisruptionBudget."""

    namespace: str
    name: str
    selector: list[Requirement] | None
    allowed: int


class Cluster:
    """What was fed. Applying a change twice does no harm."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {}
        #: By uid: where a pod is. Its node may not be known yet.
        self.placed: dict[str, tuple[int, Pod]] = {}
        #: Placed pods whose anti-affinity refuses others.
        self.refusing: dict[str, tuple[int, Pod]] = {}
        self.namespaces: dict[str, dict[str, str]] = {}
        self.budgets: list[Budget] = []
        self._ordered: list[Node] | None = None

    def ordered(self) -> list[Node]:
        """By id, which is the order in which the host's `start` counts."""
        if self._ordered is None:
            self._ordered = [self.nodes[id] for id in sorted(self.nodes)]
        return self._ordered

    def upsert_node(self, node: Node) -> None:
        known = self.nodes.get(node.id)
        if known is not None:
            node.pods, node.used = known.pods, known.used
        else:
            for uid, (at, pod) in self.placed.items():
                if at == node.id:
                    node.pods[uid] = pod
                    node.used.add(pod.requests)
        self.nodes[node.id] = node
        self._ordered = None

    def remove_node(self, id: int) -> None:
        self.nodes.pop(id, None)
        self._ordered = None

    def place(self, pod: Pod, at: int) -> None:
        self.forget(pod.uid)
        self.placed[pod.uid] = (at, pod)
        if pod.required_anti_affinity:
            self.refusing[pod.uid] = (at, pod)
        node = self.nodes.get(at)
        if node is not None:
            node.pods[pod.uid] = pod
            node.used.add(pod.requests)

    def forget(self, uid: str) -> None:
        at, _ = self.placed.pop(uid, (None, None))
        if at is None:
            return
        self.refusing.pop(uid, None)
        node = self.nodes.get(at)
        if node is not None and uid in node.pods:
            node.used.add(node.pods.pop(uid).requests, -1)


def all_hold(requirements: list[Requirement], labels: dict[str, str]) -> bool:
    return all(r.holds(labels) for r in requirements)


def _number(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None
