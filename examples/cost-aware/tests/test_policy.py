import pytest

from pintle.scheduler import BadConfig
from pintle.testing import Nodes, node, pod

from policy import Policy


def priced(name, price, **more):
    return node(name, labels={"example.com/price-per-hour": price}, **more)


def test_the_cheapest_that_fits():
    nodes = Nodes(Policy(), [priced("spot", "0.031", cpu=2), priced("small", "0.096", cpu=4), priced("large", "0.384", cpu=16)])
    assert [nodes.place(pod(f"p{n}", cpu=1)) for n in range(7)] == ["spot"] * 2 + ["small"] * 4 + ["large"]
    assert nodes.place(pod("big", cpu=8)) == "large"
    assert nodes.decide(pod("huge", cpu=32)).node is None


def test_close_prices_are_told_apart():
    nodes = Nodes(Policy(), [priced("a", "0.0961"), priced("b", "0.0960")])
    assert {nodes.decide(pod(f"p{n}")).node for n in range(20)} == {"b"}


def test_a_node_without_a_price_is_dear():
    nodes = Nodes(Policy(), [node("unknown"), priced("bad", "cheap"), priced("known", "0.9")])
    assert nodes.decide(pod("p")).node == "known"
    nodes = Nodes(Policy(), [node("unknown"), priced("known", "0.9")], config='{"assumed": 0.1}')
    assert nodes.decide(pod("p")).node == "unknown"


@pytest.mark.parametrize("config", ['{"lable": "x"}', '{"assumed": "much"}', "nonsense"])
def test_a_bad_configuration_is_refused(config):
    with pytest.raises(BadConfig):
        Nodes(Policy(), [], config=config)
