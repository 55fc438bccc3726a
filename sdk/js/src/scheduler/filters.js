// Upstream's filters in upstream's order, with its messages: the first that refuses a node gives the reason.

import { meets } from "../selector.js";
import { Affinity } from "./affinity.js";
import { Spread } from "./spread.js";

const why = (filter, message, resolvable) => [{ filter, message, resolvable }];

const UNSCHEDULABLE = why("NodeUnschedulable", "node(s) were unschedulable", false);
const TAINT = why("TaintToleration", "node(s) had untolerated taint(s)", false);
const AFFINITY = why("NodeAffinity", "node(s) didn't match Pod's node affinity/selector", false);
const PORTS = why("NodePorts", "node(s) didn't have free ports for the requested pod ports", true);
const VOLUME = why("VolumeBinding", "node(s) didn't match PersistentVolume's node affinity", false);

/** What is counted over the whole cluster before single nodes are looked at. */
export class Facts {
  constructor(cluster, pod) {
    this.affinity = new Affinity(cluster, pod);
    this.spread = new Spread(cluster, pod);
  }
}

/** Reasons, or null where the pod fits. */
export function faults(pod, node, facts) {
  if (node.unschedulable && !tolerates(pod, "node.kubernetes.io/unschedulable", "", "no-schedule")) return UNSCHEDULABLE;
  if (!toleratesAll(pod, node)) return TAINT;
  if (!acceptsNode(pod, node)) return AFFINITY;
  if (pod.hostPorts.length > 0 && !portsFree(pod, node)) return PORTS;
  const lacking = lacks(pod, node);
  if (lacking) return lacking;
  if (!pod.volumeNodes.every((terms) => anyTerm(terms, node))) return VOLUME;
  return facts.spread.fault(node) ?? facts.affinity.fault(node);
}

/** `nodeSelector` and required node affinity. */
export function acceptsNode(pod, node) {
  for (const key in pod.nodeSelector) if (node.labels[key] !== pod.nodeSelector[key]) return false;
  return pod.requiredNodes === null || anyTerm(pod.requiredNodes, node);
}

/** Taints that keep pods off: not the ones that merely prefer so. */
export function toleratesAll(pod, node) {
  return node.taints.every((taint) => taint.effect === "prefer-no-schedule" || tolerates(pod, taint.key, taint.value, taint.effect));
}

/** A term without any requirement matches nothing. */
function anyTerm(terms, node) {
  const matches = ({ labels, fields }) =>
    (labels.length > 0 || fields.length > 0) && meets(labels, node.labels) && meets(fields, { "metadata.name": node.name });
  return terms.some(matches);
}

function tolerates(pod, key, value, effect) {
  return pod.tolerations.some(
    (t) =>
      (t.effect === null || t.effect === effect) && (t.key === "" ? t.exists : t.key === key) && (t.exists || t.value === value),
  );
}

function portsFree(pod, node) {
  const wide = (port) => port.ip === "0.0.0.0";
  const clash = (a, b) => a.port === b.port && a.protocol === b.protocol && (a.ip === b.ip || wide(a) || wide(b));
  return !node.pods.some((other) => other.hostPorts.some((taken) => pod.hostPorts.some((port) => clash(port, taken))));
}

/** A resource that is not asked for is not looked at. Lack of several gives several reasons. */
function lacks(pod, node) {
  const { requests } = pod;
  const { allocatable, requested } = node;
  let short = null;
  const lack = (message) => {
    short = [...(short ?? []), { filter: "NodeResourcesFit", message, resolvable: true }];
  };
  if (node.pods.length + 1 > node.maxPods) lack("Too many pods");
  if (requests.milliCpu > 0 && requests.milliCpu > allocatable.milliCpu - requested.milliCpu) lack("Insufficient cpu");
  if (requests.memory > 0 && requests.memory > allocatable.memory - requested.memory) lack("Insufficient memory");
  if (requests.ephemeralStorage > 0 && requests.ephemeralStorage > allocatable.ephemeralStorage - requested.ephemeralStorage) {
    lack("Insufficient ephemeral-storage");
  }
  for (const name in requests.extended) {
    const free = (allocatable.extended[name] ?? 0) - (requested.extended[name] ?? 0);
    if (requests.extended[name] > 0 && requests.extended[name] > free) lack(`Insufficient ${name}`);
  }
  return short;
}
