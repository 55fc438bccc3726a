// The ingress world: `policy.js` exports `compile(objects)`, which returns a route table that the host's data plane executes.
//
// What a table leaves out is filled in here with the defaults that nginx's controller has.

import { parse } from "./bytes.js";
import { synchronous } from "./host.js";

/** Kinds and where `compile` finds them. */
const LISTS = { Ingress: "ingresses", IngressClass: "ingressClasses", Service: "services", EndpointSlice: "endpointSlices", Secret: "secrets" };

const ROUTE = {
  pathMatch: "prefix",
  rewrite: null,
  forceTls: false,
  canaries: [],
  auth: null,
  allowSources: [],
  denySources: [],
  maxBodyBytes: 0,
  requestsPerSecond: 0,
  requestHeaders: [],
  responseHeaders: [],
  cors: null,
  source: "",
};
const BACKEND = {
  endpoints: [],
  balance: "round-robin",
  protocol: "http",
  affinity: null,
  connectTimeoutMilliseconds: 5_000,
  readTimeoutMilliseconds: 60_000,
  retries: 2,
};
const CANARY = { weight: 0, weightTotal: 100, header: null, cookie: null };
const TABLE = { hosts: [], backends: [], certificates: [], fallback: null, served: [], problems: [] };

/** To the backend at this place in `backends`. */
export const forward = (backend) => ({ tag: "forward", val: backend });
export const redirect = (status, location) => ({ tag: "redirect", val: [status, location] });
export const respond = (status, body) => ({ tag: "respond", val: [status, body] });

/** `namespace/name`, as `source` and `served` have it. */
export function nameOf({ metadata }) {
  return `${metadata.namespace ?? ""}/${metadata.name}`;
}

/** The ready addresses behind a port of a Service; `port` is `{ name }` or `{ number }` as in an Ingress. */
export function endpointsOf({ services, endpointSlices }, namespace, serviceName, port) {
  const service = services.find(({ metadata }) => metadata.namespace === namespace && metadata.name === serviceName);
  const wanted = service?.spec?.ports?.find((p) => (port.name ? p.name === port.name : p.port === port.number));
  if (!wanted) return [];
  const ofService = ({ metadata }) => metadata.namespace === namespace && metadata.labels?.["kubernetes.io/service-name"] === serviceName;
  return endpointSlices.filter(ofService).flatMap((slice) => {
    const target = (slice.ports ?? []).find((p) => (p.name ?? "") === (wanted.name ?? ""));
    if (!target?.port) return [];
    const ready = (slice.endpoints ?? []).filter((endpoint) => endpoint.conditions?.ready !== false);
    return ready.flatMap((endpoint) => endpoint.addresses.map((address) => ({ address, port: target.port })));
  });
}

/** The component's exports, of what the author's module exports. */
export function ingress(policy) {
  if (typeof policy.compile !== "function") throw new Error("policy.js must export a function compile(objects)");
  return {
    compile: (fed) => {
      try {
        return complete(synchronous(policy.compile(lift(fed)), "compile"));
      } catch (error) {
        console.error(error);
        throw error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      }
    },
  };
}

/** The host's list as lists by kind, parsed. */
export function lift(fed) {
  const objects = Object.fromEntries(Object.values(LISTS).map((list) => [list, []]));
  for (const { kind, json } of fed) if (LISTS[kind]) objects[LISTS[kind]].push(parse(json));
  return objects;
}

/** A table with everything that the world asks for. */
export function complete(table) {
  const whole = { ...TABLE, ...table };
  whole.hosts = whole.hosts.map(({ name = "", routes = [] }) => ({ name, routes: routes.map(completeRoute).sort(longestFirst) }));
  whole.backends = whole.backends.map((backend) => ({ ...BACKEND, ...backend }));
  whole.problems = whole.problems.map(({ object, reason, message }) => ({
    kind: object.kind ?? "Ingress",
    namespace: object.metadata.namespace ?? "",
    name: object.metadata.name,
    reason,
    message,
  }));
  return whole;
}

function completeRoute(route) {
  const whole = { ...ROUTE, ...route };
  if (typeof whole.path !== "string" || !whole.action) throw new Error(`a route needs a path and an action: ${JSON.stringify(route)}`);
  whole.canaries = whole.canaries.map((canary) => ({ ...CANARY, ...canary }));
  return whole;
}

/** The data plane takes the first route that matches. */
function longestFirst(a, b) {
  return b.path.length - a.path.length;
}
