import assert from "node:assert/strict";
import test from "node:test";

import { FakeScheduler } from "pintle/testing";

import * as policy from "./policy.js";

function cluster() {
  const made = new FakeScheduler(policy);
  made.addNode({ name: "bare" });
  made.addNode({ name: "some", annotations: { "data.example.com/holds": "clicks" } });
  made.addNode({ name: "all", labels: { "holds.data.example.com/views": "" }, annotations: { "data.example.com/holds": "clicks, users" } });
  return made;
}

const reads = (list, more = {}) => ({ annotations: { "data.example.com/reads": list, ...more } });

test("the more of its data a node holds, the better", () => {
  assert.deepEqual(cluster().scores(reads("clicks, views")), { all: 100, bare: 20, some: 60 });
  assert.equal(cluster().schedule(reads("views,users")).node, "all");
});

test("a pod without data goes where there is room", () => {
  const made = cluster();
  made.place({ requests: { milliCpu: 2000 } }, "all");
  made.place({ requests: { milliCpu: 1000 } }, "some");
  assert.equal(made.schedule().node, "bare");
});

test("a full node gets nothing, whatever it holds", () => {
  const made = cluster();
  made.place({ requests: { milliCpu: 4000 } }, "all");
  assert.equal(made.schedule({ ...reads("clicks"), requests: { milliCpu: 500 } }).node, "some");
});

test("a pod may insist on its data", () => {
  const required = { "data.example.com/required": "true" };
  assert.equal(cluster().schedule(reads("clicks,views", required)).node, "all");
  assert.deepEqual(cluster().schedule(reads("maps", required)).reasons, ["3 node(s) lacked data that the pod requires"]);
});
