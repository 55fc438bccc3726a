"""A cluster in memory for tests of controllers: objects in, actions out.

It keeps objects and counts revisions, answers conflicts and owner look-ups as the host does, and writes down what was done. It has no
defaults, no validation and no other controllers: what a test does not put in is not there. Authors import it from `pintle.testing`.
"""

from __future__ import annotations

import copy
import json
from datetime import datetime, timezone
from typing import Any

from . import env
from .controller import (
    AlreadyExists, ApiError, Conflict, Controller, Invalid, Key, NotFound, Object, Owner, Resource, Summary, Watch, milliseconds,
)
from .selector import Selector

START = 1_700_000_000


class FakeCluster:
    """Implements `pintle.controller.Api`, and the host behind `pintle.env`."""

    def __init__(self, config: str = ""):
        self.objects: dict[tuple[Resource, str, str], Object] = {}
        #: What was done, one line a write or event.
        self.actions: list[str] = []
        self.log_lines: list[tuple[str, str]] = []
        self.config_text = config
        self.seconds = START
        self._revision = 0
        self._drawn = 0
        self._refusals: list[tuple[str, ApiError]] = []
        env.use(self)

    # What a test does.

    def add(self, resource: Resource, object: Object) -> Object:
        """Puts an object in as the API server would hold it, with a uid and a revision. Nothing is noted."""
        object = copy.deepcopy(object)
        metadata = object.setdefault("metadata", {})
        metadata.setdefault("uid", f"uid-{metadata['name']}")
        metadata.setdefault("creationTimestamp", self.now_rfc3339())
        return self._store((resource, metadata.get("namespace") or "", metadata["name"]), object)

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        self.objects.pop((resource, namespace, name), None)

    def all(self, resource: Resource) -> list[Object]:
        return [copy.deepcopy(o) for (kind, _, _), o in sorted(self.objects.items(), key=lambda i: i[0][1:]) if kind == resource]

    def refuse(self, action: str, error: ApiError) -> None:
        """The next write of that kind, such as `create pods`, fails so."""
        self._refusals.append((action, error))

    def take_actions(self) -> list[str]:
        """What was done since the last call."""
        taken, self.actions = self.actions, []
        return taken

    def pass_seconds(self, seconds: float) -> None:
        self.seconds += seconds

    def now_rfc3339(self) -> str:
        return datetime.fromtimestamp(self.seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    def reconcile(self, policy: Controller, namespace: str, name: str) -> float | None:
        """Reconciles a key once; the seconds after which it shall come again."""
        after = milliseconds(policy.reconcile(self, Key(namespace, name)))
        return None if after is None else after / 1000

    def route(self, policy: Controller, watch: Watch, before: Object | None, after: Object | None) -> list[Key]:
        """The keys of a change of an object, as the host would have them: it passes on what the watch is `reading`, and does not ask where
        that stays the same, nor, where the watch is `local`, in a namespace without a primary object. Fails where all of the object leads to
        other keys: then it reads less than `route` looks at; and where a `local` watch has keys of another namespace."""
        namespace = (after or before or {}).get("metadata", {}).get("namespace", "")
        if watch.relation == "local" and not self._has_primary(policy, namespace):
            return []
        paths = watch.paths()
        if not paths:
            return self._routed(policy, watch, namespace, before, after)
        was, now = (None if object is None else part(object, paths) for object in (before, after))
        changes_hands = watch.relation == "claimed" and _is_controlled(before) != _is_controlled(after)
        if was == now and not changes_hands:
            return []
        keys = self._routed(policy, watch, namespace, was, now)
        assert policy.route(self, watch, before, after) == keys, f"the watch of {watch.resource.name} is reading less than route looks at"
        return keys

    def _has_primary(self, policy: Controller, namespace: str) -> bool:
        """Those of the whole cluster are in every namespace."""
        primary = policy.watches[0].resource
        return any(resource == primary and place in (namespace, "") for resource, place, _ in self.objects)

    def _routed(self, policy: Controller, watch: Watch, namespace: str, before: Object | None, after: Object | None) -> list[Key]:
        keys = policy.route(self, watch, before, after)
        strays = watch.relation == "local" and any(key.namespace != namespace for key in keys)
        assert not strays, f"the watch of {watch.resource.name} is local, and route leads to another namespace"
        return keys

    # pintle.env

    def now(self) -> int:
        return int(self.seconds * 10**9)

    def random(self, count: int) -> bytes:
        self._drawn += 1
        return bytes((self._drawn * 31 + place * 7) % 256 for place in range(count))

    def log(self, level: str, message: str) -> None:
        self.log_lines.append((level, message))

    def config(self) -> str:
        return self.config_text

    # pintle.controller.Api

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        found = self.objects.get((resource, namespace, name))
        if found is None:
            raise NotFound(f'{resource.name} "{name}" not found')
        return copy.deepcopy(found)

    get_live = get

    def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return copy.deepcopy(self.objects.get((resource, namespace, name)))

    def list(self, resource: Resource, namespace: str = "", label_selector: str = "", field_selector: str = "", owner_uid: str = ""):
        selector = Selector.parse(label_selector)
        if selector is None:
            raise Invalid("unable to parse the selector")
        found = []
        for object in self.all(resource):
            metadata = object["metadata"]
            owner = controller_of(object)
            if namespace and metadata.get("namespace") != namespace:
                continue
            if owner_uid and (owner is None or owner.uid != owner_uid):
                continue
            if selector.matches(metadata.get("labels")) and _fields_match(object, field_selector):
                found.append(object)
        return found

    def list_summaries(self, resource: Resource, namespace: str = "", label_selector: str = "", field_selector: str = "", owner_uid: str = ""):
        return [summary(o) for o in self.list(resource, namespace, label_selector, field_selector, owner_uid)]

    def create(self, resource: Resource, namespace: str, object: Object) -> Object:
        object = json.loads(json.dumps(object))
        metadata = object.setdefault("metadata", {})
        if not metadata.get("name"):
            metadata["name"] = f"{metadata.get('generateName', '')}{self._revision + 1}"
        if namespace:
            metadata["namespace"] = namespace
        place = (resource, namespace, metadata["name"])
        if place in self.objects:
            raise AlreadyExists(f'{resource.name} "{metadata["name"]}" already exists')
        self._note("create", resource, f"{namespace}/{metadata['name']}")
        metadata.pop("uid", None)
        return copy.deepcopy(self.add(resource, object))

    def create_sub(self, resource: Resource, namespace: str, name: str, subresource: str, object: Object) -> Object:
        self._note(f"create {subresource} of", resource, f"{namespace}/{name}")
        if subresource == "eviction":
            self.remove(resource, namespace, name)
        return {}

    def update(self, resource: Resource, namespace: str, name: str, object: Object) -> Object:
        return self._write("update", resource, namespace, name, lambda current: json.loads(json.dumps(object)), object)

    def update_status(self, resource: Resource, namespace: str, name: str, object: Object) -> Object:
        status = json.loads(json.dumps(object.get("status")))
        return self._write("status", resource, namespace, name, lambda current: {**current, "status": status}, object)

    def patch(self, resource: Resource, namespace: str, name: str, body: Any, kind: str = "merge", subresource: str = "") -> Object:
        """Merge semantics for every kind but `json`, which is not known here: enough for what controllers send. An apply makes what is not there."""
        if kind == "json":
            raise NotImplementedError("FakeCluster knows no JSON patches")
        verb = f"patch {subresource} of" if subresource else "patch"
        made = kind == "apply" and not subresource and (resource, namespace, name) not in self.objects
        place = {"name": name, "namespace": namespace} if namespace else {"name": name}
        current: Object = {"metadata": place} if made else self.get(resource, namespace, name)
        uid = ((body or {}).get("metadata") or {}).get("uid")
        if uid is not None and uid != current["metadata"].get("uid"):
            raise Conflict("the uid differs")
        self._note(verb, resource, f"{namespace}/{name} {json.dumps(body, separators=(',', ':'))}")
        changed = merge(current, json.loads(json.dumps(body)))
        return copy.deepcopy(self.add(resource, changed) if made else self._store((resource, namespace, name), changed))

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        uid: str = "",
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
    ) -> None:
        current = self.get(resource, namespace, name)
        if uid and current["metadata"]["uid"] != uid:
            raise Conflict("the uid differs")
        self._note("delete", resource, f"{namespace}/{name}")
        if current["metadata"].get("finalizers"):
            current["metadata"]["deletionTimestamp"] = self.now_rfc3339()
            self._store((resource, namespace, name), current)
        else:
            self.remove(resource, namespace, name)

    def event(self, resource: Resource, namespace: str, name: str, kind: str, reason: str, message: str) -> None:
        self.actions.append(f"event {name} {kind} {reason}: {message}")

    def _note(self, verb: str, resource: Resource, rest: str) -> None:
        action = f"{verb} {resource.name}"
        for place, (refused, error) in enumerate(self._refusals):
            if refused == action:
                del self._refusals[place]
                raise error
        self.actions.append(f"{action} {rest}")

    def _write(self, verb: str, resource: Resource, namespace: str, name: str, change, sent: Object) -> Object:
        current = self.get(resource, namespace, name)
        revision = (sent.get("metadata") or {}).get("resourceVersion")
        if revision and revision != current["metadata"]["resourceVersion"]:
            raise Conflict(f'{resource.name} "{name}" has been modified')
        self._note(verb, resource, f"{namespace}/{name}")
        return copy.deepcopy(self._store((resource, namespace, name), change(current)))

    def _store(self, place: tuple[Resource, str, str], object: Object) -> Object:
        self._revision += 1
        metadata = object["metadata"]
        metadata["resourceVersion"] = str(self._revision)
        # Deleted, and no finalizer keeps it.
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self.objects.pop(place, None)
        else:
            self.objects[place] = object
        return object


def part(value: Any, paths: list[list[str]]) -> Any:
    """What the paths lead to, with the way there: objects without their other members, and each element of a list. An object in which the
    way ends without leading anywhere is left out, unless it is such an element."""
    if [] in paths:
        return value
    if isinstance(value, list):
        return [part(element, paths) for element in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, member in value.items():
        behind = [path[1:] for path in paths if path[0] == name]
        found = part(member, behind) if behind else {}
        if found != {} or [] in behind:
            kept[name] = found
    return kept


def _is_controlled(object: Object | None) -> bool:
    return object is not None and controller_of(object) is not None


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def controller_of(object: Object) -> Owner | None:
    """The owner reference with `controller: true`."""
    for owner in object["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            return Owner(owner.get("apiVersion", ""), owner.get("kind", ""), owner.get("name", ""), owner.get("uid", ""))
    return None


def summary(object: Object) -> Summary:
    metadata, spec, status = object["metadata"], object.get("spec") or {}, object.get("status") or {}
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or [])
    created = datetime.strptime(metadata["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return Summary(
        metadata.get("namespace") or "",
        metadata["name"],
        metadata["uid"],
        int(metadata["resourceVersion"]),
        dict(metadata.get("labels") or {}),
        controller_of(object),
        int(created.timestamp()),
        bool(metadata.get("deletionTimestamp")),
        status.get("phase") or "",
        ready,
        spec.get("nodeName") or "",
    )


def _fields_match(object: Object, selector: str) -> bool:
    """Terms such as `spec.nodeName=a`, all of which must hold."""
    for term in filter(None, selector.split(",")):
        path, _, wanted = term.partition("=")
        found: Any = object
        for part in path.split("."):
            found = (found or {}).get(part)
        if (found or "") != wanted:
            return False
    return True
