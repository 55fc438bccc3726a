"""The component's entry for the ingress world: componentize-py calls `WitWorld`, which drives the project's `policy.Policy`.

Turns the WIT's records into the SDK's types and back. Runs only in a component: `wit_world` is generated when one is built.
"""

import functools

from componentize_py_types import Err
from wit_world.imports import pintle_host_types as host, pintle_ingress_types as wit

import host_env
from pintle import ingress as sdk
from policy import Policy


class WitWorld:
    @host_env.told
    def compile(self, objects):
        try:
            return lower(policy().compile([sdk.Object(o.kind, o.json) for o in objects]))
        except sdk.Refused as error:
            raise Err(str(error)) from None


@functools.cache
def policy():
    """Made by the first call, not when the component is built: it may ask the host. `WitWorld` is made anew for each call."""
    return Policy()


def lower(table):
    return wit.RouteTable(
        hosts=[wit.VirtualHost(h.name, [route(r) for r in h.routes]) for h in table.hosts],
        backends=[backend(b) for b in table.backends],
        certificates=[wit.Certificate(c.hosts, c.chain, c.key, c.source) for c in table.certificates],
        fallback=action(table.fallback),
        served=table.served,
        problems=[wit.Problem(p.kind, p.namespace, p.name, p.reason, p.message) for p in table.problems],
    )


def backend(b):
    affinity = b.affinity and wit.Affinity(b.affinity.cookie, b.affinity.max_age_seconds, b.affinity.path)
    return wit.Backend(
        name=b.name,
        endpoints=[wit.Endpoint(e.address, e.port) for e in b.endpoints],
        balance=member(wit.Balance, b.balance),
        protocol=member(wit.Protocol, b.protocol),
        affinity=affinity,
        connect_timeout_milliseconds=b.connect_timeout_milliseconds,
        read_timeout_milliseconds=b.read_timeout_milliseconds,
        retries=b.retries,
    )


def route(r):
    cors = r.cors and wit.Cors(
        r.cors.allow_origins, r.cors.allow_methods, r.cors.allow_headers, r.cors.allow_credentials, r.cors.max_age_seconds
    )
    return wit.Route(
        path=r.path,
        path_match=member(wit.PathMatch, r.path_match),
        action=action(r.action),
        rewrite=r.rewrite,
        force_tls=r.force_tls,
        canaries=[canary(c) for c in r.canaries],
        auth=r.auth and wit.BasicAuth(r.auth.realm, pairs(r.auth.users)),
        allow_sources=r.allow_sources,
        deny_sources=r.deny_sources,
        max_body_bytes=r.max_body_bytes,
        requests_per_second=r.requests_per_second,
        request_headers=pairs(r.request_headers),
        response_headers=pairs(r.response_headers),
        cors=cors,
        source=r.source,
    )


def canary(c):
    return wit.Canary(c.backend, c.weight, c.weight_total, c.header and host.Pair(*c.header), c.cookie)


def action(a):
    match a:
        case None:
            return None
        case sdk.Forward(backend):
            return wit.Action_Forward(backend)
        case sdk.Redirect(code, location):
            return wit.Action_Redirect((code, location))
        case sdk.Respond(code, body):
            return wit.Action_Respond((code, body))
    raise TypeError(f"{a!r} is no action")


def member(kind, name):
    """`least-connections` as the WIT's `LEAST_CONNECTIONS`."""
    return kind[name.upper().replace("-", "_")]


def pairs(values):
    return [host.Pair(key, value) for key, value in values.items()]
