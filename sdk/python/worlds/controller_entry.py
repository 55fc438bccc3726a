"""The component's entry for the controller world: componentize-py calls `WitWorld`, which drives the project's `policy.Policy`.

Turns the WIT's records into the SDK's types and back. Runs only in a component: `wit_world` is generated when one is built.
"""

import functools
import json

from componentize_py_types import Err
from wit_world.imports import objects, pintle_controller_types as wit, pintle_host_types as host

import host_env
from pintle import controller as sdk
from policy import Policy

RELATIONS = {
    "primary": lambda watch: wit.Relation_Primary(),
    "owned": lambda watch: wit.Relation_Owned(watch.owner),
    "claimed": lambda watch: wit.Relation_Claimed(watch.owner),
    "routed": lambda watch: wit.Relation_Routed(),
    "local": lambda watch: wit.Relation_Local(),
    "indexed": lambda watch: wit.Relation_Indexed(),
}
ERRORS = {
    wit.ApiError_NotFound: sdk.NotFound,
    wit.ApiError_AlreadyExists: sdk.AlreadyExists,
    wit.ApiError_Conflict: sdk.Conflict,
    wit.ApiError_Forbidden: sdk.Forbidden,
    wit.ApiError_Invalid: sdk.Invalid,
    wit.ApiError_TooManyRequests: sdk.TooManyRequests,
    wit.ApiError_Unavailable: sdk.Unavailable,
    wit.ApiError_Other: sdk.ApiError,
}
PATCHES = {
    "json": objects.PatchType.JSON,
    "merge": objects.PatchType.MERGE,
    "strategic": objects.PatchType.STRATEGIC,
    "apply": objects.PatchType.APPLY,
}


class WitWorld:
    @host_env.told
    def watches(self):
        return [
            wit.Watch(identify(w.resource), RELATIONS[w.relation](w), w.label_selector, w.field_selector, w.paths())
            for w in policy().watches
        ]

    @host_env.told
    def route(self, index, before, after):
        keys = policy().route(API, policy().watches[index], parsed(before), parsed(after))
        return [wit.Key(k.namespace, k.name) for k in keys]

    @host_env.told
    def reconcile(self, key):
        try:
            return sdk.milliseconds(policy().reconcile(API, sdk.Key(key.namespace, key.name)))
        except (sdk.Terminal, sdk.Invalid) as error:
            raise Err(wit.Failure_Terminal(str(error))) from None
        except (sdk.Retry, sdk.ApiError) as error:
            raise Err(wit.Failure_Retry(str(error))) from None


class Api:
    """`pintle.controller.Api` over the world's imports."""

    def get(self, resource, namespace, name):
        return read(objects.get, identify(resource), namespace, name)

    def find(self, resource, namespace, name):
        try:
            return self.get(resource, namespace, name)
        except sdk.NotFound:
            return None

    def get_live(self, resource, namespace, name):
        return read(objects.get_live, identify(resource), namespace, name)

    def list(self, resource, namespace="", label_selector="", field_selector="", owner_uid=""):
        query = objects.Query(identify(resource), namespace, label_selector, field_selector, owner_uid)
        return [json.loads(o.json) for o in ask(objects.list, query)]

    def list_summaries(self, resource, namespace="", label_selector="", field_selector="", owner_uid=""):
        query = objects.Query(identify(resource), namespace, label_selector, field_selector, owner_uid)
        return [summary(s) for s in ask(objects.list_summaries, query)]

    def create(self, resource, namespace, object):
        name = object.get("metadata", {}).get("name", "")
        return read(objects.create, identify(resource), namespace, name, "", written(object))

    def create_sub(self, resource, namespace, name, subresource, object):
        return read(objects.create, identify(resource), namespace, name, subresource, written(object))

    def update(self, resource, namespace, name, object):
        return read(objects.update, identify(resource), namespace, name, "", written(object))

    def update_status(self, resource, namespace, name, object):
        return read(objects.update, identify(resource), namespace, name, "status", written(object))

    def patch(self, resource, namespace, name, body, kind="merge", subresource=""):
        return read(objects.patch, identify(resource), namespace, name, subresource, PATCHES[kind], written(body))

    def delete(self, resource, namespace, name, uid="", grace_period_seconds=None, propagation_policy=""):
        grace = -1 if grace_period_seconds is None else grace_period_seconds
        ask(objects.delete, identify(resource), namespace, name, objects.DeleteOptions(uid, grace, propagation_policy))

    def event(self, resource, namespace, name, kind, reason, message):
        objects.event(identify(resource), namespace, name, kind, reason, message)


API = Api()


@functools.cache
def policy():
    """Made by the first call, not when the component is built: it may ask the host. `WitWorld` is made anew for each call."""
    return Policy()


def ask(call, *args):
    """Refusals as the SDK's exceptions."""
    try:
        return call(*args)
    except Err as error:
        raise ERRORS[type(error.value)](error.value.value) from None


def read(call, *args):
    return parsed(ask(call, *args).json) or {}


def parsed(text):
    return json.loads(text) if text else None


def written(value):
    return json.dumps(value, separators=(",", ":")).encode()


def identify(resource):
    return host.ResourceId(resource.group, resource.version, resource.name)


def summary(s):
    owner = s.controller and sdk.Owner(s.controller.api_version, s.controller.kind, s.controller.name, s.controller.uid)
    labels = {pair.key: pair.value for pair in s.labels}
    return sdk.Summary(s.namespace, s.name, s.uid, s.revision, labels, owner, s.created, s.deleting, s.phase, s.ready, s.node)
