"""The server's OpenAPI, narrowed so that requests get past the front door.

The document says "a string" where only some strings lead anywhere: names that exist, options that are taken, a `kind` that is the path's. Requests made
of it as it is are refused for these, and no default, validation or strategy ever sees the rest of the object. So the values of such places are
narrowed here; what is then sent in their stead to provoke refusals (schemathesis' negative mode) stays as wild as ever. Patches, which are "an object"
in the document, get the schema of the kind that they are for.
"""

NAMES = ["a", "b", "default", "example.com"]
PARAMETERS = {
    "name": NAMES,
    "namespace": ["default"],
    "dryRun": ["All"],
    "fieldValidation": ["Strict", "Warn", "Ignore"],
    "fieldManager": ["a", "b"],
    "pretty": ["true", "false"],
    "propagationPolicy": ["Orphan", "Background", "Foreground"],
    "resourceVersionMatch": ["Exact", "NotOlderThan"],
    "resourceVersion": ["0", "1", "100"],
    "labelSelector": ["a=b", "a in (b,c)", "!a", "a!=b"],
    "fieldSelector": ["metadata.name=a", "metadata.namespace!=default", "spec.nodeName=", "status.phase=Running"],
}
# Places that a server fills or keeps: any other value is refused before the object is looked at.
KEPT = ("managedFields", "resourceVersion", "uid", "selfLink", "generateName", "deletionTimestamp", "deletionGracePeriodSeconds")
QUANTITIES = ["0", "1", "-1", "100m", "1.5", "1Gi", "1e3", "9223372036854775807", "1n"]
TIMES = ["2020-01-01T00:00:00Z"]
MICRO_TIMES = ["2020-01-01T00:00:00.000000Z"]
POINTERS = ["", "/metadata", "/metadata/labels", "/metadata/labels/a", "/metadata/name", "/spec", "/spec/replicas", "/status", "/a/-", "/a~1b"]
JSON_PATCH = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"type": "string", "enum": ["add", "remove", "replace", "move", "copy", "test"]},
            "path": {"type": "string", "enum": POINTERS},
            "from": {"type": "string", "enum": POINTERS},
            "value": {},
        },
    },
}
BODIES = ("application/json", "application/yaml")


def narrow(document):
    """Changes `document` in place."""
    for item in document["paths"].values():
        operations = {method: operation for method, operation in item.items() if isinstance(operation, dict)}
        for holder in [item, *operations.values()]:
            for parameter in holder.get("parameters", []):
                if parameter.get("name") in PARAMETERS:
                    parameter["schema"] = {"type": "string", "enum": PARAMETERS[parameter["name"]]}
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {})
            if "*/*" in content:
                whole = content.pop("*/*")
                content.update({media: whole for media in BODIES})
        kept = next((operations[method] for method in ("put", "post") if method in operations), None)
        if "patch" in operations:
            narrow_patch(operations["patch"]["requestBody"]["content"], kept)
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        narrow_schema(name, schema)


def narrow_patch(content, kept):
    for media in content:
        if media == "application/json-patch+json":
            content[media]["schema"] = JSON_PATCH
        elif kept:
            content[media]["schema"] = kept["requestBody"]["content"][BODIES[0]]["schema"]


def narrow_schema(name, schema):
    kinds = schema.get("x-kubernetes-group-version-kind", [])
    properties = schema.get("properties", {})
    if kinds and "kind" in properties:
        kind = kinds[0]
        version = "/".join(part for part in (kind["group"], kind["version"]) if part)
        properties["apiVersion"] = {"type": "string", "enum": [version]}
        properties["kind"] = {"type": "string", "enum": [kind["kind"]]}
        schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind", *({"metadata"} & properties.keys())})
    if name.endswith(".ObjectMeta"):
        for place in KEPT:
            properties.pop(place, None)
        properties["name"] = {"type": "string", "enum": NAMES}
        properties["namespace"] = {"type": "string", "enum": ["default"]}
        schema["required"] = ["name"]
    for suffix, values in ((".Quantity", QUANTITIES), (".MicroTime", MICRO_TIMES), (".Time", TIMES)):
        if name.endswith(suffix):
            schema.clear()
            schema.update({"type": "string", "enum": values})
