"""Drives the Python client as a script's author does: see ../README.md for the steps and how a program talks with the test that runs it."""

import json
import sys
import time

import urllib3
from kubernetes import client, config, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.stream import stream
from kubernetes.stream.ws_client import ERROR_CHANNEL

PATIENCE_SECONDS = 60
NAMESPACE = sys.argv[1]
POD = "clients"

config.load_kube_config()
core = client.CoreV1Api()
apps = client.AppsV1Api()


def restart():
    """Asks the test to kill the server and start it again at its address, and returns when that is done."""
    print("restart", flush=True)
    assert sys.stdin.readline()


def equal(what, got, wanted):
    assert got == wanted, f"{what}: {got!r}, wanted {wanted!r}"


def refused(code, reason, call):
    """The Status of a call that must be refused."""
    try:
        call()
    except ApiException as error:
        status = json.loads(error.body)
        equal("code and reason", (error.status, status["code"], status["reason"]), (code, code, reason))
        return status
    raise AssertionError(f"was not refused; wanted {code} {reason}")


def config_map(name, data=None, labels=None):
    metadata = client.V1ObjectMeta(name=name, labels=labels)
    return core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=metadata, data=data))


def paged_list():
    for n in range(25):
        config_map(f"page-{n:02}", labels={"step": "page"})
    names, pages, token = [], 0, None
    while token != "":
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="step=page", limit=10, _continue=token)
        names += [item.metadata.name for item in page.items]
        pages, token = pages + 1, page.metadata._continue or ""
    equal("pages and items", (pages, len(names), names == sorted(names)), (3, 25, True))


def expired_continue():
    page = core.list_namespaced_config_map(NAMESPACE, limit=5)
    equal("the first page", (len(page.items), page.metadata.remaining_item_count > 0), (5, True))
    config_map("written-after-the-page")
    restart()
    status = refused(410, "Expired", lambda: core.list_namespaced_config_map(NAMESPACE, limit=5, _continue=page.metadata._continue))
    rest = core.list_namespaced_config_map(NAMESPACE, _continue=status["metadata"]["continue"])
    whole = core.list_namespaced_config_map(NAMESPACE)
    seen = [item.metadata.name for item in page.items + rest.items]
    equal("both parts", seen, [item.metadata.name for item in whole.items])


def deployment(name):
    container = lambda c: {"name": c, "image": f"{c}:1"}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "annotations": {"keep": "1", "drop": "1"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}},
                 "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container("a"), container("b")]}}},
    }


def patch_json():
    apps.create_namespaced_deployment(NAMESPACE, deployment("json"))
    test = {"op": "test", "path": "/spec/replicas", "value": 2}
    # A list is what makes this client send a JSON patch.
    seen = apps.patch_namespaced_deployment("json", NAMESPACE, [test, {"op": "replace", "path": "/spec/replicas", "value": 3}])
    equal("replicas", seen.spec.replicas, 3)
    refused(422, "Invalid", lambda: apps.patch_namespaced_deployment("json", NAMESPACE, [test]))


def patch_merge():
    dynamic = DynamicClient(client.ApiClient()).resources.get(api_version="apps/v1", kind="Deployment")
    dynamic.create(body=deployment("merge"), namespace=NAMESPACE)
    patch = {"metadata": {"annotations": {"drop": None, "new": "1"}}}
    seen = dynamic.patch(name="merge", namespace=NAMESPACE, body=patch, content_type="application/merge-patch+json")
    equal("annotations", sorted(seen.metadata.annotations.to_dict()), ["keep", "new"])


def patch_strategic():
    apps.create_namespaced_deployment(NAMESPACE, deployment("strategic"))
    containers = [{"name": "a", "image": "a:2"}, {"name": "b", "$patch": "delete"}, {"name": "c", "image": "c:1"}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    seen = apps.patch_namespaced_deployment("strategic", NAMESPACE, patch, _content_type="application/strategic-merge-patch+json")
    equal("images", sorted(c.image for c in seen.spec.template.spec.containers), ["a:2", "c:1"])


def patch_apply():
    dynamic = DynamicClient(client.ApiClient()).resources.get(api_version="apps/v1", kind="Deployment")
    dynamic.server_side_apply(namespace=NAMESPACE, body=deployment("apply"), field_manager="tests")
    less = deployment("apply")
    del less["metadata"]["annotations"], less["spec"]["replicas"], less["spec"]["template"]["spec"]["containers"][1]
    seen = dynamic.server_side_apply(namespace=NAMESPACE, body=less, field_manager="tests")
    equal("containers, replicas", (len(seen.spec.template.spec.containers), seen.spec.replicas), (1, 1))
    equal("annotations", seen.metadata.annotations, None)


def apply_conflict():
    dynamic = DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="ConfigMap")

    def apply(manager, value, **options):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "contested"}, "data": {"x": value, manager: "mine"}}
        return dynamic.server_side_apply(namespace=NAMESPACE, body=body, field_manager=manager, **options)

    apply("one", "1")
    status = refused_dynamic(lambda: apply("two", "2"))
    equal("causes", status["details"]["causes"], [{"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.x"}])
    seen = apply("two", "2", force_conflicts=True)
    equal("data", seen.data.to_dict(), {"x": "2", "one": "mine", "two": "mine"})
    refused_dynamic(lambda: apply("one", "1"))


def refused_dynamic(call):
    """The same for the dynamic client, which wraps its errors."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - its errors share no public base
        equal("code", error.status, 409)
        return json.loads(error.body)
    raise AssertionError("was not refused")


def update_conflict():
    old = config_map("locked", {"n": "0"})
    newer = core.read_namespaced_config_map("locked", NAMESPACE)
    newer.data["n"] = "1"
    core.replace_namespaced_config_map("locked", NAMESPACE, newer)
    status = refused(409, "Conflict", lambda: core.replace_namespaced_config_map("locked", NAMESPACE, old))
    assert "the object has been modified; please apply your changes to the latest version and try again" in status["message"], status
    other = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="other"))
    refused(409, "Conflict", lambda: core.delete_namespaced_config_map("locked", NAMESPACE, body=other))


def watched():
    """List, watch, resume after the last version that was seen, and list again when that is gone: what an author writes around Watch."""
    known, version = {}, None
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            if version is None:
                listed = core.list_namespaced_config_map(NAMESPACE, label_selector="step=watch")
                found = {item.metadata.name: item.metadata.resource_version for item in listed.items}
                events = [("DELETED", name) for name in known.keys() - found.keys()]
                events += [("MODIFIED" if name in known else "ADDED", name) for name in found if known.get(name) != found[name]]
                known, version = found, listed.metadata.resource_version
                yield from events
            following = watch.Watch().stream(
                core.list_namespaced_config_map, NAMESPACE, label_selector="step=watch", resource_version=version, allow_watch_bookmarks=True, timeout_seconds=PATIENCE_SECONDS,
            )
            for event in following:
                metadata = event["object"].metadata
                version = metadata.resource_version
                if event["type"] == "DELETED":
                    known.pop(metadata.name, None)
                elif event["type"] != "BOOKMARK":
                    known[metadata.name] = version
                if event["type"] != "BOOKMARK":
                    yield event["type"], metadata.name
        except ApiException as error:
            if error.status != 410:
                raise
            version = None
        except urllib3.exceptions.HTTPError:
            time.sleep(0.1)  # the server is away
    raise AssertionError(f"no event within {PATIENCE_SECONDS} s")


def watch_over_restart():
    labels = {"step": "watch"}
    config_map("before", labels=labels)
    events = watched()
    equal("the list", next(events), ("ADDED", "before"))
    config_map("second", labels=labels)
    equal("before the restart", next(events), ("ADDED", "second"))
    restart()
    core.delete_namespaced_config_map("before", NAMESPACE)
    equal("after the restart", next(events), ("DELETED", "before"))
    config_map("after", labels=labels)
    equal("after the restart", next(events), ("ADDED", "after"))
    core.patch_namespaced_config_map("second", NAMESPACE, {"data": {"x": "1"}})
    equal("after the restart", next(events), ("MODIFIED", "second"))


def custom_kind():
    """What the client's own helper and its dynamic client do with a kind that it was not generated for."""
    group = "python.clients.pintle.dev"
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"words": {"type": "string", "default": "good day"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "greetings", "singular": "greeting", "kind": "Greeting", "listKind": "GreetingList"}
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"greetings.{group}"},
                  "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}}
    utils.create_from_dict(client.ApiClient(), definition)
    for event in watch.Watch().stream(client.ApiextensionsV1Api().list_custom_resource_definition, field_selector=f"metadata.name=greetings.{group}", timeout_seconds=PATIENCE_SECONDS):
        if any(c.type == "Established" and c.status == "True" for c in event["object"].status.conditions or []):
            break
    custom = client.CustomObjectsApi()
    body = {"apiVersion": f"{group}/v1", "kind": "Greeting", "metadata": {"name": "hello"}, "spec": {}}
    made = custom.create_namespaced_custom_object(group, "v1", NAMESPACE, "greetings", body)
    equal("the default", made["spec"], {"words": "good day"})
    listed = DynamicClient(client.ApiClient()).resources.get(api_version=f"{group}/v1", kind="Greeting").get(namespace=NAMESPACE)
    equal("found by discovery", [item.metadata.name for item in listed.items], ["hello"])


def run(command, **options):
    opened = stream(core.connect_get_namespaced_pod_exec, POD, NAMESPACE, command=command, stdout=True, stderr=True, _preload_content=False, **options)
    return opened


def exec_in_pod():
    opened = run(["sh", "-c", "echo out; echo err >&2"])
    opened.run_forever(timeout=PATIENCE_SECONDS)
    equal("streams", (opened.read_stdout(), opened.read_stderr(), opened.returncode), ("out\n", "err\n", 0))
    opened = run(["cat"], stdin=True)
    opened.write_stdin("several\nlines\n")
    seen = ""
    end = time.monotonic() + PATIENCE_SECONDS
    while seen != "several\nlines\n" and time.monotonic() < end:
        opened.update(timeout=1)
        seen += opened.read_stdout() if opened.peek_stdout() else ""
    equal("standard input", seen, "several\nlines\n")
    opened.close()
    opened = run(["sh", "-c", "exit 7"])
    opened.run_forever(timeout=PATIENCE_SECONDS)
    status = json.loads(opened.read_channel(ERROR_CHANNEL))
    equal("the status", (status["status"], status["reason"]), ("Failure", "NonZeroExitCode"))
    equal("the exit code", status["details"]["causes"], [{"reason": "ExitCode", "message": "7"}])


STEPS = {
    "paged-list": paged_list, "expired-continue": expired_continue, "patch-json": patch_json, "patch-merge": patch_merge, "patch-strategic": patch_strategic,
    "patch-apply": patch_apply, "apply-conflict": apply_conflict, "update-conflict": update_conflict, "watch-over-restart": watch_over_restart,
    "custom-kind": custom_kind, "exec": exec_in_pod,
}

for step in sys.argv[2:]:
    STEPS[step]()
    print("done", step, flush=True)
