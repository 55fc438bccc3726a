from pintle.testing import Nodes, node, pod

from policy import Policy


def test_pods_spread_until_nodes_are_full():
    nodes = Nodes(Policy(), [node("a", cpu=1), node("b", cpu="500m")])
    placed = [nodes.place(pod(f"pod-{n}", cpu="500m")) for n in range(4)]
    assert sorted(placed[:2]) == ["a", "b"]
    assert placed[2:] == ["a", None]
    assert nodes.decide(pod("more", cpu="500m")).reasons == {"Insufficient cpu": 2}
