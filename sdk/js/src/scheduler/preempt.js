// Whom to evict so that a pod fits: upstream's default preemption, with the author's filter heeded.
//
// On each candidate node all pods of lower priority are taken away; if the pod fits then, as many as possible are put back, those
// under a disruption budget and of high priority first. The node that hurts least wins.

import { meets } from "../selector.js";
import { Facts } from "./filters.js";

/** Nodes for which victims are worked out; more would cost time and rarely find better ones. */
const MIN_CANDIDATES = 100;

/** `among`: ids of the nodes that may be chosen; null for all. */
export function chooseVictims(cluster, pod, judge, among = null) {
  if (!pod.mayPreempt) return null;
  const permitted = among && new Set(among);
  const wanted = Math.max(Math.floor(cluster.nodes.size / 10), MIN_CANDIDATES);
  const facts = new Facts(cluster, pod);
  let best = null;
  let found = 0;
  for (const node of cluster.ordered()) {
    if (permitted && !permitted.has(node.id)) continue;
    const candidate = couldHelp(pod, node, facts, judge) ? victimsOn(cluster, pod, node, judge) : null;
    if (!candidate) continue;
    if (!best || compare(candidate.harm, best.harm) < 0) best = candidate;
    if (++found >= wanted) break;
  }
  if (!best) return null;
  best.victims.sort((a, b) => a.priority - b.priority);
  return { node: best.node, victims: best.victims.map((victim) => victim.uid) };
}

function couldHelp(pod, node, facts, judge) {
  const reasons = judge.refusal(pod, node, facts);
  return reasons !== null && reasons.every((reason) => reason.resolvable) && node.pods.some((other) => other.priority < pod.priority);
}

/** Tries on the live state and leaves it as it was. */
function victimsOn(cluster, pod, node, judge) {
  const fits = () => judge.refusal(pod, node, new Facts(cluster, pod)) === null;
  // Most important first: higher priority, then longer running.
  const lower = node.pods.filter((other) => other.priority < pod.priority).sort((a, b) => b.priority - a.priority || a.started - b.started);
  lower.forEach((other) => cluster.forget(other.uid));
  const victims = [];
  let violated = 0;
  if (fits()) {
    const violating = violations(cluster, lower);
    const order = lower.map((_, at) => at).sort((a, b) => violating[b] - violating[a] || a - b);
    for (const at of order) {
      cluster.place(lower[at], node.id);
      if (fits()) continue;
      cluster.forget(lower[at].uid);
      victims.push(lower[at]);
      violated += violating[at] ? 1 : 0;
    }
    victims.forEach((other) => cluster.place(other, node.id));
  } else {
    lower.forEach((other) => cluster.place(other, node.id));
  }
  return victims.length > 0 ? { node: node.id, victims, harm: harm(victims, violated) } : null;
}

/** For each pod, whether its eviction would overdraw a disruption budget, when they are evicted in this order. */
function violations(cluster, pods) {
  const left = cluster.budgets.map((budget) => budget.allowed);
  return pods.map((pod) => {
    let violates = false;
    cluster.budgets.forEach((budget, at) => {
      const selected = budget.selector !== null && meets(budget.selector, pod.labels);
      if (budget.namespace === pod.namespace && selected && Object.keys(pod.labels).length > 0) violates = --left[at] < 0 || violates;
    });
    return violates;
  });
}

/** Smaller is better, place by place: violated budgets, the most important victim, all victims' importance, their number, and how
 * long the most important ones have been running. */
function harm(victims, violated) {
  const highest = Math.max(...victims.map((victim) => victim.priority));
  const sum = victims.reduce((all, victim) => all + victim.priority + 2 ** 31, 0);
  const earliest = Math.min(...victims.filter((victim) => victim.priority === highest).map((victim) => victim.started));
  return [violated, highest, sum, victims.length, -earliest];
}

function compare(a, b) {
  const at = a.findIndex((part, i) => part !== b[i]);
  return at < 0 ? 0 : a[at] - b[at];
}
