"""The cluster in memory, and selectors."""

import pytest

from pintle import env
from pintle.controller import AlreadyExists, Conflict, Controller, Forbidden, Key, NotFound, Resource, Watch
from pintle.selector import Selector
from pintle.testing import FakeCluster

PODS = Resource("", "v1", "pods")


def owned_by(uid):
    return {"ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid, "controller": True}]}


class Echo(Controller):
    watches = [Watch(PODS)]

    def reconcile(self, api, key):
        pod = api.find(PODS, key.namespace, key.name)
        if pod is None:
            return None
        env.info(f"{key.name} at {env.now():.0f}")
        api.event(PODS, key.namespace, key.name, "Normal", "Seen", "here it is")
        return 1.5


def test_reading_and_writing():
    cluster = FakeCluster()
    made = cluster.create(PODS, "n", {"metadata": {"generateName": "p-", "labels": {"a": "b"}, **owned_by("u")}})
    name = made["metadata"]["name"]
    assert name.startswith("p-") and made["metadata"]["uid"]
    with pytest.raises(AlreadyExists):
        cluster.create(PODS, "n", {"metadata": {"name": name}})
    stale = cluster.get(PODS, "n", name)
    cluster.patch(PODS, "n", name, {"metadata": {"labels": {"a": None, "c": "d"}}})
    assert cluster.get(PODS, "n", name)["metadata"]["labels"] == {"c": "d"}
    with pytest.raises(Conflict):
        cluster.update(PODS, "n", name, stale)
    fresh = cluster.get(PODS, "n", name)
    fresh["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    fresh["spec"] = {"lost": True}
    cluster.update_status(PODS, "n", name, fresh)
    assert "spec" not in cluster.get(PODS, "n", name)
    (found,) = cluster.list_summaries(PODS, namespace="n", label_selector="c in (d,e)", owner_uid="u", field_selector="status.phase=Running")
    assert (found.name, found.phase, found.ready, found.controller.kind) == (name, "Running", True, "X")
    assert cluster.list(PODS, label_selector="c!=d") == []
    assert [a.split(" {")[0] for a in cluster.take_actions()] == [f"create pods n/{name}", f"patch pods n/{name}", f"status pods n/{name}"]


def test_finalizers_hold_an_object_until_they_are_gone():
    cluster = FakeCluster()
    cluster.add(PODS, {"metadata": {"name": "p", "namespace": "n", "finalizers": ["x"]}})
    cluster.delete(PODS, "n", "p")
    assert cluster.get(PODS, "n", "p")["metadata"]["deletionTimestamp"]
    cluster.patch(PODS, "n", "p", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        cluster.get(PODS, "n", "p")


def test_an_apply_makes_what_is_not_there():
    cluster = FakeCluster()
    made = cluster.patch(PODS, "n", "p", {"metadata": {"labels": {"a": "b"}}}, kind="apply")
    assert made["metadata"]["name"] == "p" and made["metadata"]["namespace"] == "n" and made["metadata"]["uid"]
    cluster.patch(PODS, "n", "p", {"metadata": {"labels": {"c": "d"}}}, kind="apply")
    assert cluster.get(PODS, "n", "p")["metadata"]["labels"] == {"a": "b", "c": "d"}
    with pytest.raises(NotFound):
        cluster.patch(PODS, "n", "q", {}, kind="merge")
    with pytest.raises(Conflict):
        cluster.patch(PODS, "n", "q", {"metadata": {"uid": "another"}}, kind="apply")


class Apps(Controller):
    """Names the apps that it was asked about."""

    def __init__(self):
        self.given = []

    def route(self, api, watch, before, after):
        self.given.append((before, after))
        return [Key("n", pod["metadata"]["labels"]["app"]) for pod in (before, after) if pod]


def pod(app, status="True", **metadata):
    conditions = [{"type": "Ready", "status": status}]
    return {"metadata": {"name": "p", "labels": {"app": app}, **metadata}, "status": {"conditions": conditions}}


def test_only_a_change_of_what_is_read_is_asked_about():
    cluster, policy = FakeCluster(), Apps()
    reading = ("metadata.labels", "status.conditions.type", ("metadata", "annotations", "example.com/a"))
    routed, claimed = Watch(PODS, "routed", reading=reading), Watch(PODS, "claimed", owner="X", reading=("metadata.labels",))
    assert routed.paths()[1:] == [["status", "conditions", "type"], ["metadata", "annotations", "example.com/a"]]
    assert cluster.route(policy, routed, pod("a"), pod("a", "False", annotations={"b": "c"})) == [] and policy.given == []
    assert cluster.route(policy, routed, pod("a"), pod("b")) == [Key("n", "a"), Key("n", "b")]
    assert policy.given[0][1] == {"metadata": {"labels": {"app": "b"}}, "status": {"conditions": [{"type": "Ready"}]}}
    assert cluster.route(policy, routed, None, pod("a")) == cluster.route(policy, routed, pod("a"), None) == [Key("n", "a")]
    assert cluster.route(policy, routed, pod("a"), pod("a", annotations={"example.com/a": "1"})) == [Key("n", "a")] * 2
    owned = pod("a", **owned_by("u"))
    assert cluster.route(policy, routed, owned, pod("a")) == cluster.route(policy, claimed, owned, owned) == []
    assert cluster.route(policy, claimed, owned, pod("a")) == [Key("n", "a")] * 2
    assert len(cluster.route(policy, Watch(PODS, "routed"), pod("a"), pod("a"))) == 2
    with pytest.raises(AssertionError, match="reading less than"):
        cluster.route(policy, Watch(PODS, "routed", reading=("spec",)), None, pod("a"))


def test_a_local_watch_is_asked_where_there_is_a_primary_object():
    cluster, policy = FakeCluster(), Apps()
    maps, nodes = Resource("", "v1", "configmaps"), Resource("", "v1", "nodes")
    reading, whole = Watch(PODS, "local", reading=("metadata.labels",)), Watch(PODS, "local")
    policy.watches = [Watch(maps), reading, whole]
    here, elsewhere = pod("a", namespace="n"), pod("a", namespace="other")
    cluster.add(maps, {"metadata": {"name": "a", "namespace": "other"}})
    assert cluster.route(policy, reading, None, here) == cluster.route(policy, whole, None, here) == [] and policy.given == []
    cluster.add(maps, {"metadata": {"name": "a", "namespace": "n"}})
    assert cluster.route(policy, reading, None, here) == cluster.route(policy, whole, here, None) == [Key("n", "a")]
    assert cluster.route(policy, reading, here, pod("a", "False", namespace="n")) == []
    with pytest.raises(AssertionError, match="leads to another namespace"):
        cluster.route(policy, whole, None, elsewhere)
    policy.watches = [Watch(nodes), whole]
    assert cluster.route(policy, whole, None, here) == []
    cluster.add(nodes, {"metadata": {"name": "node"}})
    assert cluster.route(policy, whole, None, here) == [Key("n", "a")]


def test_refusals_come_once():
    cluster = FakeCluster()
    cluster.refuse("create pods", Forbidden("no"))
    with pytest.raises(Forbidden):
        cluster.create(PODS, "n", {"metadata": {"name": "p"}})
    cluster.create(PODS, "n", {"metadata": {"name": "p"}})


def test_a_policy_is_asked():
    cluster = FakeCluster()
    cluster.add(PODS, {"metadata": {"name": "p", "namespace": "n"}})
    cluster.pass_seconds(5)
    assert cluster.reconcile(Echo(), "n", "p") == 1.5
    assert cluster.reconcile(Echo(), "n", "gone") is None
    assert cluster.log_lines == [("info", "p at 1700000005")]
    assert cluster.take_actions() == ["event p Normal Seen: here it is"]


def test_both_forms_of_a_selector_say_the_same():
    object = {"matchLabels": {"a": "b"}, "matchExpressions": [
        {"key": "c", "operator": "In", "values": ["d", "e"]}, {"key": "f", "operator": "DoesNotExist"}, {"key": "g", "operator": "NotIn", "values": ["h"]}]}
    selector = Selector.from_object(object)
    assert str(selector) == "a=b,c in (d,e),!f,g notin (h)"
    assert Selector.parse(str(selector)) == selector
    assert selector.matches({"a": "b", "c": "e"})
    assert not selector.matches({"a": "b", "c": "e", "f": ""})
    assert not selector.matches(None)
    assert Selector.parse("a in b") is None
