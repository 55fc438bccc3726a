// A scheduler that brings pods to their data.
//
// A pod names the datasets that it reads in the annotation `data.example.com/reads`, with commas between. A node says which it holds in
// the annotation `data.example.com/holds`, in the same way, or by a label `holds.data.example.com/NAME`. Among nodes that hold the same
// share of a pod's data the emptier one wins. A pod may insist: `data.example.com/required: "true"` keeps it off nodes that lack any.

/** @import { Node, Pod } from "pintle/scheduler" */

const READS = "data.example.com/reads";
const HOLDS = "data.example.com/holds";
const HOLDS_LABEL = "holds.data.example.com/";
const REQUIRED = "data.example.com/required";
/** Of 100; room decides the rest. */
const WEIGHT_OF_DATA = 80;

/**
 * Of thousands of nodes a few hold the data: a sample would miss them.
 * @param {Pod} pod
 */
export function everyNode(pod) {
  return names(pod.annotations[READS]).length > 0;
}

/**
 * @param {Pod} pod
 * @param {Node} node
 */
export function filter(pod, node) {
  if (pod.annotations[REQUIRED] === "true" && shareHeld(pod, node) < 1) return "node(s) lacked data that the pod requires";
}

/**
 * @param {Pod} pod
 * @param {Node} node
 */
export function score(pod, node) {
  return WEIGHT_OF_DATA * shareHeld(pod, node) + (100 - WEIGHT_OF_DATA) * shareFree(node);
}

/**
 * @param {Pod} pod
 * @param {Node} node
 */
function shareHeld(pod, node) {
  const wanted = names(pod.annotations[READS]);
  if (wanted.length === 0) return 1;
  const held = names(node.annotations[HOLDS]);
  return wanted.filter((name) => held.includes(name) || node.labels[HOLDS_LABEL + name] !== undefined).length / wanted.length;
}

/** @param {Node} node */
function shareFree({ allocatable, requested, pods, maxPods }) {
  const shares = [
    [requested.milliCpu, allocatable.milliCpu],
    [requested.memory, allocatable.memory],
    [pods.length, maxPods],
  ];
  return Math.min(...shares.map(([used, all]) => (all > 0 ? Math.max(0, 1 - used / all) : 0)));
}

/** @param {string | undefined} list */
function names(list) {
  return (list ?? "").split(",").map((name) => name.trim()).filter((name) => name !== "");
}
