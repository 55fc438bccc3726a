"""The filters and the loop behind a policy that says little itself."""

import json
import random
from collections import Counter

import pytest

from pintle.objects import pod_of, quantity, requests
from pintle.scheduler import (
    BadConfig, HostPort, Loop, Node, NodeTerm, PodTerm, Requirement, Resources, Scheduler, Spread, Taint, Toleration, config_object,
)
from pintle.testing import Nodes, node, pod


class First(Scheduler):
    """Prefers the node of the lowest name."""

    def score(self, pod, node):
        return 100 - ord(node.name[0])


class Evens(Scheduler):
    def score(self, pod, node):
        return node.id % 2


def loop_of(policy, names):
    loop = Loop(policy)
    for id, name in enumerate(names):
        loop.cluster.upsert_node(Node(name, id=id, allocatable=Resources(4000)))
    return loop


def app(name, **more):
    return pod(name, labels={"app": name.split("-")[0]}, **more)


def near(app, key="zone"):
    return PodTerm(key, [Requirement("app", "In", [app])], ["default"])


def zones():
    return [node("a", labels={"zone": "z1"}), node("b", labels={"zone": "z1"}), node("c", labels={"zone": "z2"})]


def test_resources_count_with_what_was_placed():
    nodes = Nodes(First(), [node("a", cpu=1), node("b", cpu="500m", memory="1Gi")])
    assert [nodes.place(pod(f"p{n}", cpu="500m")) for n in range(4)] == ["a", "a", "b", None]
    assert nodes.decide(pod("large", cpu=2, memory="2Gi")).reasons == {"Insufficient cpu": 2, "Insufficient memory": 1}
    assert nodes["a"].free.milli_cpu == 0
    gone = next(iter(nodes["a"].pods.values()))
    nodes.remove(gone)
    assert nodes.place(pod("again", cpu="500m")) == "a"


def test_a_pod_that_asks_for_nothing_fits_on_a_full_node_until_there_are_too_many():
    nodes = Nodes(First(), [node("a", cpu=1, pods=2)])
    assert [nodes.place(pod("full", cpu=1)), nodes.place(pod("small")), nodes.place(pod("more"))] == ["a", "a", None]
    assert nodes.decide(pod("more")).reasons == {"Too many pods": 1}


def test_extended_resources():
    nodes = Nodes(First(), [node("a"), node("b", resources={"nvidia.com/gpu": 1})])
    gpu = {"nvidia.com/gpu": 1}
    assert [nodes.place(pod("x", resources=gpu)), nodes.place(pod("y", resources=gpu))] == ["b", None]
    assert nodes.decide(pod("z", resources=gpu)).reasons == {"Insufficient nvidia.com/gpu": 2}


def test_cordons_and_taints():
    noisy = Taint("dedicated", "x", "NoSchedule")
    nodes = Nodes(First(), [node("a", unschedulable=True), node("b", taints=[noisy]), node("c", taints=[Taint("soft", "", "PreferNoSchedule")])])
    assert nodes.decide(pod("p")).node == "c"
    assert nodes.decide(pod("p", tolerations=[Toleration("dedicated", value="x")])).node == "b"
    assert nodes.decide(pod("p", tolerations=[Toleration(exists=True)])).node == "a"


def test_selectors_and_node_affinity():
    nodes = Nodes(First(), [node("a", labels={"gen": "3"}), node("b", labels={"gen": "5"})])
    newer = NodeTerm([Requirement("gen", "Gt", ["4"])])
    assert nodes.decide(pod("p", node_selector={"gen": "5"})).node == "b"
    assert nodes.decide(pod("p", required_nodes=[newer])).node == "b"
    assert nodes.decide(pod("p", required_nodes=[NodeTerm()])).reasons == {"node(s) didn't match Pod's node affinity/selector": 2}
    assert nodes.decide(pod("p", required_nodes=[NodeTerm(fields=[Requirement("metadata.name", "In", ["b"])])])).node == "b"
    assert nodes.decide(pod("p", volume_nodes=[[newer], [newer]])).node == "b"


def test_host_ports():
    nodes = Nodes(First(), [node("a"), node("b")])
    assert [nodes.place(pod(f"p{n}", host_ports=[HostPort(80)])) for n in range(3)] == ["a", "b", None]
    assert nodes.place(pod("other", host_ports=[HostPort(80, "UDP")])) == "a"


def test_affinity_and_anti_affinity():
    nodes = Nodes(First(), zones())
    assert nodes.decide(app("web-1", required_affinity=[near("cache")])).node is None
    assert nodes.place(app("cache-1", required_affinity=[near("cache")])) == "a", "the first of its group goes anywhere"
    assert nodes.place(app("web-1", required_anti_affinity=[near("cache")])) == "c"
    assert nodes.decide(app("web-2", required_affinity=[near("cache")])).node == "a"
    # The web pod's own rule keeps caches out of its zone.
    assert nodes.decide(app("cache-2", node_selector={"zone": "z2"})).reasons == {
        "node(s) didn't satisfy existing pods anti-affinity rules": 1,
        "node(s) didn't match Pod's node affinity/selector": 2,
    }


def test_spread():
    nodes = Nodes(First(), [*zones(), node("d")])
    even = lambda name: app(name, spread=[Spread("zone", 1, True, [Requirement("app", "In", ["web"])])])
    assert [nodes.place(even(f"web-{n}")) for n in range(4)] == ["a", "c", "a", "c"]
    soft = app("web-9", spread=[Spread("zone", 1, False, [Requirement("app", "In", ["web"])])])
    assert [nodes.place(soft), nodes.decide(even("web-5")).node] == ["a", "c"]


def test_the_policys_own_filter_speaks_after_the_others():
    class Picky(First):
        def filter(self, pod, node):
            if node.name == "a":
                return "node(s) were dear"
            return node.name != "b"

    nodes = Nodes(Picky(), [node("a"), node("b"), node("c", cpu=1)])
    assert nodes.decide(pod("p")).node == "c"
    assert nodes.decide(pod("p", cpu=2)).reasons == {
        "node(s) were dear": 1, "node(s) were refused by the policy": 1, "Insufficient cpu": 1,
    }


def test_preemption_takes_the_least_important_and_no_more_than_it_must():
    nodes = Nodes(First(), [node("a", cpu=2), node("b", cpu=2)])
    for name, priority, on in [("a1", 5, "a"), ("a2", 1, "a"), ("b1", 9, "b")]:
        nodes.add(pod(name, cpu=1, priority=priority), on)
    nodes.add(pod("b2", cpu=1, priority=20), "b")
    wanted = pod("p", cpu=1, priority=10)
    assert nodes.decide(wanted).node is None
    assert nodes.victims(wanted) == ("a", ["a2"])
    assert nodes.victims(wanted, among=["b"]) == ("b", ["b1"])
    assert nodes.victims(wanted, among=[]) is None
    assert nodes.victims(pod("q", cpu=1, priority=1)) is None
    assert nodes.victims(pod("r", cpu=1, priority=10, may_preempt=False)) is None
    assert sorted(p.name for p in nodes["a"].pods.values()) == ["a1", "a2"], "trying leaves no trace"
    assert nodes["a"].used.milli_cpu == 2000


def test_an_extender_ranks_the_nodes_that_it_is_asked_about_and_no_others():
    class Dear(First):
        def filter(self, pod, node):
            return "node(s) were dear" if node.name == "b" else None

    nodes = Nodes(Dear(), [node("a"), node("b"), node("c", cpu=1), node("d")])
    scores, reasons = nodes.rank(pod("p", cpu=2), ["a", "b", "c"])
    assert list(scores) == ["a"]
    assert reasons == {"node(s) were dear": 1, "Insufficient cpu": 1}
    assert nodes.rank(pod("p"), []) == ({}, {})


def test_many_nodes_are_sampled_and_each_has_its_turn():
    nodes = Nodes(Scheduler(), [node(f"n{n:04}") for n in range(1000)])
    seen = set()
    for n in range(3):
        scores = nodes.decide(pod(f"p{n}")).scores
        assert len(scores) == 420
        seen |= scores.keys()
    assert len(seen) == 1000


def test_which_of_equal_nodes_wins_is_drawn():
    nodes = Nodes(Scheduler(), [node(name) for name in "abcdef"])
    assert len({nodes.decide(pod(f"p{n}")).node for n in range(50)}) > 3


def test_each_of_the_best_is_as_likely_and_the_seed_says_which():
    loop = loop_of(Evens(), "abcdefgh")
    chosen = lambda seed: loop.decide(pod("p"), seed=seed).ranked[0][0].name
    drawn = random.Random(7)
    seeds = [drawn.getrandbits(64) for _ in range(4000)]
    counts = Counter(map(chosen, seeds))
    assert counts.keys() == set("bdfh") and all(900 < count < 1100 for count in counts.values())
    assert [chosen(seed) for seed in seeds[:9]] == [chosen(seed) for seed in seeds[:9]]


def test_what_is_assumed_of_the_last_pod_is_placed_and_of_no_other():
    loop = loop_of(First(), "ab")
    placed = lambda: {uid: at for uid, (at, _) in loop.cluster.placed.items()}
    loop.assume("default/p", 1)
    loop.decide(pod("o"))
    loop.decide(pod("p", cpu=1))
    loop.assume("default/o", 1)
    assert placed() == {}
    loop.assume("default/p", 1)
    assert placed() == {"default/p": 1} and loop.cluster.nodes[1].used.milli_cpu == 1000
    loop.cluster.forget("default/p")
    loop.assume("default/p", 1)
    assert placed() == {}, "once"


def test_a_configuration_is_an_object():
    assert config_object("") == {}
    assert config_object('{"a": 1}') == {"a": 1}
    for bad in ("[1]", "{"):
        with pytest.raises(BadConfig):
            config_object(bad)


def test_objects_are_read_as_the_host_reads_them(tmp_path):
    container = lambda cpu, **more: {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}, **more}
    spec = {
        "containers": [container("1"), container("250m")],
        "initContainers": [container("100m", restartPolicy="Always"), container("2")],
        "overhead": {"cpu": "10m"},
    }
    assert requests(spec).milli_cpu == 2110
    assert requests({**spec, "resources": {"requests": {"cpu": "5"}}}).milli_cpu == 5010
    assert [quantity(t) for t in ("1e3", "1Ki", "1k", "0.5")] == [1000, 1024, 1000, quantity("500m")]
    web = {"metadata": {"name": "web", "namespace": "n", "labels": {"hash": "1"}}, "spec": {
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}}]}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "labelSelector": {}, "matchLabelKeys": ["hash"]}]}}
    read = pod_of(web)
    assert read.required_anti_affinity == [PodTerm("zone", [Requirement("app", "In", ["x"])], ["n"])]
    assert read.spread == [Spread("zone", 1, True, [Requirement("hash", "In", ["1"])])]
    status = {"allocatable": {"cpu": "3920m", "memory": "1Gi", "pods": "8"}}
    items = [
        {"kind": "Node", "metadata": {"name": "a"}, "status": status},
        {"kind": "Pod", "metadata": {"name": "old", "uid": "1"}, "spec": {"nodeName": "a", "containers": [container("3")]}},
        {"kind": "Pod", "metadata": {"name": "done", "uid": "2"}, "spec": {"nodeName": "a", "containers": [container("3")]}, "status": {"phase": "Failed"}},
        {"kind": "Pod", "metadata": {"name": "new", "uid": "3"}, "spec": {"containers": [container("1")]}},
    ]
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps({"items": items}))
    nodes = Nodes.from_snapshot(First(), file)
    assert [p.name for p in nodes.pending] == ["new"]
    assert (nodes["a"].max_pods, nodes["a"].free.milli_cpu) == (8, 920)
    assert nodes.decide(nodes.pending[0]).reasons == {"Insufficient cpu": 1, "Insufficient memory": 1}
