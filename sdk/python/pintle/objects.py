"""Kubernetes objects, as `kubectl get -o json` prints them, as the `Node` and `Pod` that a policy sees. For tests: in a component the
host does this."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from .selector import Selector
from .snapshot import Budget, HostPort, Node, NodeTerm, Pod, PodTerm, Requirement, Resources, Spread, Taint, Toleration

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}
_QUANTITY = re.compile(r"^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkKMGTPE]?i?)$")


def quantity(text: str | int | float) -> Decimal:
    """`500m`, `2Gi`, `1e3`."""
    match = _QUANTITY.match(str(text))
    if match is None or match[2] not in _SUFFIXES:
        raise ValueError(f"{text!r} is no quantity")
    return Decimal(match[1]) * _SUFFIXES[match[2]]


def resources(amounts: dict[str, Any] | None) -> Resources:
    """`{"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": 1}`; parts of a unit count as a whole one."""
    found = Resources()
    for name, text in (amounts or {}).items():
        amount = quantity(text)
        match name:
            case "cpu":
                found.milli_cpu = _up(amount * 1000)
            case "memory":
                found.memory = _up(amount)
            case "ephemeral-storage":
                found.ephemeral_storage = _up(amount)
            case "pods":
                pass
            case _:
                found.extended[name] = _up(amount)
    return found


def node_of(object: dict[str, Any], id: int = 0) -> Node:
    metadata, spec, status = object["metadata"], object.get("spec") or {}, object.get("status") or {}
    allocatable = status.get("allocatable") or {}
    return Node(
        metadata["name"],
        id,
        labels=dict(metadata.get("labels") or {}),
        annotations=dict(metadata.get("annotations") or {}),
        taints=[Taint(t["key"], t.get("value") or "", t["effect"]) for t in spec.get("taints") or []],
        unschedulable=bool(spec.get("unschedulable")),
        allocatable=resources(allocatable),
        max_pods=int(quantity(allocatable.get("pods", 110))),
        images={name: i.get("sizeBytes", 0) for i in status.get("images") or [] for name in i.get("names") or []},
    )


def pod_of(object: dict[str, Any]) -> Pod:
    metadata, spec = object["metadata"], object.get("spec") or {}
    namespace, labels = metadata.get("namespace") or "default", dict(metadata.get("labels") or {})
    affinity = spec.get("affinity") or {}
    nodes, near, far = (affinity.get(kind) or {} for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity"))
    required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
    containers = spec.get("containers") or []
    lasting = containers + [c for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    return Pod(
        name=metadata["name"],
        namespace=namespace,
        uid=metadata.get("uid") or f"{namespace}/{metadata['name']}",
        labels=labels,
        annotations=dict(metadata.get("annotations") or {}),
        priority=spec.get("priority") or 0,
        may_preempt=spec.get("preemptionPolicy") != "Never",
        requests=requests(spec),
        node_selector=dict(spec.get("nodeSelector") or {}),
        required_nodes=node_terms(nodes[required]) if nodes.get(required) else None,
        preferred_nodes=[(p["weight"], node_term(p["preference"])) for p in nodes.get(preferred) or []],
        tolerations=[toleration(t) for t in spec.get("tolerations") or []],
        required_affinity=[pod_term(t, namespace) for t in near.get(required) or []],
        preferred_affinity=[pod_term(t["podAffinityTerm"], namespace, t["weight"]) for t in near.get(preferred) or []],
        required_anti_affinity=[pod_term(t, namespace) for t in far.get(required) or []],
        preferred_anti_affinity=[pod_term(t["podAffinityTerm"], namespace, t["weight"]) for t in far.get(preferred) or []],
        spread=[spread(c, labels) for c in spec.get("topologySpreadConstraints") or []],
        host_ports=[
            HostPort(p["hostPort"], p.get("protocol") or "TCP", p.get("hostIP") or "0.0.0.0")
            for c in lasting for p in c.get("ports") or [] if p.get("hostPort")
        ],
        images=[c["image"] for c in containers + (spec.get("initContainers") or []) if c.get("image")],
        started=seconds((object.get("status") or {}).get("startTime") or metadata.get("creationTimestamp")),
        deleting=bool(metadata.get("deletionTimestamp")),
    )


def budget_of(object: dict[str, Any]) -> Budget:
    metadata = object["metadata"]
    allowed = (object.get("status") or {}).get("disruptionsAllowed") or 0
    return Budget(metadata.get("namespace") or "default", metadata["name"], selector((object.get("spec") or {}).get("selector")), allowed)


def requests(spec: dict[str, Any]) -> Resources:
    """Containers side by side, init containers one after another beside the sidecars that began before them, and the overhead."""
    total, sidecars, peak = Resources(), Resources(), Resources()
    for container in spec.get("containers") or []:
        total.add(_requests(container))
    for container in spec.get("initContainers") or []:
        own = _requests(container)
        if container.get("restartPolicy") == "Always":
            total.add(own)
            sidecars.add(own)
            own = Resources()
        beside = Resources()
        beside.add(sidecars)
        beside.add(own)
        _raise(peak, beside)
    _raise(total, peak)
    whole = ((spec.get("resources") or {}).get("requests")) or {}
    asked = resources(whole)
    if "cpu" in whole:
        total.milli_cpu = asked.milli_cpu
    if "memory" in whole:
        total.memory = asked.memory
    total.add(resources(spec.get("overhead")))
    return total


def requirements(expressions: list[dict[str, Any]] | None) -> list[Requirement]:
    return [Requirement(e["key"], e["operator"], list(e.get("values") or [])) for e in expressions or []]


def selector(object: dict[str, Any] | None) -> list[Requirement] | None:
    """A LabelSelector; None matches nothing, an empty one everything."""
    found = Selector.from_object(object)
    return found and found.requirements


def node_term(term: dict[str, Any]) -> NodeTerm:
    return NodeTerm(requirements(term.get("matchExpressions")), requirements(term.get("matchFields")))


def node_terms(node_selector: dict[str, Any]) -> list[NodeTerm]:
    return [node_term(term) for term in node_selector.get("nodeSelectorTerms") or []]


def pod_term(term: dict[str, Any], own_namespace: str, weight: int = 0) -> PodTerm:
    namespaces, by_label = list(term.get("namespaces") or []), selector(term.get("namespaceSelector"))
    if not namespaces and by_label is None:
        namespaces = [own_namespace]
    return PodTerm(term["topologyKey"], selector(term.get("labelSelector")), namespaces, by_label, weight)


def spread(constraint: dict[str, Any], labels: dict[str, str]) -> Spread:
    found = selector(constraint.get("labelSelector"))
    for key in constraint.get("matchLabelKeys") or []:
        if found is not None and key in labels and all(r.key != key for r in found):
            found.append(Requirement(key, "In", [labels[key]]))
    return Spread(
        constraint["topologyKey"],
        constraint["maxSkew"],
        constraint.get("whenUnsatisfiable") != "ScheduleAnyway",
        found,
        constraint.get("minDomains"),
        constraint.get("nodeAffinityPolicy") != "Ignore",
        constraint.get("nodeTaintsPolicy") == "Honor",
    )


def toleration(t: dict[str, Any]) -> Toleration:
    return Toleration(t.get("key") or "", t.get("operator") == "Exists", t.get("value") or "", t.get("effect") or None)


def seconds(timestamp: str | None) -> int:
    return int(datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()) if timestamp else 0


def _requests(container: dict[str, Any]) -> Resources:
    return resources((container.get("resources") or {}).get("requests"))


def _raise(total: Resources, to: Resources) -> None:
    total.milli_cpu = max(total.milli_cpu, to.milli_cpu)
    total.memory = max(total.memory, to.memory)
    total.ephemeral_storage = max(total.ephemeral_storage, to.ephemeral_storage)
    for name, amount in to.extended.items():
        total.extended[name] = max(total.extended.get(name, 0), amount)


def _up(amount: Decimal) -> int:
    return int(amount.to_integral_value(rounding="ROUND_CEILING"))
