/// <reference path="./globals.d.ts" />
// What an ingress controller sees and makes. The table's fields are those of `wit/ingress/ingress.wit`, where each is explained; what
// is left out takes nginx's defaults.

/** An object of the API. */
export type KubeObject = Record<string, any>;

export interface Objects {
  ingresses: KubeObject[];
  ingressClasses: KubeObject[];
  services: KubeObject[];
  endpointSlices: KubeObject[];
  secrets: KubeObject[];
}

export interface Pair {
  key: string;
  value: string;
}

export interface Endpoint {
  address: string;
  port: number;
}

export interface Affinity {
  cookie: string;
  /** 0: a session cookie. */
  maxAgeSeconds: number;
  path: string;
}

export interface Backend {
  /** For logs and metrics: `namespace/service:port`. */
  name: string;
  endpoints?: Endpoint[];
  balance?: "round-robin" | "least-connections" | "hash-client" | "hash-uri";
  protocol?: "http" | "https" | "grpc" | "grpcs";
  affinity?: Affinity | null;
  connectTimeoutMilliseconds?: number;
  readTimeoutMilliseconds?: number;
  /** Attempts on other endpoints when one refuses the connection. */
  retries?: number;
}

export type Action = { tag: "forward"; val: number } | { tag: "redirect"; val: [number, string] } | { tag: "respond"; val: [number, string] };

export interface Canary {
  backend: number;
  weight?: number;
  /** 100 when not given. */
  weightTotal?: number;
  header?: Pair | null;
  cookie?: string | null;
}

export interface BasicAuth {
  realm: string;
  users: Pair[];
}

export interface Cors {
  allowOrigins: string[];
  allowMethods: string;
  allowHeaders: string;
  allowCredentials: boolean;
  maxAgeSeconds: number;
}

export interface Route {
  path: string;
  /** "prefix" when not given. */
  pathMatch?: "exact" | "prefix" | "pattern";
  action: Action;
  rewrite?: string | null;
  /** 308 to https unless the request came over TLS. */
  forceTls?: boolean;
  canaries?: Canary[];
  auth?: BasicAuth | null;
  allowSources?: string[];
  denySources?: string[];
  maxBodyBytes?: number;
  requestsPerSecond?: number;
  requestHeaders?: Pair[];
  responseHeaders?: Pair[];
  cors?: Cors | null;
  /** `namespace/name` of the Ingress. */
  source?: string;
}

export interface VirtualHost {
  /** `a.example.com`, `*.example.com`, or empty for every other host. */
  name: string;
  /** In any order: the SDK puts the longest path first. */
  routes: Route[];
}

export interface Certificate {
  hosts: string[];
  /** PEM. */
  chain: Uint8Array;
  key: Uint8Array;
  source: string;
}

/** Something wrong in one object. The rest is served all the same. */
export interface Problem {
  object: KubeObject;
  reason: string;
  message: string;
}

export interface RouteTable {
  hosts?: VirtualHost[];
  backends?: Backend[];
  certificates?: Certificate[];
  /** Where nothing matches; none answers 404. */
  fallback?: Action | null;
  /** Ingresses (`namespace/name`) whose status gets the data plane's addresses. */
  served?: string[];
  problems?: Problem[];
}

/** What `policy.js` exports. */
export interface Policy {
  /** The whole table from all objects. An exception refuses the change, and the table before stays. */
  compile(objects: Objects): RouteTable;
}

export function forward(backend: number): Action;
export function redirect(status: number, location: string): Action;
export function respond(status: number, body: string): Action;
/** `namespace/name`. */
export function nameOf(object: KubeObject): string;
/** The ready addresses behind a port of a Service. */
export function endpointsOf(objects: Objects, namespace: string, serviceName: string, port: { name?: string; number?: number }): Endpoint[];

export function ingress(policy: Policy): Record<string, Function>;
