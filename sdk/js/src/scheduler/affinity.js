// Required pod affinity and anti-affinity: which topology domains are wanted or refused, counted once for a decision.

import { meets } from "../selector.js";

const why = (message, resolvable) => [{ filter: "InterPodAffinity", message, resolvable }];
const AFFINITY = why("node(s) didn't match pod affinity rules", false);
const ANTI_AFFINITY = why("node(s) didn't match pod anti-affinity rules", true);
const EXISTING = why("node(s) didn't satisfy existing pods anti-affinity rules", true);

export class Affinity {
  /** Domains that placed pods' anti-affinity refuses to this pod: sets of values by topology key. */
  #refused = new Map();
  #wanted;
  #avoided;
  /** No placed pod matches, and the pod matches its own terms: the first of its group may go anywhere. */
  #first = false;

  constructor(cluster, pod) {
    this.#wanted = pod.requiredAffinity.map((term) => ({ key: term.topologyKey, domains: new Set() }));
    this.#avoided = pod.requiredAntiAffinity.map((term) => ({ key: term.topologyKey, domains: new Set() }));
    for (const entry of cluster.avoiding) {
      for (const term of entry.pod.requiredAntiAffinity) {
        if (means(cluster, term, pod)) this.#refuse(term.topologyKey, domain(cluster, entry, term.topologyKey));
      }
    }
    if (pod.requiredAffinity.length > 0 || pod.requiredAntiAffinity.length > 0) {
      for (const entry of cluster.placed.values()) this.#count(cluster, pod, entry);
    }
    this.#first = this.#wanted.every(({ domains }) => domains.size === 0) && pod.requiredAffinity.every((term) => means(cluster, term, pod));
  }

  fault(node) {
    if (!this.#hasWanted(node)) return AFFINITY;
    if (this.#avoided.some(({ key, domains }) => domains.has(node.labels[key]))) return ANTI_AFFINITY;
    for (const [key, domains] of this.#refused) if (domains.has(node.labels[key])) return EXISTING;
    return null;
  }

  #hasWanted(node) {
    if (this.#wanted.some(({ key }) => node.labels[key] === undefined)) return false;
    return this.#first || this.#wanted.every(({ key, domains }) => domains.has(node.labels[key]));
  }

  #count(cluster, pod, entry) {
    const matches = (term) => means(cluster, term, entry.pod);
    if (pod.requiredAffinity.length > 0 && pod.requiredAffinity.every(matches)) {
      this.#wanted.forEach(({ key, domains }) => note(domains, domain(cluster, entry, key)));
    }
    pod.requiredAntiAffinity.forEach((term, at) => {
      if (matches(term)) note(this.#avoided[at].domains, domain(cluster, entry, term.topologyKey));
    });
  }

  #refuse(key, value) {
    if (!this.#refused.has(key)) this.#refused.set(key, new Set());
    note(this.#refused.get(key), value);
  }
}

function note(domains, value) {
  if (value !== undefined) domains.add(value);
}

function domain(cluster, entry, key) {
  return cluster.nodes.get(entry.node)?.labels[key];
}

/** Whether the term speaks of the pod. */
function means(cluster, term, pod) {
  const inNamespace =
    term.namespaces.includes(pod.namespace) ||
    (term.namespaceSelector !== null && meets(term.namespaceSelector, cluster.namespaces.get(pod.namespace) ?? {}));
  return inNamespace && term.selector !== null && meets(term.selector, pod.labels);
}
