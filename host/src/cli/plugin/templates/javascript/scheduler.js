// A scheduler for pintle: among the nodes that can run a pod, the one with the fewest pods wins.
//
// The SDK knows the cluster and has done upstream's filters (resources, taints, affinity, ports, topology spread, ...) before it asks
// here. Both functions are called for many nodes: keep them quick.

/** @import { Node, Pod } from "pintle/scheduler" */

/**
 * Why the pod must not run on the node, in words for its owner; nothing when it may.
 * @param {Pod} pod
 * @param {Node} node
 * @returns {string | undefined}
 */
export function filter(pod, node) {
  if (node.labels["{{name}}/keep-out"] === pod.namespace) return "node(s) were kept from the namespace";
}

/**
 * From 0 to 100, higher is better.
 * @param {Pod} pod
 * @param {Node} node
 */
export function score(pod, node) {
  return 100 - Math.min(node.pods.length, 100);
}
