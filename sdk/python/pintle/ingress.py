"""The ingress world: inherit from `Ingress` and write `compile`: objects in, a route table out.

A native data plane in the host executes the table; the plugin sees no request. `wit/ingress/ingress.wit` documents each field.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


class Refused(Exception):
    """Raised by `compile`: refuses the change; the table before stays. What is wrong in one object is a `Problem` instead."""


@dataclass(slots=True)
class Object:
    """An Ingress, IngressClass, Service, EndpointSlice or Secret."""

    kind: str
    json: bytes

    def parse(self) -> dict[str, Any]:
        return json.loads(self.json)


@dataclass(slots=True)
class Endpoint:
    address: str
    port: int


@dataclass(slots=True)
class Affinity:
    cookie: str
    # 0: a session cookie
    max_age_seconds: int = 0
    path: str = "/"


@dataclass(slots=True)
class Backend:
    # For logs and metrics: `namespace/service:port`
    name: str
    endpoints: list[Endpoint] = field(default_factory=list)
    # round-robin, least-connections, hash-client or hash-uri
    balance: str = "round-robin"
    # http, https, grpc or grpcs
    protocol: str = "http"
    affinity: Affinity | None = None
    connect_timeout_milliseconds: int = 5_000
    read_timeout_milliseconds: int = 60_000
    # Attempts on other endpoints when one refuses the connection
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Forward:
    # Index into `RouteTable.backends`
    backend: int


@dataclass(frozen=True, slots=True)
class Redirect:
    # 301, 302, 307 or 308
    code: int
    # `$scheme`, `$host` and `$request_uri` are filled in
    location: str


@dataclass(frozen=True, slots=True)
class Respond:
    code: int
    body: str


Action = Forward | Redirect | Respond


@dataclass(slots=True)
class Canary:
    """A share of a route's traffic, or the requests that carry a header or cookie, go elsewhere."""

    backend: int
    weight: int = 0
    weight_total: int = 100
    # Name and value; an empty value means `always`
    header: tuple[str, str] | None = None
    cookie: str | None = None


@dataclass(slots=True)
class BasicAuth:
    """User and hash lines of an htpasswd file."""

    realm: str
    users: dict[str, str]


@dataclass(slots=True)
class Cors:
    allow_origins: list[str]
    allow_methods: str = "GET, PUT, POST, DELETE, PATCH, OPTIONS"
    allow_headers: str = ""
    allow_credentials: bool = True
    max_age_seconds: int = 1_728_000


@dataclass(slots=True)
class Route:
    path: str
    action: Action
    # prefix (by path elements), exact or pattern
    path_match: str = "prefix"
    rewrite: str | None = None
    force_tls: bool = False
    canaries: list[Canary] = field(default_factory=list)
    auth: BasicAuth | None = None
    # CIDRs; empty: everybody
    allow_sources: list[str] = field(default_factory=list)
    deny_sources: list[str] = field(default_factory=list)
    # 0: the data plane's default
    max_body_bytes: int = 0
    # For one client address; 0: no limit
    requests_per_second: int = 0
    request_headers: dict[str, str] = field(default_factory=dict)
    response_headers: dict[str, str] = field(default_factory=dict)
    cors: Cors | None = None
    # `namespace/name` of the Ingress
    source: str = ""


@dataclass(slots=True)
class VirtualHost:
    # `a.example.com`, `*.example.com`, or empty for every other host
    name: str
    # Longest path first; the data plane takes the first that matches.
    routes: list[Route] = field(default_factory=list)


@dataclass(slots=True)
class Certificate:
    hosts: list[str]
    # PEM
    chain: bytes
    key: bytes
    # `namespace/name` of the Secret
    source: str = ""


@dataclass(slots=True)
class Problem:
    """Something wrong in one object. The rest is served all the same."""

    kind: str
    namespace: str
    name: str
    reason: str
    message: str


@dataclass(slots=True)
class RouteTable:
    hosts: list[VirtualHost] = field(default_factory=list)
    backends: list[Backend] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    # Where nothing matches; None answers 404
    fallback: Action | None = None
    # Ingresses (`namespace/name`) that this controller serves: their status gets the data plane's addresses
    served: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Ingress:
    def compile(self, objects: list[Object]) -> RouteTable:
        """The whole table from all objects."""
        raise NotImplementedError
