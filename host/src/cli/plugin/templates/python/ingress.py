"""An ingress controller for pintle that has no routes yet: every request gets a 404, and every Ingress is called served.

Fill `hosts` and `backends`: a data plane in the host executes the table that `compile` returns; the plugin sees no request.
"""

from pintle.ingress import Ingress, Object, Respond, RouteTable


class Policy(Ingress):
    def compile(self, objects: list[Object]) -> RouteTable:
        table = RouteTable(fallback=Respond(404, "no such host\n"))
        for ingress in (o.parse() for o in objects if o.kind == "Ingress"):
            metadata = ingress["metadata"]
            table.served.append(f"{metadata['namespace']}/{metadata['name']}")
        return table
