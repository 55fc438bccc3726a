// An ingress controller for pintle: each rule's paths go to their Service, everything else gets a 404.
//
// `compile` gets all objects and returns the whole table; a data plane in the host executes it, and the plugin sees no request. It is
// called again after every change.

import { endpointsOf, forward, nameOf, respond } from "pintle/ingress";

/** @import { Backend, Objects, Route, RouteTable } from "pintle/ingress" */

/**
 * @param {Objects} objects
 * @returns {RouteTable}
 */
export function compile(objects) {
  /** @type {Backend[]} */
  const backends = [];
  /** @type {Map<string, Route[]>} */
  const hosts = new Map();
  const problems = [];
  for (const ingress of objects.ingresses) {
    const { namespace } = ingress.metadata;
    for (const { host = "", http } of ingress.spec.rules ?? []) {
      const routes = hosts.get(host) ?? [];
      hosts.set(host, routes);
      for (const { path = "/", pathType, backend } of http?.paths ?? []) {
        const service = backend.service;
        const endpoints = service ? endpointsOf(objects, namespace, service.name, service.port) : [];
        if (endpoints.length === 0) problems.push({ object: ingress, reason: "NoEndpoints", message: `nothing answers for ${path}` });
        const at = backends.push({ name: `${namespace}/${service?.name}`, endpoints }) - 1;
        routes.push({ path, pathMatch: pathType === "Exact" ? "exact" : "prefix", action: forward(at), source: nameOf(ingress) });
      }
    }
  }
  return {
    hosts: [...hosts].map(([name, routes]) => ({ name, routes })),
    backends,
    fallback: respond(404, "no such host\n"),
    served: objects.ingresses.map(nameOf),
    problems,
  };
}
