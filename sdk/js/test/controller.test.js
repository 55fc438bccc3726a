import assert from "node:assert/strict";
import test from "node:test";

import { ApiError, Terminal, claimed, controller, local, owned, ownerReference, routed } from "../src/controller.js";
import { FakeCluster } from "../src/testing.js";

const MAPS = "v1/configmaps";
const object = (name, more = {}) => ({ metadata: { namespace: "n", name, ...more } });

test("watches are checked and lowered", () => {
  const reconcile = () => {};
  const made = controller({ reconcile, watches: ["example.com/v1/things", { resource: "v1/pods", relation: owned("Thing"), labels: "a=b" }] });
  assert.deepEqual(made.watches(), [
    { resource: { group: "example.com", version: "v1", name: "things" }, relation: { tag: "primary" }, labelSelector: "", fieldSelector: "", reading: [] },
    { resource: { group: "", version: "v1", name: "pods" }, relation: { tag: "owned", val: "Thing" }, labelSelector: "a=b", fieldSelector: "", reading: [] },
  ]);
  assert.throws(() => controller({ reconcile, watches: [] }), /must export watches/);
  assert.throws(() => controller({ reconcile, watches: ["pods"] }), /is no resource/);
  assert.throws(() => controller({ reconcile, watches: [MAPS, "v1/pods"] }), /needs a relation/);
  for (const relation of [routed, local, claimed("X")]) {
    const watches = [MAPS, { resource: "v1/pods", relation }];
    assert.throws(() => controller({ reconcile, watches }), /must export a function route/);
    assert.deepEqual(controller({ reconcile, watches, route: () => [] }).watches()[1].relation, relation);
  }
});

test("what a watch is reading", () => {
  const [reconcile, route] = [() => {}, () => []];
  const reading = ["metadata.labels", ["metadata", "annotations", "example.com/a"]];
  const made = controller({ reconcile, route, watches: [MAPS, { resource: "v1/pods", relation: routed, reading }] });
  assert.deepEqual(made.watches()[1].reading, [["metadata", "labels"], ["metadata", "annotations", "example.com/a"]]);
  assert.throws(() => controller({ reconcile, watches: [MAPS, { resource: "v1/pods", relation: owned("X"), reading }] }), /must be routed/);
});

test("the fake cluster asks about what is read, as the host does", () => {
  const cluster = new FakeCluster();
  const given = [];
  const policy = {
    watches: [
      MAPS,
      { resource: "v1/pods", relation: routed, reading: ["metadata.labels", "status.conditions.type"] },
      { resource: "v1/pods", relation: claimed("Set"), reading: ["metadata.labels"] },
      { resource: "v1/pods", relation: routed },
    ],
    route: (_, index, before, after) => {
      given.push([before, after]);
      return [before, after].filter(Boolean).map((pod) => ({ namespace: "n", name: pod.metadata.labels?.app ?? "none" }));
    },
  };
  const pod = (app, type, more = {}) => ({ ...object("p", { labels: { app }, ...more }), status: { conditions: [{ type, status: "True" }], phase: "x" } });
  const part = (app, type) => ({ metadata: { labels: { app } }, status: { conditions: [{ type }] } });
  const keys = (...change) => cluster.route(policy, ...change).map((key) => key.name);
  const status = pod("a", "Ready");
  status.status.conditions[0].status = "False";
  assert.deepEqual(keys(1, pod("a", "Ready"), status), []);
  assert.deepEqual(given, []);
  assert.deepEqual(keys(1, pod("a", "Ready"), pod("b", "Ready")), ["a", "b"]);
  assert.deepEqual(given[0], [part("a", "Ready"), part("b", "Ready")]);
  assert.deepEqual(keys(1, null, pod("a", "Ready")), ["a"]);
  assert.deepEqual(keys(1, pod("a", "Ready"), null), ["a"]);
  const owned = pod("a", "Ready", { ownerReferences: [{ controller: true }] });
  assert.deepEqual([keys(1, owned, pod("a", "Ready")), keys(2, owned, pod("a", "Ready")), keys(2, owned, owned)], [[], ["a", "a"], []]);
  assert.deepEqual(keys(3, pod("a", "Ready"), pod("a", "Ready")), ["a", "a"]);
  policy.route = (_, index, before, after) => [{ namespace: after?.metadata.namespace ?? "", name: "p" }];
  assert.throws(() => keys(1, pod("a", "Ready"), pod("b", "Ready")), /reading less than/);
});

test("the fake cluster asks a local watch where there is a primary object", () => {
  const cluster = new FakeCluster();
  const policy = {
    watches: [MAPS, { resource: "v1/pods", relation: local, reading: ["metadata.labels"] }, { resource: "v1/pods", relation: local }],
    route: (_, index, before, after) => [{ namespace: "n", name: (after ?? before).metadata.labels.app }],
  };
  const pod = (namespace, app) => ({ metadata: { namespace, name: "p", labels: { app } } });
  const keys = (index, ...change) => cluster.route(policy, index, ...change).map((key) => key.name);
  cluster.add(MAPS, { metadata: { namespace: "other", name: "a" } });
  assert.deepEqual([keys(1, null, pod("n", "a")), keys(2, null, pod("n", "a"))], [[], []]);
  cluster.add(MAPS, object("a"));
  assert.deepEqual([keys(1, null, pod("n", "a")), keys(2, pod("n", "b"), null)], [["a"], ["b"]]);
  assert.deepEqual(keys(1, pod("n", "a"), pod("n", "a")), []);
  assert.throws(() => keys(2, null, pod("other", "a")), /leads to another namespace/);
  policy.watches[0] = "v1/nodes";
  assert.deepEqual(keys(2, null, pod("n", "a")), []);
  cluster.add("v1/nodes", { metadata: { name: "node" } });
  assert.deepEqual(keys(2, null, pod("n", "a")), ["a"]);
});

test("how reconcile ends", () => {
  const silent = console.error;
  console.error = () => {};
  const outcome = (reconcile) => {
    try {
      return controller({ watches: [MAPS], reconcile }).reconcile({ namespace: "n", name: "a" });
    } catch (failure) {
      return failure;
    }
  };
  const fails = (error) => outcome(() => { throw error; });
  assert.equal(outcome(() => undefined), null);
  assert.equal(outcome(() => ({ afterSeconds: 1.5 })), 1500);
  assert.deepEqual(fails(new ApiError("conflict", "c")), { tag: "retry", val: "c" });
  assert.deepEqual(fails(new ApiError("invalid", "i")), { tag: "terminal", val: "i" });
  assert.deepEqual(fails(new Terminal("t")), { tag: "terminal", val: "t" });
  assert.deepEqual(fails(new TypeError("x")), { tag: "retry", val: "x" });
  assert.equal(outcome(() => ({ afterSeconds: -1 })).tag, "terminal");
  assert.match(outcome(async () => {}).val, /gave a promise/);
  console.error = silent;
});

test("the fake cluster keeps, selects, refuses and notes", () => {
  const cluster = new FakeCluster();
  const parent = cluster.add(MAPS, object("parent", { finalizers: ["x/y"] }));
  cluster.create(MAPS, object("child", { labels: { a: "b" }, ownerReferences: [ownerReference({ ...parent, apiVersion: "v1", kind: "ConfigMap" })] }));
  assert.throws(() => cluster.create(MAPS, object("child")), { code: "already-exists" });
  assert.deepEqual(cluster.list(MAPS, { ownerUid: "uid-parent" }).map((o) => o.metadata.name), ["child"]);
  assert.deepEqual(cluster.summaries(MAPS, { labels: "a in (b)" }).map((s) => s.labels), [{ a: "b" }]);
  const stale = cluster.get(MAPS, "n", "child");
  cluster.change(MAPS, "n", "child", (o) => (o.data = { x: "1" }));
  assert.throws(() => cluster.update(MAPS, stale), { code: "conflict" });
  cluster.refuse(`delete ${MAPS}`, new ApiError("forbidden", "no"));
  assert.throws(() => cluster.delete(MAPS, "n", "parent"), { code: "forbidden" });
  cluster.delete(MAPS, "n", "parent");
  assert.ok(cluster.get(MAPS, "n", "parent").metadata.deletionTimestamp);
  cluster.patch(MAPS, "n", "parent", { metadata: { finalizers: null } });
  assert.equal(cluster.get(MAPS, "n", "parent"), null);
  cluster.apply(MAPS, object("child", { labels: { a: "b" } }));
  cluster.apply(MAPS, object("child", { labels: { a: "c" } }));
  assert.deepEqual(cluster.takeActions(), [
    "create v1/configmaps n/child",
    "delete v1/configmaps n/parent",
    'patch v1/configmaps n/parent {"metadata":{"finalizers":null}}',
    "apply v1/configmaps n/child",
  ]);
});
