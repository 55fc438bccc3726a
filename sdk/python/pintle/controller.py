"""The controller world: inherit from `Controller`, say what to watch, and write `reconcile`.

The host owns informers, indexes and queues: `reconcile` is called for a key after each change that concerns it, one call at a time for
a key, and again with back-off after a failure. Objects are dicts, as JSON has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

Object = dict[str, Any]
Path = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """A served resource: group (empty for core), version, plural name."""

    group: str
    version: str
    name: str


@dataclass(frozen=True, slots=True)
class Key:
    # Empty for cluster-scoped objects.
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Watch:
    """A resource to be told of. `relation` says how a change becomes keys.

    - `primary`: the key is the object itself; the first watch must be this
    - `owned`: the key is the owner with `controller: true`, when its kind is `owner`
    - `claimed`: as `owned`; objects without such an owner go to `Controller.route`
    - `routed`: `Controller.route` says which keys
    - `local`: as `routed`, when every key is in the object's own namespace: while that has no primary object, it is not asked
    - `indexed`: only kept for reads
    """

    resource: Resource
    relation: str = "primary"
    owner: str = ""
    # `a=b,c in (d,e)`; empty: all
    label_selector: str = ""
    field_selector: str = ""
    # What `Controller.route` looks at, as paths: `metadata.labels`, or `status.conditions.type` for the types of all conditions; names in a
    # tuple where one has a dot in it. It is given nothing else of the object, and not asked about a change of anything else. Empty: all.
    reading: tuple[Path, ...] = ()

    def paths(self) -> list[list[str]]:
        """`reading`, name by name."""
        return [path.split(".") if isinstance(path, str) else list(path) for path in self.reading]


@dataclass(slots=True)
class Owner:
    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(slots=True)
class Summary:
    """The typed part of an object in a list, made without parsing it in the guest."""

    namespace: str
    name: str
    uid: str
    revision: int
    labels: dict[str, str]
    controller: Owner | None
    # Seconds since 1970
    created: int
    deleting: bool
    phase: str
    ready: bool
    node: str


# `Api` has a method of the name `list`.
Objects = list[Object]
Summaries = list[Summary]


class ApiError(Exception):
    """What became of a call. Left uncaught in `reconcile`, the key comes again with back-off."""


class NotFound(ApiError):
    pass


class AlreadyExists(ApiError):
    pass


class Conflict(ApiError):
    """Somebody else was faster: an expected outcome."""


class Forbidden(ApiError):
    """Not granted, or refused by admission or quota."""


class Invalid(ApiError):
    """Failed validation. Left uncaught, the key does not come again before its object changes."""


class TooManyRequests(ApiError):
    def __init__(self, seconds: int):
        super().__init__(f"too many requests, retry after {seconds} s")
        self.seconds = seconds


class Unavailable(ApiError):
    pass


class Retry(Exception):
    """Raised by `reconcile`: try again with back-off."""


class Terminal(Exception):
    """Raised by `reconcile`: not before the object changes."""


class Api(Protocol):
    """The cluster, as far as the plugin's grants reach. Reads of watched resources come from the host's indexes and see the
    plugin's own writes; others go to the API server. All raise `ApiError`."""

    def get(self, resource: Resource, namespace: str, name: str) -> Object: ...

    def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """As `get`; None where there is no such object."""

    def get_live(self, resource: Resource, namespace: str, name: str) -> Object:
        """Past the caches."""

    def list(
        self, resource: Resource, namespace: str = "", label_selector: str = "", field_selector: str = "", owner_uid: str = ""
    ) -> Objects:
        """`namespace` empty: all. `owner_uid`: the uid in the owner reference with `controller: true`."""

    def list_summaries(
        self, resource: Resource, namespace: str = "", label_selector: str = "", field_selector: str = "", owner_uid: str = ""
    ) -> Summaries:
        """As `list`, cheaper: no JSON is parsed."""

    def create(self, resource: Resource, namespace: str, object: Object) -> Object: ...

    def create_sub(self, resource: Resource, namespace: str, name: str, subresource: str, object: Object) -> Object:
        """Creates a subresource of a named object: `eviction`, `binding`, `token`."""

    def update(self, resource: Resource, namespace: str, name: str, object: Object) -> Object:
        """A `metadata.resourceVersion` in the object must be the current one, else `Conflict`."""

    def update_status(self, resource: Resource, namespace: str, name: str, object: Object) -> Object: ...

    def patch(
        self, resource: Resource, namespace: str, name: str, body: Any, kind: str = "merge", subresource: str = ""
    ) -> Object:
        """`kind`: json, merge, strategic or apply."""

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        uid: str = "",
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
    ) -> None:
        """Refused when `uid` is given and differs."""

    def event(self, resource: Resource, namespace: str, name: str, kind: str, reason: str, message: str) -> None:
        """Records an Event about an object; `kind` is `Normal` or `Warning`."""


class Controller:
    #: What to be told of; the first one is the primary.
    watches: list[Watch] | tuple[Watch, ...] = ()

    def route(self, api: Api, watch: Watch, before: Object | None, after: Object | None) -> list[Key]:
        """The keys that a change of an object of a routed, local or claimed watch concerns; of the objects there is what the watch is
        `reading`."""
        return []

    def reconcile(self, api: Api, key: Key) -> float | timedelta | None:
        """Brings the world nearer to what the key's object asks for. A number: come again after so many seconds, even if nothing changes."""
        raise NotImplementedError


def milliseconds(after: float | timedelta | None) -> int | None:
    """What `reconcile` returned, as the host counts."""
    if after is None:
        return None
    seconds = after.total_seconds() if isinstance(after, timedelta) else float(after)
    return max(round(seconds * 1000), 0)
