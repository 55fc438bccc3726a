// A controller for pintle: it writes on each ConfigMap how many keys it has, as the label `{{name}}/keys`.
//
// `watches` says which objects there is work for, `reconcile` does the work for one of them: it looks at what is, compares it with
// what should be, and changes the difference. It is called again after every change, and after a failure with back-off, so it must
// be right when nothing is left to do. What it may read and write stands in `plugin.json`.

/** @import { Cluster, Key } from "pintle/controller" */

const CONFIG_MAPS = "v1/configmaps";
const LABEL = "{{name}}/keys";

export const watches = [CONFIG_MAPS];

/**
 * @param {Cluster} cluster
 * @param {Key} key
 */
export function reconcile(cluster, { namespace, name }) {
  const object = cluster.get(CONFIG_MAPS, namespace, name);
  if (!object) return;
  const keys = String(Object.keys(object.data ?? {}).length);
  if (object.metadata.labels?.[LABEL] === keys) return;
  cluster.patch(CONFIG_MAPS, namespace, name, { metadata: { labels: { [LABEL]: keys } } });
  console.log(`${namespace}/${name} has ${keys} keys`);
}
