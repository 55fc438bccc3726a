// The cache that the host's deltas keep: nodes with the pods on them and what those use. Applying a delta twice does no harm.

/** Shared by everything that has none: most pods wish for nothing. */
const NONE = Object.freeze([]);

/** What the SDK's pod has of constraints where the world's has none. */
export const NO_CONSTRAINTS = Object.freeze({
  nodeSelector: Object.freeze({}),
  requiredNodes: null,
  preferredNodes: NONE,
  volumeNodes: NONE,
  volumeReasons: NONE,
  claims: NONE,
  exclusiveClaims: NONE,
  requiredAffinity: NONE,
  preferredAffinity: NONE,
  requiredAntiAffinity: NONE,
  preferredAntiAffinity: NONE,
  spread: NONE,
  spreadByDefault: false,
  hostPorts: NONE,
  volumeImages: NONE,
});

export class Node {
  constructor(fed) {
    this.pods = [];
    this.requested = { milliCpu: 0, memory: 0, ephemeralStorage: 0, extended: {} };
    this.update(fed);
  }

  update(fed) {
    this.id = fed.id;
    this.name = fed.name;
    this.labels = map(fed.labels);
    this.annotations = map(fed.annotations);
    this.taints = some(fed.taints);
    this.unschedulable = fed.unschedulable;
    this.allocatable = amounts(fed.allocatable);
    this.maxPods = fed.maxPods;
    this.images = some(fed.images);
  }

  /** What is left for further pods. */
  get free() {
    const { allocatable, requested } = this;
    const extended = {};
    for (const name in allocatable.extended) extended[name] = allocatable.extended[name] - (requested.extended[name] ?? 0);
    return {
      milliCpu: allocatable.milliCpu - requested.milliCpu,
      memory: allocatable.memory - requested.memory,
      ephemeralStorage: allocatable.ephemeralStorage - requested.ephemeralStorage,
      extended,
      pods: this.maxPods - this.pods.length,
    };
  }

  add(pod) {
    this.pods.push(pod);
    this.#count(pod.requests, 1);
  }

  remove(pod) {
    const at = this.pods.indexOf(pod);
    if (at < 0) return;
    this.pods[at] = this.pods[this.pods.length - 1];
    this.pods.pop();
    this.#count(pod.requests, -1);
  }

  #count(requests, sign) {
    const used = this.requested;
    used.milliCpu += sign * requests.milliCpu;
    used.memory += sign * requests.memory;
    used.ephemeralStorage += sign * requests.ephemeralStorage;
    for (const name in requests.extended) used.extended[name] = (used.extended[name] ?? 0) + sign * requests.extended[name];
  }
}

export class Cluster {
  /** By id. */
  nodes = new Map();
  /** Placed pods by uid: `{ pod, node: id }`. */
  placed = new Map();
  /** The placed pods whose required anti-affinity others must heed. */
  avoiding = new Set();
  /** Labels by name. */
  namespaces = new Map();
  budgets = NONE;
  /** Uids of pods that were fed before their node, by its id. */
  #early = new Map();
  #order = null;
  /** The pod that was decided about last, until it is assumed to run somewhere. */
  #asked = null;

  apply({ tag, val }) {
    switch (tag) {
      case "upsert-node":
        return this.#upsert(val);
      case "remove-node":
        return this.#drop(val);
      case "place":
        return this.place(this.lift(val.pod), val.node);
      case "assume":
        return this.#assume(val);
      case "forget":
        return void this.forget(val);
      case "upsert-namespace":
        return void this.namespaces.set(val.name, map(val.labels));
      case "remove-namespace":
        return void this.namespaces.delete(val);
      case "budgets":
        this.budgets = val;
    }
  }

  /** In the order of their ids. */
  ordered() {
    this.#order ??= [...this.nodes.values()].sort((a, b) => a.id - b.id);
    return this.#order;
  }

  place(pod, id) {
    this.forget(pod.uid);
    const entry = { pod, node: id };
    this.placed.set(pod.uid, entry);
    if (pod.requiredAntiAffinity.length > 0) this.avoiding.add(entry);
    const node = this.nodes.get(id);
    if (node) node.add(pod);
    else this.#waitFor(id).add(pod.uid);
  }

  /** The entry that was there. */
  forget(uid) {
    const entry = this.placed.get(uid);
    if (!entry) return undefined;
    this.placed.delete(uid);
    this.avoiding.delete(entry);
    this.nodes.get(entry.node)?.remove(entry.pod);
    this.#early.get(entry.node)?.delete(uid);
    return entry;
  }

  /** Lifts the pod that is to be decided about. */
  ask(pod) {
    this.#asked = this.lift(pod);
    return this.#asked;
  }

  /** The world's pod as authors see it: labels and the like are objects, and what it asks of its node are fields of its own. */
  lift({ constraints, ...pod }) {
    return {
      ...pod,
      ...(constraints ? liftConstraints(constraints) : NO_CONSTRAINTS),
      labels: map(pod.labels),
      annotations: map(pod.annotations),
      requests: amounts(pod.requests),
      tolerations: some(pod.tolerations),
      images: some(pod.images),
    };
  }

  /** Of another pod than the last one there is nothing to place. */
  #assume({ uid, node }) {
    const pod = this.#asked;
    if (pod?.uid !== uid) return;
    this.#asked = null;
    this.place(pod, node);
  }

  #upsert(fed) {
    const known = this.nodes.get(fed.id);
    if (known) return known.update(fed);
    const node = new Node(fed);
    this.nodes.set(fed.id, node);
    this.#order = null;
    for (const uid of this.#early.get(fed.id) ?? NONE) node.add(this.placed.get(uid).pod);
    this.#early.delete(fed.id);
  }

  #drop(id) {
    const node = this.nodes.get(id);
    if (!node) return;
    this.nodes.delete(id);
    this.#order = null;
    const waiting = this.#waitFor(id);
    for (const pod of node.pods) waiting.add(pod.uid);
  }

  #waitFor(id) {
    if (!this.#early.has(id)) this.#early.set(id, new Set());
    return this.#early.get(id);
  }
}

/** Each part that the pod has, in the fields of its own that authors see. */
function liftConstraints({ nodes, pods, volumes, spread, hostPorts }) {
  const asked = { ...NO_CONSTRAINTS, hostPorts: some(hostPorts) };
  if (nodes) {
    asked.nodeSelector = map(nodes.selector);
    asked.requiredNodes = nodes.required;
    asked.preferredNodes = some(nodes.preferred);
  }
  if (pods) {
    asked.requiredAffinity = some(pods.required);
    asked.preferredAffinity = some(pods.preferred);
    asked.requiredAntiAffinity = some(pods.requiredAnti);
    asked.preferredAntiAffinity = some(pods.preferredAnti);
  }
  if (volumes) {
    asked.volumeNodes = some(volumes.nodes);
    asked.volumeReasons = some(volumes.reasons);
    asked.claims = some(volumes.claims);
    asked.exclusiveClaims = some(volumes.exclusiveClaims);
    asked.volumeImages = some(volumes.images);
  }
  if (spread) {
    asked.spread = some(spread.constraints);
    asked.spreadByDefault = spread.byDefault;
  }
  return asked;
}

function some(list) {
  return list.length === 0 ? NONE : list;
}

function map(pairs) {
  const object = {};
  for (const { key, value } of pairs) object[key] = value;
  return object;
}

function amounts({ milliCpu, memory, ephemeralStorage, extended }) {
  return { milliCpu, memory, ephemeralStorage, extended: Object.fromEntries(extended) };
}
