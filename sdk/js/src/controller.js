// The controller world: `policy.js` exports `watches`, `reconcile(cluster, key)` and, for routed, local and claimed watches, `route(cluster,
// index, before, after)`. A resource is a string as in a path: "apps/v1/deployments", "v1/pods".
//
// Refuses nothing by itself: what the plugin is not granted comes back from the host as an ApiError with the code "forbidden".

import { parse, unparse } from "./bytes.js";
import { config, host, synchronous } from "./host.js";

/** A call of the API that did not do what was asked. `code`: "already-exists", "conflict", "forbidden", "invalid", ... */
export class ApiError extends Error {
  constructor(code, message, retryAfterSeconds = 0) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Thrown from `reconcile`: not to be tried again before the object changes. */
export class Terminal extends Error {
  constructor(message) {
    super(message);
    this.name = "Terminal";
  }
}

/** The watch's objects are those that work is done for; the first watch must be this, and is by default. */
export const primary = { tag: "primary" };
/** The key is the owner reference with `controller: true`, when its kind is this one. */
export const owned = (kind) => ({ tag: "owned", val: kind });
/** `route` says which keys a change concerns. */
export const routed = { tag: "routed" };
/** As `routed`, when every key is in the object's own namespace: while that has no primary object, `route` is not asked. */
export const local = { tag: "local" };
/** As `owned`; `route` sees only objects without an owner that controls them, in namespaces that have a primary object. */
export const claimed = (kind) => ({ tag: "claimed", val: kind });
/** Kept for reads; a change makes no key. */
export const indexed = { tag: "indexed" };

/** An owner reference with `controller: true`, for `metadata.ownerReferences`. */
export function ownerReference({ apiVersion, kind, metadata }) {
  return { apiVersion, kind, name: metadata.name, uid: metadata.uid, controller: true, blockOwnerDeletion: true };
}

/** The component's exports, of what the author's module exports. */
export function controller(policy) {
  if (!Array.isArray(policy.watches) || policy.watches.length === 0) throw new Error("policy.js must export watches, a list that is not empty");
  if (typeof policy.reconcile !== "function") throw new Error("policy.js must export a function reconcile(cluster, key)");
  const watches = policy.watches.map(lowerWatch);
  if (typeof policy.route !== "function" && watches.some(({ relation }) => routes(relation))) {
    throw new Error("policy.js has a watch that is routed, local or claimed, so it must export a function route(cluster, index, before, after)");
  }
  const cluster = new Cluster();
  return {
    watches: () => watches,
    route: (index, before, after) => (policy.route?.(cluster, index, optional(before), optional(after)) ?? []).map(lowerKey),
    reconcile: (key) => {
      try {
        return milliseconds(synchronous(policy.reconcile(cluster, key), "reconcile"));
      } catch (error) {
        throw failure(error);
      }
    },
  };
}

/** The cluster, as far as the plugin's grants reach. Reads of watched resources come from the host's indexes and see the plugin's own
 * writes; others go to the API server. */
class Cluster {
  /** `spec.config` of the Plugin, as text. */
  get config() {
    return config();
  }

  /** Null where it is not there. */
  get(resource, namespace, name) {
    return found(() => objects().get(id(resource), namespace, name));
  }

  /** Past the caches: for decisions that must not be stale. */
  getLive(resource, namespace, name) {
    return found(() => objects().getLive(id(resource), namespace, name));
  }

  list(resource, query = {}) {
    return asked(() => objects().list(lowerQuery(resource, query))).map(({ json }) => parse(json));
  }

  /** The typed part of each object, which costs no parsing. */
  summaries(resource, query = {}) {
    return asked(() => objects().listSummaries(lowerQuery(resource, query))).map(({ labels, ...rest }) => ({
      ...rest,
      labels: Object.fromEntries(labels.map(({ key, value }) => [key, value])),
    }));
  }

  create(resource, object, { subresource = "" } = {}) {
    return written(() => objects().create(id(resource), ...names(object), subresource, unparse(object)));
  }

  update(resource, object, { subresource = "" } = {}) {
    return written(() => objects().update(id(resource), ...names(object), subresource, unparse(object)));
  }

  updateStatus(resource, object) {
    return this.update(resource, object, { subresource: "status" });
  }

  /** `type`: "merge" when not given, "json", "strategic", "apply". */
  patch(resource, namespace, name, body, { type = "merge", subresource = "" } = {}) {
    return written(() => objects().patch(id(resource), namespace, name, subresource, type, unparse(body)));
  }

  /** Server-side apply: the object holds what this plugin has a say in, and is created when it is not there. */
  apply(resource, object, { subresource = "" } = {}) {
    return this.patch(resource, ...names(object), object, { type: "apply", subresource });
  }

  delete(resource, namespace, name, { uid = "", gracePeriodSeconds = -1, propagationPolicy = "" } = {}) {
    asked(() => objects().delete(id(resource), namespace, name, { uid, gracePeriodSeconds, propagationPolicy }));
  }

  /** Records an Event about an object. `type`: "Normal" or "Warning". */
  event(resource, object, type, reason, message) {
    objects().event(id(resource), ...names(object), type, reason, message);
  }
}

function objects() {
  return host().objects;
}

const ids = new Map();

function id(resource) {
  let found = ids.get(resource);
  if (!found) {
    const parts = resource.split("/");
    if (parts.length !== 2 && parts.length !== 3) throw new Error(`${JSON.stringify(resource)} is no resource: write "apps/v1/deployments" or "v1/pods"`);
    const [name, version, group = ""] = parts.reverse();
    ids.set(resource, (found = { group, version, name }));
  }
  return found;
}

function names(object) {
  return [object.metadata?.namespace ?? "", object.metadata?.name ?? ""];
}

function asked(call) {
  try {
    return call();
  } catch (error) {
    throw lift(error);
  }
}

function written(call) {
  return parse(asked(call).json);
}

function found(call) {
  try {
    return parse(call().json);
  } catch (error) {
    const lifted = lift(error);
    if (lifted.code === "not-found") return null;
    throw lifted;
  }
}

/** The world's `api-error`, which the interpreter throws as it is or wrapped. */
function lift(error) {
  const said = error?.payload ?? error;
  if (typeof said?.tag !== "string") return error;
  if (said.tag === "too-many-requests") return new ApiError(said.tag, `too many requests, retry after ${said.val} s`, said.val);
  return new ApiError(said.tag, said.val);
}

/** What is wrong with the object itself comes right when it changes; everything else may pass. */
function failure(error) {
  if (error instanceof Terminal || error?.code === "invalid") return { tag: "terminal", val: error.message };
  if (!(error instanceof ApiError)) console.error(error);
  return { tag: "retry", val: error instanceof Error ? error.message : String(error) };
}

/** `{ afterSeconds }`, or nothing. */
function milliseconds(outcome) {
  const seconds = outcome?.afterSeconds;
  if (seconds === undefined || seconds === null) return null;
  if (!Number.isFinite(seconds) || seconds < 0) throw new Terminal(`reconcile gave afterSeconds: ${seconds}`);
  return Math.round(seconds * 1000);
}

function optional(bytes) {
  return bytes.length === 0 ? null : parse(bytes);
}

function lowerKey({ namespace = "", name }) {
  return { namespace: namespace ?? "", name };
}

function lowerQuery(resource, { namespace = "", labels = "", fields = "", ownerUid = "" }) {
  return { resource: id(resource), namespace, labelSelector: labels, fieldSelector: fields, ownerUid };
}

function lowerWatch(watch, at) {
  const { resource, relation, labels = "", fields = "", reading = [] } = typeof watch === "string" ? { resource: watch } : watch;
  if (!relation && at > 0) throw new Error(`watches[${at}] (${resource}) needs a relation: owned("KIND"), routed, local, claimed("KIND") or indexed`);
  if (reading.length > 0 && !routes(relation)) {
    throw new Error(`watches[${at}] (${resource}): reading says what route looks at, so it must be routed, local or claimed`);
  }
  return { resource: id(resource), relation: relation ?? primary, labelSelector: labels, fieldSelector: fields, reading: reading.map(namesOf) };
}

function routes(relation) {
  return ["routed", "local", "claimed"].includes(relation?.tag);
}

/** Of a path, which is a list already where a name has a dot in it. */
export function namesOf(path) {
  return typeof path === "string" ? path.split(".") : [...path];
}
