import assert from "node:assert/strict";
import test from "node:test";

import { FakeCluster } from "pintle/testing";

import * as policy from "./policy.js";

const WEBSITES = "web.example.com/v1/websites";
const DEPLOYMENTS = "apps/v1/deployments";

function website(cluster, name, host) {
  const metadata = { namespace: "n", name, generation: 1 };
  cluster.add(WEBSITES, { apiVersion: "web.example.com/v1", kind: "Website", metadata, spec: { host, image: "x", replicas: 2, port: 80 } });
}

const ready = (cluster, name) => {
  const { readyReplicas, conditions } = cluster.object(WEBSITES, "n", name).status;
  return `${readyReplicas} ${conditions[0].status} ${conditions[0].reason}`;
};

test("a site is made once, and its status follows its Deployment", () => {
  const cluster = new FakeCluster();
  website(cluster, "shop", "shop.example");
  cluster.reconcile(policy, "n", "shop");
  assert.deepEqual(cluster.takeActions().map((action) => action.split(" {")[0]), [
    "patch web.example.com/v1/websites n/shop",
    "create v1/configmaps default/website-hosts",
    "event shop Normal HostClaimed: shop.example is this Website's",
    "apply v1/services n/shop",
    "apply networking.k8s.io/v1/ingresses n/shop",
    "apply apps/v1/deployments n/shop",
    "patch status of web.example.com/v1/websites n/shop",
  ]);
  assert.equal(ready(cluster, "shop"), "0 False Starting");
  cluster.reconcile(policy, "n", "shop");
  assert.deepEqual(cluster.takeActions(), []);
  cluster.change(DEPLOYMENTS, "n", "shop", (deployment) => (deployment.status = { readyReplicas: 2 }));
  cluster.reconcile(policy, "n", "shop");
  assert.equal(ready(cluster, "shop"), "2 True Served");
});

test("what somebody changes is put right", () => {
  const cluster = new FakeCluster();
  website(cluster, "shop", "shop.example");
  cluster.reconcile(policy, "n", "shop");
  cluster.change(DEPLOYMENTS, "n", "shop", (deployment) => (deployment.spec.replicas = 9));
  cluster.reconcile(policy, "n", "shop");
  assert.equal(cluster.object(DEPLOYMENTS, "n", "shop").spec.replicas, 2);
});

test("a host belongs to one site, until that one goes", () => {
  const cluster = new FakeCluster();
  website(cluster, "shop", "shop.example");
  website(cluster, "copy", "shop.example");
  cluster.reconcile(policy, "n", "shop");
  assert.deepEqual(cluster.reconcile(policy, "n", "copy"), { afterSeconds: 5 });
  assert.equal(ready(cluster, "copy"), "0 False HostTaken");
  assert.equal(cluster.object(DEPLOYMENTS, "n", "copy"), null);
  cluster.delete(WEBSITES, "n", "shop");
  cluster.reconcile(policy, "n", "shop");
  assert.equal(cluster.object(WEBSITES, "n", "shop"), null);
  cluster.reconcile(policy, "n", "copy");
  assert.equal(ready(cluster, "copy"), "0 False Starting");
});

test("a site that moves gives its old host back", () => {
  const cluster = new FakeCluster();
  website(cluster, "shop", "old.example");
  cluster.reconcile(policy, "n", "shop");
  cluster.change(WEBSITES, "n", "shop", (site) => (site.spec.host = "new.example"));
  cluster.reconcile(policy, "n", "shop");
  assert.deepEqual(cluster.object("v1/configmaps", "default", "website-hosts").data, { "new.example": "n/shop" });
});

test("an object of somebody else's is left alone", () => {
  const cluster = new FakeCluster();
  website(cluster, "shop", "shop.example");
  cluster.add(DEPLOYMENTS, { metadata: { namespace: "n", name: "shop" }, spec: { replicas: 7 } });
  assert.throws(() => cluster.reconcile(policy, "n", "shop"), { name: "Terminal" });
  assert.equal(cluster.object(DEPLOYMENTS, "n", "shop").spec.replicas, 7);
});
