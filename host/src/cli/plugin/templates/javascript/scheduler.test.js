import assert from "node:assert/strict";
import test from "node:test";

import { FakeScheduler } from "pintle/testing";

import * as policy from "./policy.js";

test("pods spread over the nodes", () => {
  const cluster = new FakeScheduler(policy);
  cluster.addNode({ name: "a" });
  cluster.addNode({ name: "b" });
  const places = [1, 2].map(() => cluster.schedule({ requests: { milliCpu: 500 } }).node);
  assert.deepEqual(places.sort(), ["a", "b"]);
});

test("a node that is kept from a namespace takes none of its pods", () => {
  const cluster = new FakeScheduler(policy);
  cluster.addNode({ name: "a", labels: { "{{name}}/keep-out": "guests" } });
  assert.deepEqual(cluster.schedule({ namespace: "guests" }).reasons, ["1 node(s) were kept from the namespace"]);
  assert.equal(cluster.schedule({ namespace: "owners" }).node, "a");
});
