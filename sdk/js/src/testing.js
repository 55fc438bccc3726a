// Harnesses for `node --test`, without a cluster: objects and nodes in, actions and decisions out.

export { FakeCluster } from "./testing/cluster.js";
export { FakeScheduler } from "./testing/scheduler.js";
export { routeTable } from "./testing/ingress.js";
