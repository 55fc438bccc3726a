"""A controller for pintle: it writes on each ConfigMap how many keys it has, as the label `{{name}}/keys`.

`watches` says which objects there is work for, `reconcile` does the work for one of them: it looks at what is, compares it with what
should be, and changes the difference. It is called again after every change, and after a failure with back-off, so it must be right
when nothing is left to do. What it may read and write stands in `plugin.json`.
"""

from pintle import env
from pintle.controller import Api, Controller, Key, Resource, Watch

CONFIG_MAPS = Resource("", "v1", "configmaps")
LABEL = "{{name}}/keys"


class Policy(Controller):
    watches = [Watch(CONFIG_MAPS)]

    def reconcile(self, api: Api, key: Key) -> None:
        found = api.find(CONFIG_MAPS, key.namespace, key.name)
        if found is None:
            return
        keys = str(len(found.get("data") or {}))
        if (found["metadata"].get("labels") or {}).get(LABEL) == keys:
            return
        api.patch(CONFIG_MAPS, key.namespace, key.name, {"metadata": {"labels": {LABEL: keys}}})
        env.info(f"{key.namespace}/{key.name} has {keys} keys")
