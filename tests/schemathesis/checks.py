"""What schemathesis looks for in each answer; `run.py` names this file to it.

No answer is a 5xx, but for those that upstream gives with the same words: each is told to `run.py` by a line in a file. And an answer has the form that
clients read: a refusal is a Status whose code is the answer's, with a reason or a message; anything else is an object of the kind that the document
names for the operation, its list, a Status, or one of the forms that a client can ask for.
"""

import re

import schemathesis
import yaml

TOLD = "allowed-5xx.txt"
# Refusals that upstream makes with a plain error, which its server turns into a 500 (the goldens of validation have such cases), and what a server
# says of the plugins that it was started without.
ALLOWED = re.compile(
    r"^(failed to create typed patch object"
    r"|map: .* does not contain declared merge key"
    r"|strconv\.ParseUint: parsing "
    r"|resource name may not be empty$"
    r"|\[?target\.(name: Required value|kind: Unsupported value)"
    r"|Internal error occurred: failed to allocate requested HealthCheck NodePort"
    r"|Timeout: Too large resource version"
    r"|no plugins run in this server$)"
)

# What is asked for by `Accept`, whatever the operation's kind is.
FORMS = {"Table", "PartialObjectMetadata", "PartialObjectMetadataList"}
PROTOBUF = "application/vnd.kubernetes.protobuf"
# Documents about the API, not objects of it.
DISCOVERY = {"APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "APIGroupDiscoveryList"}


@schemathesis.check
def is_no_fault(ctx, response, case):
    if response.status_code < 500:
        return
    try:
        message = response.json()["message"]
    except (ValueError, KeyError, TypeError):
        message = ""
    assert ALLOWED.match(message), f"{response.status_code}: {response.content[:500]!r}"
    with open(TOLD, "a") as told:
        told.write(message.replace("\n", " ") + "\n")


@schemathesis.check
def has_the_form_that_clients_read(ctx, response, case):
    media = (response.headers.get("content-type") or [""])[0].split(";")[0]
    if media == PROTOBUF:
        return
    # Upstream's text too: no handler has this path.
    if response.status_code == 404 and media == "text/plain":
        return
    # Keys of tokens and their discovery have forms of their own (RFC 7517, OpenID Connect).
    if case.path.startswith(("/openid/", "/.well-known/")) and response.status_code < 400:
        return
    assert media in ("application/json", "application/yaml"), f"{response.status_code} with {media!r}: {response.content[:200]!r}"
    body = yaml.safe_load(response.content) if media == "application/yaml" else response.json()
    assert isinstance(body, dict), f"no object: {body!r:.200}"
    kind = body.get("kind")
    if response.status_code >= 400:
        told = {name: body.get(name) for name in ("apiVersion", "kind", "status", "code", "reason", "message")}
        assert (kind, told["apiVersion"], told["status"], told["code"]) == ("Status", "v1", "Failure", response.status_code), f"{told}"
        assert told["reason"] or told["message"], f"says nothing: {told}"
        return
    named = case.operation.definition.raw.get("x-kubernetes-group-version-kind")
    if not named:
        assert kind in DISCOVERY or "swagger" in body or "openapi" in body or "gitVersion" in body, f"kind {kind!r}"
        return
    allowed = {named["kind"], named["kind"] + "List", "Status"} | FORMS
    assert kind in allowed, f"kind {kind!r}, not one of {sorted(allowed)}"
    version = "/".join(part for part in (named["group"], named["version"]) if part)
    assert body.get("apiVersion") == version or kind in FORMS | {"Status"}, f"apiVersion {body.get('apiVersion')!r} of {kind}, not {version!r}"
