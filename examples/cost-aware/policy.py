"""The cheapest node that fits: prices stand on the nodes, in a label.

`spec.config`, all optional: `{"label": "example.com/price-per-hour", "assumed": 1.0}`. A node without a price counts as `assumed`.
"""

from pintle.scheduler import BadConfig, Node, Pod, Scheduler, config_object


class Policy(Scheduler):
    def configure(self, config: str) -> None:
        given = config_object(config)
        self.label = given.pop("label", "example.com/price-per-hour")
        self.assumed = given.pop("assumed", 1.0)
        if given:
            raise BadConfig(f"unknown: {', '.join(sorted(given))}")
        if not isinstance(self.assumed, (int, float)) or self.assumed < 0:
            raise BadConfig("assumed must be a price")

    def score(self, pod: Pod, node: Node) -> float:
        # 100 for a node that costs nothing, falling with the price; never a tie of two different prices.
        return 100 / (1 + self.price(node))

    def price(self, node: Node) -> float:
        try:
            return max(float(node.labels[self.label]), 0)
        except (KeyError, ValueError):
            return self.assumed
