// The scheduler world for an author who writes `filter(pod, node)` and `score(pod, node)` in `policy.js`, and nothing else.
//
// The cache of nodes and pods, upstream's filters, sampling, ranking and preemption are here. A node that a filter of upstream's
// refuses is never shown to the author's `filter`; `score` sees the nodes that pass.

import { synchronous } from "./host.js";
import { Cluster } from "./scheduler/cluster.js";
import { Facts, faults } from "./scheduler/filters.js";
import { chooseVictims } from "./scheduler/preempt.js";

const OWN_FILTER = "policy";

/** The component's exports, of what the author's module exports. */
export function scheduler(policy) {
  if (typeof policy.score !== "function" && typeof policy.filter !== "function") {
    throw new Error("policy.js must export a function filter(pod, node), a function score(pod, node), or both");
  }
  const judge = new Judge(policy);
  let cluster = new Cluster();
  return {
    configure: (config) => said(() => policy.configure?.(config)),
    reset: () => {
      cluster = new Cluster();
    },
    feed: (deltas) => deltas.forEach((delta) => cluster.apply(delta)),
    schedule: (pod, scope) => said(() => decide(cluster, judge, cluster.ask(pod), scope)),
    rank: (pod, ids) => said(() => rank(cluster, judge, cluster.lift(pod), ids)),
    preempt: (pod, among) => said(() => attempt(chooseVictims(cluster, cluster.lift(pod), judge, among ?? null))),
    explain: (pod, id) => explain(cluster, judge, cluster.lift(pod), id),
  };
}

/** The author's functions with their answers checked. */
class Judge {
  constructor({ filter, score, everyNode }) {
    this.filter = filter;
    this.score = score;
    this.everyNode = everyNode;
  }

  /** How many feasible nodes are enough; 0: all there are. */
  enough(pod, limit) {
    const all = typeof this.everyNode === "function" ? synchronous(this.everyNode(pod), "everyNode") : this.everyNode;
    return all ? 0 : limit;
  }

  /** Why the pod cannot run there: a list of reasons, or null. */
  refusal(pod, node, facts) {
    const standard = faults(pod, node, facts);
    if (standard) return standard;
    const own = synchronous(this.filter?.(pod, node), "filter");
    if (own === undefined || own === null || own === true || own === "") return null;
    const message = own === false ? "node(s) were refused by the policy" : String(own);
    return [{ filter: OWN_FILTER, message, resolvable: true }];
  }

  rate(pod, node) {
    const score = this.score ? Number(synchronous(this.score(pod, node), "score")) : 0;
    if (!Number.isFinite(score)) throw new Error(`score gave ${score} for node ${node.name}, which is no number`);
    return Math.round(score);
  }
}

function decide(cluster, judge, pod, scope) {
  const nodes = cluster.ordered();
  const facts = new Facts(cluster, pod);
  const start = nodes.length ? scope.start % nodes.length : 0;
  const limit = judge.enough(pod, scope.limit);
  const rejected = new Map();
  const feasible = [];
  let lookedAt = 0;
  const nominated = pod.nominated === null ? undefined : cluster.nodes.get(pod.nominated);
  if (nominated && !judge.refusal(pod, nominated, facts)) {
    // Its victims left for this pod.
    return fits([nominated], judge, pod, scope, 1, start);
  }
  while (lookedAt < nodes.length && !(limit > 0 && feasible.length >= limit)) {
    const node = nodes[(start + lookedAt) % nodes.length];
    lookedAt += 1;
    const reasons = judge.refusal(pod, node, facts);
    if (reasons) reasons.forEach((reason) => count(rejected, reason));
    else feasible.push(node);
  }
  if (feasible.length === 0) return { tag: "none", val: [...rejected.values()] };
  return fits(feasible, judge, pod, scope, lookedAt, (start + lookedAt) % nodes.length);
}

function fits(feasible, judge, pod, scope, lookedAt, nextStart) {
  const ranked = feasible.map((node) => ({ node: node.id, score: judge.rate(pod, node) }));
  ranked.sort((a, b) => b.score - a.score || a.node - b.node);
  // Among equals the dice choose, or the first node would get every pod.
  const equals = ranked.findIndex((r) => r.score !== ranked[0].score);
  const chosen = drawn(scope.seed, equals < 0 ? ranked.length : equals);
  [ranked[0], ranked[chosen]] = [ranked[chosen], ranked[0]];
  const best = ranked.slice(0, Math.max(scope.top, 1));
  return { tag: "fits", val: { ranked: best, feasible: feasible.length, lookedAt, nextStart } };
}

/** A whole number from 0 up to, not including, `limit`. Of the seed's 64 bits a number here holds the upper 53, so those decide. */
function drawn(seed, limit) {
  return Math.min(Math.floor((Number(seed) / 2 ** 64) * limit), limit - 1);
}

/** Of these nodes and no others: who passes with which score, and why the others do not. */
function rank(cluster, judge, pod, ids) {
  const facts = new Facts(cluster, pod);
  const rejected = new Map();
  const ranked = [];
  for (const node of Array.from(ids, (id) => cluster.nodes.get(id)).filter(Boolean)) {
    const reasons = judge.refusal(pod, node, facts);
    if (reasons) reasons.forEach((reason) => count(rejected, reason));
    else ranked.push({ node: node.id, score: judge.rate(pod, node) });
  }
  return { ranked, rejections: [...rejected.values()] };
}

function count(rejected, { filter, message, resolvable }) {
  const key = `${filter}: ${message}`;
  const known = rejected.get(key);
  if (known) known.nodes += 1;
  else rejected.set(key, { filter, message, nodes: 1, resolvable });
}

/** Without victims the host says why in words of its own. */
function attempt(victims) {
  return victims ? { tag: "evict", val: victims } : { tag: "none", val: [] };
}

function explain(cluster, judge, pod, id) {
  const node = cluster.nodes.get(id);
  if (!node) return [];
  try {
    const reasons = judge.refusal(pod, node, new Facts(cluster, pod));
    if (reasons) return reasons.map(({ filter, message }) => ({ stage: "Filter", criterion: filter, rejected: message, score: null }));
    return [
      { stage: "Filter", criterion: OWN_FILTER, rejected: null, score: null },
      { stage: "Score", criterion: OWN_FILTER, rejected: null, score: judge.rate(pod, node) },
    ];
  } catch (error) {
    return [{ stage: "Filter", criterion: OWN_FILTER, rejected: String(error), score: null }];
  }
}

/** An exception becomes the error that the world has a place for: text. */
function said(call) {
  try {
    return call() ?? null;
  } catch (error) {
    console.error(error);
    throw error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
}
