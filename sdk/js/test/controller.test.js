import assert from "node:assert/strict";
import test from "node:test";

import { ApiError, Terminal, claimed, controller, owned, ownerReference } from "../src/controller.js";
import { FakeCluster } from "../src/testing.js";

const MAPS = "v1/configmaps";
const object = (name, more = {}) => ({ metadata: { namespace: "n", name, ...more } });

test("watches are checked and lowered", () => {
  const reconcile = () => {};
  const made = controller({ reconcile, watches: ["example.com/v1/things", { resource: "v1/pods", relation: owned("Thing"), labels: "a=b" }] });
  assert.deepEqual(made.watches(), [
    { resource: { group: "example.com", version: "v1", name: "things" }, relation: { tag: "primary" }, labelSelector: "", fieldSelector: "" },
    { resource: { group: "", version: "v1", name: "pods" }, relation: { tag: "owned", val: "Thing" }, labelSelector: "a=b", fieldSelector: "" },
  ]);
  assert.throws(() => controller({ reconcile, watches: [] }), /must export watches/);
  assert.throws(() => controller({ reconcile, watches: ["pods"] }), /is no resource/);
  assert.throws(() => controller({ reconcile, watches: [MAPS, "v1/pods"] }), /needs a relation/);
  assert.throws(() => controller({ reconcile, watches: [MAPS, { resource: "v1/pods", relation: claimed("X") }] }), /route/);
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
