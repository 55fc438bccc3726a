import assert from "node:assert/strict";
import test from "node:test";

import { routeTable } from "pintle/testing";

import * as policy from "./policy.js";

const path = (path) => ({ path, pathType: "Prefix", backend: { service: { name: "web", port: { number: 80 } } } });
const ingress = {
  kind: "Ingress",
  metadata: { namespace: "n", name: "i" },
  spec: { rules: [{ host: "a.example", http: { paths: [path("/"), path("/api")] } }] },
};
const service = { kind: "Service", metadata: { namespace: "n", name: "web" }, spec: { ports: [{ name: "http", port: 80 }] } };
const slice = {
  kind: "EndpointSlice",
  metadata: { namespace: "n", name: "web-1", labels: { "kubernetes.io/service-name": "web" } },
  ports: [{ name: "http", port: 8080 }],
  endpoints: [{ addresses: ["10.0.0.1"] }, { addresses: ["10.0.0.2"], conditions: { ready: false } }],
};

test("rules become routes to what is ready", () => {
  const table = routeTable(policy, [ingress, service, slice]);
  assert.deepEqual(table.hosts[0].routes.map((route) => route.path), ["/api", "/"]);
  assert.deepEqual(table.backends[0].endpoints, [{ address: "10.0.0.1", port: 8080 }]);
  assert.deepEqual([table.served, table.problems], [["n/i"], []]);
});

test("a Service that is missing is a problem of its Ingress alone", () => {
  const table = routeTable(policy, [ingress]);
  assert.deepEqual(table.problems.map((problem) => [problem.name, problem.reason]), [["i", "NoEndpoints"], ["i", "NoEndpoints"]]);
});
