/// <reference path="./globals.d.ts" />
// What a controller sees. The contract is `wit/controller/controller.wit`.

/** An object of the API. */
export type KubeObject = Record<string, any>;

/** "apps/v1/deployments", "v1/pods": group, version and plural name. */
export type Resource = string;

export interface Key {
  /** Empty for cluster-scoped objects. */
  namespace: string;
  name: string;
}

export type Relation =
  | { tag: "primary" }
  | { tag: "owned"; val: string }
  | { tag: "routed" }
  | { tag: "local" }
  | { tag: "claimed"; val: string }
  | { tag: "indexed" };

export interface Watch {
  resource: Resource;
  /** The first watch is primary and needs none. */
  relation?: Relation;
  /** `a=b,c in (d,e)`. */
  labels?: string;
  fields?: string;
  /** What `route` looks at, as paths: "metadata.labels", or "status.conditions.type" for the types of all conditions. The host gives it nothing
   * else of the object, and does not ask about a change of anything else. All of the object when not given. */
  reading?: Path[];
}

/** Names with dots between them; a list of them where one has a dot in it: ["metadata", "annotations", "example.com/colour"]. */
export type Path = string | string[];

export interface Query {
  namespace?: string;
  labels?: string;
  fields?: string;
  /** The uid in the owner reference with `controller: true`. */
  ownerUid?: string;
}

export interface Owner {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
}

export interface Summary {
  namespace: string;
  name: string;
  uid: string;
  revision: number;
  labels: Record<string, string>;
  controller: Owner | null;
  /** Seconds since 1970. */
  created: number;
  deleting: boolean;
  phase: string;
  ready: boolean;
  node: string;
}

export type PatchType = "json" | "merge" | "strategic" | "apply";

/** The cluster, as far as the plugin's grants reach. Reads of watched resources come from the host's indexes and see the plugin's own
 * writes; others go to the API server. Everything but `get` and `getLive` throws an ApiError when it does not do what was asked. */
export interface Cluster {
  /** `spec.config` of the Plugin, as text. */
  readonly config: string;
  /** Null where it is not there. */
  get(resource: Resource, namespace: string, name: string): KubeObject | null;
  /** Past the caches: for decisions that must not be stale. */
  getLive(resource: Resource, namespace: string, name: string): KubeObject | null;
  list(resource: Resource, query?: Query): KubeObject[];
  /** The typed part of each object, which costs no parsing. */
  summaries(resource: Resource, query?: Query): Summary[];
  create(resource: Resource, object: KubeObject, options?: { subresource?: string }): KubeObject;
  /** `metadata.resourceVersion`, when present, must be the current one. */
  update(resource: Resource, object: KubeObject, options?: { subresource?: string }): KubeObject;
  updateStatus(resource: Resource, object: KubeObject): KubeObject;
  /** A merge patch when no `type` is given. */
  patch(resource: Resource, namespace: string, name: string, body: any, options?: { type?: PatchType; subresource?: string }): KubeObject;
  /** Server-side apply: the object holds what this plugin has a say in, and is created when it is not there. */
  apply(resource: Resource, object: KubeObject, options?: { subresource?: string }): KubeObject;
  delete(
    resource: Resource,
    namespace: string,
    name: string,
    options?: { uid?: string; gracePeriodSeconds?: number; propagationPolicy?: "" | "Background" | "Foreground" | "Orphan" },
  ): void;
  /** Records an Event about an object. */
  event(resource: Resource, object: KubeObject, type: "Normal" | "Warning", reason: string, message: string): void;
}

/** What `policy.js` exports. */
export interface Policy {
  /** The first one is the primary: its objects' names are the keys. */
  watches: (Resource | Watch)[];
  /** Brings the world nearer to what the key's object asks for. Called again after that time even if nothing changes. An exception brings
   * the key back with back-off, unless it is a `Terminal` or says that the object is invalid. */
  reconcile(cluster: Cluster, key: Key): { afterSeconds?: number } | void;
  /** The keys that a change of an object of a routed, local or claimed watch concerns; `index` is the watch's place in `watches`, and the objects are
   * what that is `reading` of them. */
  route?(cluster: Cluster, index: number, before: KubeObject | null, after: KubeObject | null): Key[];
}

export class ApiError extends Error {
  constructor(code: ApiError["code"], message: string, retryAfterSeconds?: number);
  code: "not-found" | "already-exists" | "conflict" | "forbidden" | "invalid" | "too-many-requests" | "unavailable" | "other";
  retryAfterSeconds: number;
}

/** Thrown from `reconcile`: not to be tried again before the object changes. */
export class Terminal extends Error {}

export const primary: Relation;
/** The key is the owner reference with `controller: true`, when its kind is this one. */
export function owned(kind: string): Relation;
/** `route` says which keys a change concerns. */
export const routed: Relation;
/** As `routed`, when every key is in the object's own namespace: while that has no primary object, `route` is not asked. */
export const local: Relation;
/** As `owned`; `route` sees only objects without an owner that controls them, in namespaces that have a primary object. */
export function claimed(kind: string): Relation;
/** Kept for reads; a change makes no key. */
export const indexed: Relation;

/** An owner reference with `controller: true`, for `metadata.ownerReferences`. */
export function ownerReference(owner: KubeObject): KubeObject;

export function controller(policy: Policy): Record<string, Function>;
