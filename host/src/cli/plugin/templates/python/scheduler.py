"""A scheduler for pintle: among the nodes that can run a pod, the one with the fewest pods wins.

`filter` and `score` are the policy; change them. The SDK keeps the nodes and the pods on them, and has asked already whether the pod
can run there at all: resources, selectors, taints, ports, volumes, affinity, spread.
"""

from pintle.scheduler import Node, Pod, Scheduler


class Policy(Scheduler):
    def filter(self, pod: Pod, node: Node) -> str | None:
        """Why the pod shall not run there, or None."""
        return None

    def score(self, pod: Pod, node: Node) -> float:
        """From 0 to 100, higher is better."""
        return 100 - min(len(node.pods), 100)
