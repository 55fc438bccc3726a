// A small cluster for a scheduling policy: nodes and pods in, the chosen node's name or the reasons out.
//
// Fed through the same exports that the component has, so that a test sees what the host would.

import { scheduler } from "../scheduler.js";
import { NO_CONSTRAINTS } from "../scheduler/cluster.js";

const GIB = 1024 ** 3;
const NO_RESOURCES = { milliCpu: 0, memory: 0, ephemeralStorage: 0, extended: {} };

export class FakeScheduler {
  #exports;
  #ids = new Map();
  #fed = new Map();
  #pods = 0;

  /** `policy`: the module, `import * as policy from "./policy.js"`. */
  constructor(policy, config = "") {
    this.#exports = scheduler(policy);
    this.#exports.configure(config);
  }

  /** Puts in a node, or changes one: `{ name, labels, annotations, taints, unschedulable, allocatable, maxPods, images }`. */
  addNode(node) {
    if (!this.#ids.has(node.name)) this.#ids.set(node.name, this.#ids.size);
    this.#fed.set(node.name, node);
    const { labels = {}, annotations = {}, taints = [], unschedulable = false, allocatable = {}, maxPods = 110, images = [] } = node;
    const val = {
      id: this.#ids.get(node.name),
      name: node.name,
      labels: pairs({ "kubernetes.io/hostname": node.name, ...labels }),
      annotations: pairs(annotations),
      taints,
      unschedulable,
      allocatable: resources({ milliCpu: 4000, memory: 16 * GIB, ...allocatable }),
      maxPods,
      images,
    };
    this.#exports.feed([{ tag: "upsert-node", val }]);
  }

  removeNode(name) {
    this.#exports.feed([{ tag: "remove-node", val: this.#id(name) }]);
    this.#ids.delete(name);
  }

  /** A pod that runs on the node already. */
  place(pod, nodeName) {
    this.#exports.feed([{ tag: "place", val: { pod: this.#lower(pod), node: this.#id(nodeName) } }]);
  }

  remove(podName, namespace = "default") {
    this.#exports.feed([{ tag: "forget", val: `${namespace}/${podName}` }]);
  }

  /** Decides and places: `{ node, score, feasible }`, or `{ node: null, reasons }` with a line for each. */
  schedule(pod = {}) {
    const lowered = this.#lower(pod);
    const outcome = this.#exports.schedule(lowered, scope(10));
    if (outcome.tag === "none") {
      return { node: null, reasons: outcome.val.map(({ nodes, message }) => `${nodes} ${message}`).sort() };
    }
    const [best] = outcome.val.ranked;
    this.#exports.feed([{ tag: "assume", val: { uid: lowered.uid, node: best.node } }]);
    return { node: this.#name(best.node), score: best.score, feasible: outcome.val.feasible };
  }

  /** Every feasible node's score by name. Places nothing. */
  scores(pod = {}) {
    const outcome = this.#exports.schedule(this.#lower(pod), scope(2 ** 31 - 1));
    if (outcome.tag === "none") return {};
    return Object.fromEntries(outcome.val.ranked.map(({ node, score }) => [this.#name(node), score]).sort());
  }

  /** As an extender in a profile: of these nodes, who passes with which score, and the reasons of the others. Places nothing. */
  rank(pod, nodeNames) {
    const { ranked, rejections } = this.#exports.rank(this.#lower(pod), Uint32Array.from(nodeNames, (name) => this.#id(name)));
    const scores = Object.fromEntries(ranked.map(({ node, score }) => [this.#name(node), score]).sort());
    return { scores, reasons: rejections.map(({ nodes, message }) => `${nodes} ${message}`).sort() };
  }

  /** Whom to evict so that the pod fits, on one of the named nodes or on any: `{ node, victims }` with pods' names, or null. */
  preempt(pod, among) {
    const ids = among && Uint32Array.from(among, (name) => this.#id(name));
    const { tag, val: found } = this.#exports.preempt(this.#lower(pod), ids);
    if (tag === "none") return null;
    return { node: this.#name(found.node), victims: found.victims.map((uid) => uid.split("/")[1]) };
  }

  #id(name) {
    if (!this.#ids.has(name)) throw new Error(`there is no node ${JSON.stringify(name)}`);
    return this.#ids.get(name);
  }

  #name(id) {
    return [...this.#ids].find(([, known]) => known === id)[0];
  }

  /** As the host would give it; what a test does not say is as in a pod that wishes for nothing. */
  #lower(pod) {
    const { name = `pod-${this.#pods++}`, namespace = "default", labels = {}, annotations = {}, requests = {}, ...rest } = pod;
    const { own, constraints } = parted(rest);
    return {
      uid: `${namespace}/${name}`,
      namespace,
      name,
      labels: pairs(labels),
      annotations: pairs(annotations),
      priority: 0,
      mayPreempt: true,
      requests: resources(requests),
      scoredMilliCpu: 0,
      scoredMemory: 0,
      tolerations: [],
      images: [],
      constraints,
      nominated: null,
      started: 0,
      deleting: false,
      ...own,
    };
  }
}

/** A decision over all nodes. The seed has 64 bits, of which a number holds the upper ones, as in a component. */
function scope(top) {
  return { start: 0, limit: 0, top, seed: Math.random() * 2 ** 64 };
}

/** A test's pod is flat, as authors see it; in the world's what it asks of its node is a record of parts, or nothing at all. */
function parted(pod) {
  const asks = ([name]) => name in NO_CONSTRAINTS;
  const entries = Object.entries(pod).filter(asks);
  const own = Object.fromEntries(Object.entries(pod).filter((entry) => !asks(entry)));
  if (entries.length === 0) return { own, constraints: null };
  const asked = { ...NO_CONSTRAINTS, ...Object.fromEntries(entries) };
  const part = (fields, made) => (entries.some(([name]) => fields.includes(name)) ? made : null);
  const { nodeSelector, requiredNodes: required, preferredNodes: preferred, hostPorts } = asked;
  const pods = {
    required: asked.requiredAffinity,
    preferred: asked.preferredAffinity,
    requiredAnti: asked.requiredAntiAffinity,
    preferredAnti: asked.preferredAntiAffinity,
  };
  const volumes = {
    nodes: asked.volumeNodes,
    reasons: asked.volumeReasons,
    claims: asked.claims,
    exclusiveClaims: asked.exclusiveClaims,
    images: asked.volumeImages,
  };
  const constraints = {
    nodes: part(["nodeSelector", "requiredNodes", "preferredNodes"], { selector: pairs(nodeSelector), required, preferred }),
    pods: part(["requiredAffinity", "preferredAffinity", "requiredAntiAffinity", "preferredAntiAffinity"], pods),
    volumes: part(["volumeNodes", "volumeReasons", "claims", "exclusiveClaims", "volumeImages"], volumes),
    spread: part(["spread", "spreadByDefault"], { constraints: asked.spread, byDefault: asked.spreadByDefault }),
    hostPorts,
  };
  return { own, constraints };
}

function pairs(object) {
  return Object.entries(object).map(([key, value]) => ({ key, value }));
}

function resources(given) {
  const { extended, ...rest } = { ...NO_RESOURCES, ...given };
  return { ...rest, extended: Object.entries(extended) };
}
