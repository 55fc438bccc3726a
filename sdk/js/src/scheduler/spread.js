// Topology spread constraints that must hold: how many matching pods each domain has.

import { meets } from "../selector.js";
import { acceptsNode, toleratesAll } from "./filters.js";

const SKEW = [{ filter: "PodTopologySpread", message: "node(s) didn't match pod topology spread constraints", resolvable: true }];
const LABEL = [
  {
    filter: "PodTopologySpread",
    message: "node(s) didn't match pod topology spread constraints (missing required label)",
    resolvable: false,
  },
];

export class Spread {
  /** For each constraint: its skew, matching pods by domain, the least of them, and whether the pod itself counts. */
  #constraints = [];

  constructor(cluster, pod) {
    const hard = pod.spread.filter((constraint) => constraint.whenUnsatisfiable === "do-not-schedule");
    if (hard.length === 0) return;
    const complete = cluster.ordered().filter((node) => hard.every(({ topologyKey }) => node.labels[topologyKey] !== undefined));
    this.#constraints = hard.map((constraint) => {
      const { topologyKey: key, maxSkew, minDomains, selector } = constraint;
      const matches = (other) => selector !== null && meets(selector, other.labels);
      const counts = new Map();
      for (const node of complete.filter((node) => counted(constraint, pod, node))) {
        const here = node.pods.filter((other) => other.namespace === pod.namespace && !other.deleting && matches(other)).length;
        counts.set(node.labels[key], (counts.get(node.labels[key]) ?? 0) + here);
      }
      const tooFew = minDomains !== null && counts.size < minDomains;
      const least = tooFew || counts.size === 0 ? 0 : Math.min(...counts.values());
      return { key, maxSkew, counts, least, itself: matches(pod) ? 1 : 0 };
    });
  }

  fault(node) {
    for (const { key, maxSkew, counts, least, itself } of this.#constraints) {
      const domain = node.labels[key];
      if (domain === undefined) return LABEL;
      if ((counts.get(domain) ?? 0) + itself - least > maxSkew) return SKEW;
    }
    return null;
  }
}

function counted({ honorNodeAffinity, honorNodeTaints }, pod, node) {
  return (!honorNodeAffinity || acceptsNode(pod, node)) && (!honorNodeTaints || toleratesAll(pod, node));
}
