from pintle.testing import FakeCluster

from policy import CONFIG_MAPS, LABEL, Policy


def test_counts_once():
    cluster = FakeCluster()
    cluster.add(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}, "data": {"x": "1", "y": "2"}})
    cluster.reconcile(Policy(), "default", "a")
    assert cluster.get(CONFIG_MAPS, "default", "a")["metadata"]["labels"] == {LABEL: "2"}
    assert len(cluster.take_actions()) == 1
    cluster.reconcile(Policy(), "default", "a")
    assert cluster.take_actions() == []
