import assert from "node:assert/strict";
import test from "node:test";

import { FakeCluster } from "pintle/testing";

import * as policy from "./policy.js";

test("counts once", () => {
  const cluster = new FakeCluster();
  cluster.add("v1/configmaps", { metadata: { namespace: "default", name: "a" }, data: { x: "1", y: "2" } });
  cluster.reconcile(policy, "default", "a");
  assert.equal(cluster.object("v1/configmaps", "default", "a").metadata.labels["{{name}}/keys"], "2");
  assert.equal(cluster.takeActions().length, 1);
  cluster.reconcile(policy, "default", "a");
  assert.deepEqual(cluster.takeActions(), []);
});
