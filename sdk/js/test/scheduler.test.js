import assert from "node:assert/strict";
import test from "node:test";

import { scheduler } from "../src/scheduler.js";
import { FakeScheduler } from "../src/testing.js";

const fewestPods = { score: (pod, node) => 100 - node.pods.length };
const ONE = { start: 0, limit: 0, top: 1, seed: 0 };
const LABEL = "kubernetes.io/hostname";
const zone = (name) => ({ "topology.kubernetes.io/zone": name });

function cluster(policy, ...nodes) {
  const made = new FakeScheduler(policy);
  nodes.forEach((node) => made.addNode(typeof node === "string" ? { name: node } : node));
  return made;
}

test("the best node wins until it is full", () => {
  const small = (name, milliCpu) => ({ name, allocatable: { milliCpu } });
  const made = cluster(fewestPods, small("a", 1000), small("b", 500));
  const placed = [1, 2, 3, 4].map(() => made.schedule({ requests: { milliCpu: 500 } }));
  assert.deepEqual(placed.slice(0, 3).map((p) => p.node).sort(), ["a", "a", "b"]);
  assert.deepEqual(placed[3], { node: null, reasons: ["2 Insufficient cpu"] });
});

test("upstream's filters come before the author's", () => {
  const seen = [];
  const policy = { filter: (pod, node) => (seen.push(node.name), node.name === "d" ? "no d today" : undefined) };
  const taint = { key: "gpu", value: "yes", effect: "no-schedule" };
  const made = cluster(policy, { name: "a", taints: [taint] }, { name: "b", unschedulable: true }, { name: "c", labels: { disk: "ssd" } }, "d");
  made.addNode({ name: "e", labels: { disk: "ssd" }, maxPods: 0 });
  assert.equal(made.schedule({ nodeSelector: { disk: "ssd" } }).node, "c");
  assert.deepEqual(seen, ["c"]);
  assert.equal(made.schedule({ tolerations: [{ key: "gpu", exists: true, value: "", effect: null }], nodeSelector: { [LABEL]: "a" } }).node, "a");
  assert.deepEqual(made.schedule({ nodeSelector: { [LABEL]: "d" } }).reasons, [
    "1 no d today",
    "1 node(s) had untolerated taint(s)",
    "1 node(s) were unschedulable",
    "2 node(s) didn't match Pod's node affinity/selector",
  ]);
});

test("usage follows what is placed and removed, whatever comes first", () => {
  const nodes = [];
  const made = cluster({ score: (pod, node) => (nodes.push(structuredClone({ ...node.requested, pods: node.free.pods })), 0) });
  made.addNode({ name: "a", allocatable: { extended: { "x/gpu": 2 } } });
  const pod = { name: "p", requests: { milliCpu: 100, memory: 5, extended: { "x/gpu": 2 } } };
  made.place(pod, "a");
  made.place(pod, "a");
  assert.equal(made.schedule({ requests: { extended: { "x/gpu": 1 } } }).reasons[0], "1 Insufficient x/gpu");
  made.schedule({ name: "q" });
  made.remove("p");
  made.remove("q");
  made.schedule({ name: "r" });
  const used = (milliCpu, memory, gpus, pods) => ({ milliCpu, memory, ephemeralStorage: 0, extended: { "x/gpu": gpus }, pods });
  assert.deepEqual(nodes, [used(100, 5, 2, 109), used(0, 0, 0, 110)]);
});

test("pods that are fed before their node count when it comes", () => {
  const exports = scheduler({ filter: (pod, node) => `${node.pods.length} pods` });
  const pod = lowered({ uid: "u", name: "p" });
  exports.feed([{ tag: "place", val: { pod, node: 7 } }]);
  exports.feed([{ tag: "upsert-node", val: node(7) }]);
  const reason = () => exports.schedule(lowered({ uid: "v" }), ONE).val[0].message;
  assert.equal(reason(), "1 pods");
  exports.feed([{ tag: "remove-node", val: 7 }]);
  exports.feed([{ tag: "upsert-node", val: node(7) }]);
  assert.equal(reason(), "1 pods");
  exports.reset();
  assert.deepEqual(exports.schedule(pod, { ...ONE, start: 3 }), { tag: "none", val: [] });
});

test("a limit stops the search, and the next one goes on behind it", () => {
  const exports = scheduler({ score: () => 1 });
  exports.feed(Array.from({ length: 10 }, (_, id) => ({ tag: "upsert-node", val: node(id) })));
  const { val } = exports.schedule(lowered({}), { start: 8, limit: 4, top: 2, seed: 0 });
  assert.deepEqual([val.feasible, val.lookedAt, val.nextStart, val.ranked.length], [4, 4, 2, 2]);
  assert.ok(val.ranked.every((r) => [8, 9, 0, 1].includes(r.node)));
});

test("a policy that must see every node does", () => {
  const exports = scheduler({ score: (pod, node) => node.id, everyNode: (pod) => pod.name === "thorough" });
  exports.feed(Array.from({ length: 10 }, (_, id) => ({ tag: "upsert-node", val: node(id) })));
  const looks = (name) => exports.schedule(lowered({ name }), { ...ONE, limit: 4 }).val;
  assert.equal(looks("quick").lookedAt, 4);
  assert.deepEqual([looks("thorough").lookedAt, looks("thorough").ranked[0].node], [10, 9]);
});

test("each of the best is as likely, and the seed says which", () => {
  const exports = scheduler({ score: (pod, { id }) => id % 2 });
  exports.feed(Array.from({ length: 8 }, (_, id) => ({ tag: "upsert-node", val: node(id) })));
  const chosen = (seed) => exports.schedule(lowered({}), { ...ONE, seed }).val.ranked[0].node;
  // Over the whole range, as a component has them: numbers, of which the lowest bits are lost.
  const counts = {};
  for (const seed of Array.from({ length: 4000 }, (_, i) => ((i + 0.5) / 4000) * 2 ** 64)) counts[chosen(seed)] = (counts[chosen(seed)] ?? 0) + 1;
  assert.deepEqual(counts, { 1: 1000, 3: 1000, 5: 1000, 7: 1000 });
  assert.deepEqual([chosen(0n), chosen(0), chosen(2n ** 64n - 1n), chosen(2 ** 64)], [1, 1, 7, 7]);
});

test("what is assumed of the last pod is placed, and of no other", () => {
  const exports = scheduler({ filter: (pod, { pods }) => `${pods.map((p) => p.name)} there` });
  exports.feed([{ tag: "upsert-node", val: node(7) }]);
  const asked = (uid) => exports.schedule(lowered({ uid, name: uid }), ONE).val[0].message;
  const assume = (uid) => exports.feed([{ tag: "assume", val: { uid, node: 7 } }]);
  assume("a");
  asked("a");
  asked("b");
  assume("a");
  assert.equal(asked("c"), " there");
  assume("c");
  assert.equal(asked("d"), "c there");
  assume("d");
  exports.feed([{ tag: "forget", val: "d" }]);
  assume("d");
  assert.equal(asked("e"), "c there");
  exports.reset();
  assume("e");
  exports.feed([{ tag: "upsert-node", val: node(7) }]);
  assert.equal(asked("f"), " there");
});

test("authors see a flat pod, whether it asks for something or not", () => {
  const seen = [];
  const exports = scheduler({ score: (pod) => (seen.push(pod), 0) });
  exports.feed([{ tag: "upsert-node", val: node(0) }]);
  const constraints = { nodes: null, pods: null, volumes: null, spread: null, hostPorts: [] };
  const volumes = { nodes: [], reasons: [], claims: ["data"], exclusiveClaims: [], images: [] };
  const claims = { ...constraints, volumes };
  for (const asks of [null, constraints, claims]) exports.schedule(lowered({ constraints: asks }), ONE);
  assert.deepEqual(seen[0], seen[1]);
  assert.deepEqual({ ...seen[0], claims: ["data"] }, seen[2]);
  assert.deepEqual([seen[0].nodeSelector, seen[0].requiredNodes, seen[0].hostPorts, "constraints" in seen[0]], [{}, null, [], false]);
});

test("anti-affinity keeps apart, both ways, and affinity brings together", () => {
  const term = (topologyKey) => ({
    selector: [{ key: "app", operator: "in", values: ["web"] }],
    namespaces: ["default"],
    namespaceSelector: null,
    topologyKey,
  });
  const made = cluster(fewestPods, { name: "a", labels: zone("1") }, { name: "b", labels: zone("1") }, { name: "c", labels: zone("2") });
  const web = { labels: { app: "web" } };
  const alone = { ...web, requiredAntiAffinity: [term("topology.kubernetes.io/zone")] };
  const first = made.schedule({ ...alone, nodeSelector: { [LABEL]: "a" } });
  assert.equal(first.node, "a");
  assert.equal(made.schedule(alone).node, "c");
  assert.deepEqual(made.schedule(alone).reasons, ["3 node(s) didn't match pod anti-affinity rules"]);
  assert.deepEqual(made.schedule(web).reasons, ["3 node(s) didn't satisfy existing pods anti-affinity rules"]);
  const beside = made.schedule({ requiredAffinity: [term(LABEL)], nodeSelector: { [LABEL]: "b" } });
  assert.deepEqual(beside.reasons, ["1 node(s) didn't match pod affinity rules", "2 node(s) didn't match Pod's node affinity/selector"]);
});

test("topology spread holds", () => {
  const made = cluster({ score: (pod, node) => (node.name === "a" ? 100 : 0) }, { name: "a", labels: zone("1") }, { name: "b", labels: zone("2") }, "c");
  const spread = [
    {
      maxSkew: 1,
      topologyKey: "topology.kubernetes.io/zone",
      whenUnsatisfiable: "do-not-schedule",
      selector: [{ key: "app", operator: "exists", values: [] }],
      minDomains: null,
      honorNodeAffinity: true,
      honorNodeTaints: false,
    },
  ];
  const places = [1, 2, 3, 4].map(() => made.schedule({ labels: { app: "x" }, spread }).node);
  assert.deepEqual(places, ["a", "b", "a", "b"]);
});

test("preemption evicts as few and as unimportant pods as it can", () => {
  const node = (name) => ({ name, allocatable: { milliCpu: 1000 } });
  const made = cluster(fewestPods, node("a"), node("b"));
  const pod = (name, priority, milliCpu) => ({ name, priority, requests: { milliCpu } });
  made.place(pod("low", 1, 600), "a");
  made.place(pod("small", 1, 100), "a");
  made.place(pod("high", 5, 900), "b");
  assert.deepEqual(made.preempt(pod("new", 10, 500)), { node: "a", victims: ["low"] });
  assert.deepEqual(made.preempt(pod("new", 10, 500), ["b"]), { node: "b", victims: ["high"] });
  assert.equal(made.preempt(pod("new", 10, 500), []), null);
  assert.equal(made.preempt({ ...pod("new", 10, 500), mayPreempt: false }), null);
  assert.equal(made.preempt(pod("new", 1, 500)), null);
  assert.equal(made.schedule(pod("new", 10, 500)).node, null);
});

test("an extender ranks the nodes that it is asked about, and no others", () => {
  const node = (name, milliCpu) => ({ name, allocatable: { milliCpu } });
  const policy = { filter: (_, { name }) => name !== "b" || "node(s) were dear", score: (_, { name }) => name.charCodeAt(0) };
  const made = cluster(policy, node("a", 1000), node("b", 1000), node("c", 100), node("d", 1000));
  const wanted = { requests: { milliCpu: 500 } };
  assert.deepEqual(made.rank(wanted, ["a", "b", "c"]), { scores: { a: 97 }, reasons: ["1 Insufficient cpu", "1 node(s) were dear"] });
  assert.deepEqual(made.rank(wanted, []), { scores: {}, reasons: [] });
});

test("a score that is no number, and an exception, are said in words", () => {
  const silent = console.error;
  console.error = () => {};
  try {
    assert.throws(() => cluster({ score: () => "much" }, "a").schedule(), (error) => /score gave NaN for node a/.test(error));
    assert.throws(
      () => cluster({ filter: () => { throw new TypeError("oh"); } }, "a").schedule(),
      (error) => error === "TypeError: oh",
    );
  } finally {
    console.error = silent;
  }
  assert.throws(() => scheduler({}), /must export a function/);
});

function node(id) {
  const allocatable = { milliCpu: 1000, memory: 1000, ephemeralStorage: 0, extended: [] };
  return { id, name: `n${id}`, labels: [], annotations: [], taints: [], unschedulable: false, allocatable, maxPods: 10, images: [] };
}

function lowered(given) {
  const requests = { milliCpu: 0, memory: 0, ephemeralStorage: 0, extended: [] };
  const empty = Object.fromEntries(["labels", "annotations", "tolerations", "images"].map((name) => [name, []]));
  const plain = { uid: "x", namespace: "n", name: "x", priority: 0, mayPreempt: true, requests, constraints: null };
  return { ...empty, ...plain, nominated: null, started: 0, deleting: false, ...given };
}
