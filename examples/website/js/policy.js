// The Website operator: a Website becomes a Deployment, a Service and an Ingress. `../README.md` says what it promises.

import { Terminal, owned, ownerReference } from "pintle/controller";

/** @import { Cluster, Key, KubeObject } from "pintle/controller" */

const WEBSITES = "web.example.com/v1/websites";
const DEPLOYMENTS = "apps/v1/deployments";
const SERVICES = "v1/services";
const INGRESSES = "networking.k8s.io/v1/ingresses";
const CONFIG_MAPS = "v1/configmaps";

const FINALIZER = "web.example.com/host";
const CLAIMS = { namespace: "default", name: "website-hosts" };
/** A host that somebody else has may become free without a word to us. */
const TAKEN_RETRY_SECONDS = 5;

export const watches = [
  WEBSITES,
  { resource: DEPLOYMENTS, relation: owned("Website") },
  { resource: SERVICES, relation: owned("Website") },
  { resource: INGRESSES, relation: owned("Website") },
];

/**
 * @param {Cluster} cluster
 * @param {Key} key
 */
export function reconcile(cluster, { namespace, name }) {
  const site = cluster.get(WEBSITES, namespace, name);
  if (!site) return;
  const finalizers = site.metadata.finalizers ?? [];
  if (site.metadata.deletionTimestamp) {
    if (finalizers.includes(FINALIZER)) {
      release(cluster, site, null);
      setFinalizers(cluster, site, finalizers.filter((/** @type {string} */ f) => f !== FINALIZER));
    }
    return;
  }
  if (!finalizers.includes(FINALIZER)) setFinalizers(cluster, site, [...finalizers, FINALIZER]);
  const holder = claim(cluster, site);
  if (holder !== id(site)) {
    report(cluster, site, 0, { status: "False", reason: "HostTaken", message: `${site.spec.host} belongs to ${holder}` });
    return { afterSeconds: TAKEN_RETRY_SECONDS };
  }
  ensure(cluster, SERVICES, service(site));
  ensure(cluster, INGRESSES, ingress(site));
  const ready = ensure(cluster, DEPLOYMENTS, deployment(site)).status?.readyReplicas ?? 0;
  const wanted = site.spec.replicas;
  const message = `${ready} of ${wanted} replicas are ready`;
  report(cluster, site, ready, ready >= wanted ? { status: "True", reason: "Served", message } : { status: "False", reason: "Starting", message });
}

/** @param {KubeObject} site */
function deployment(site) {
  const { image, port, replicas } = site.spec;
  const labels = { "web.example.com/website": site.metadata.name };
  const container = { name: "site", image, ports: [{ name: "http", containerPort: port }] };
  return child(site, "apps/v1", "Deployment", {
    replicas,
    selector: { matchLabels: labels },
    template: { metadata: { labels }, spec: { containers: [container] } },
  });
}

/** @param {KubeObject} site */
function service(site) {
  const selector = { "web.example.com/website": site.metadata.name };
  return child(site, "v1", "Service", { selector, ports: [{ name: "http", port: 80, targetPort: "http" }] });
}

/** @param {KubeObject} site */
function ingress(site) {
  const backend = { service: { name: site.metadata.name, port: { name: "http" } } };
  const rule = { host: site.spec.host, http: { paths: [{ path: "/", pathType: "Prefix", backend }] } };
  return child(site, "networking.k8s.io/v1", "Ingress", { rules: [rule] });
}

/**
 * @param {KubeObject} site
 * @param {string} apiVersion
 * @param {string} kind
 * @param {KubeObject} spec
 */
function child(site, apiVersion, kind, spec) {
  const { namespace, name } = site.metadata;
  return { apiVersion, kind, metadata: { namespace, name, ownerReferences: [ownerReference(site)] }, spec };
}

/**
 * Applies what is wanted, unless it is there. An object of that name that is not the site's is left alone.
 * @param {Cluster} cluster
 * @param {string} resource
 * @param {KubeObject} wanted
 */
function ensure(cluster, resource, wanted) {
  const { namespace, name, ownerReferences } = wanted.metadata;
  const found = cluster.get(resource, namespace, name);
  if (found && !found.metadata.ownerReferences?.some((/** @type {KubeObject} */ owner) => owner.uid === ownerReferences[0].uid)) {
    throw new Terminal(`${wanted.kind} ${namespace}/${name} is there and is not this Website's`);
  }
  return found && contains(found, wanted) ? found : cluster.apply(resource, wanted);
}

/**
 * Whether everything that is wanted is there; what the server or others added does not count.
 * @param {any} found
 * @param {any} wanted
 * @returns {boolean}
 */
function contains(found, wanted) {
  if (typeof wanted !== "object" || wanted === null) return found === wanted;
  if (typeof found !== "object" || found === null) return false;
  if (Array.isArray(wanted) && found.length !== wanted.length) return false;
  return Object.keys(wanted).every((key) => contains(found[key], wanted[key]));
}

/**
 * Who has the site's host, after this call: the site itself where it was free. Hosts that the site had before are given back.
 * @param {Cluster} cluster
 * @param {KubeObject} site
 */
function claim(cluster, site) {
  const claims = cluster.getLive(CONFIG_MAPS, CLAIMS.namespace, CLAIMS.name);
  const { host } = site.spec;
  const holder = claims?.data?.[host];
  if (holder !== undefined && holder !== id(site)) return holder;
  if (holder === undefined) {
    const data = { ...claims?.data, [host]: id(site) };
    if (claims) cluster.update(CONFIG_MAPS, { ...claims, data });
    else cluster.create(CONFIG_MAPS, { apiVersion: "v1", kind: "ConfigMap", metadata: CLAIMS, data });
    cluster.event(WEBSITES, site, "Normal", "HostClaimed", `${host} is this Website's`);
  }
  release(cluster, site, host);
  return id(site);
}

/**
 * @param {Cluster} cluster
 * @param {KubeObject} site
 * @param {string | null} kept
 */
function release(cluster, site, kept) {
  const claims = cluster.getLive(CONFIG_MAPS, CLAIMS.namespace, CLAIMS.name);
  const entries = Object.entries(claims?.data ?? {});
  const left = entries.filter(([host, holder]) => holder !== id(site) || host === kept);
  if (claims && left.length < entries.length) cluster.update(CONFIG_MAPS, { ...claims, data: Object.fromEntries(left) });
}

/**
 * @param {Cluster} cluster
 * @param {KubeObject} site
 * @param {string[]} finalizers
 */
function setFinalizers(cluster, site, finalizers) {
  const { namespace, name, resourceVersion } = site.metadata;
  cluster.patch(WEBSITES, namespace, name, { metadata: { finalizers, resourceVersion } });
}

/**
 * @param {Cluster} cluster
 * @param {KubeObject} site
 * @param {number} readyReplicas
 * @param {{ status: string, reason: string, message: string }} ready
 */
function report(cluster, site, readyReplicas, ready) {
  const before = site.status?.conditions?.find((/** @type {KubeObject} */ condition) => condition.type === "Ready");
  const lastTransitionTime = before?.status === ready.status ? before.lastTransitionTime : new Date().toISOString().replace(/\.\d+/, "");
  const status = {
    observedGeneration: site.metadata.generation,
    readyReplicas,
    url: `http://${site.spec.host}/`,
    conditions: [{ type: "Ready", ...ready, lastTransitionTime }],
  };
  const { namespace, name } = site.metadata;
  if (!contains(site.status, status)) cluster.patch(WEBSITES, namespace, name, { status }, { subresource: "status" });
}

/** @param {KubeObject} site */
function id({ metadata: { namespace, name } }) {
  return `${namespace}/${name}`;
}
