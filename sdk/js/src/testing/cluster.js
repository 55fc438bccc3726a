// A cluster in memory for tests of controllers: objects in, actions out.
//
// It keeps objects and counts revisions, answers conflicts and owner look-ups as the host does, and writes down what was done. It has
// no defaults, no validation and no other controllers: what a test does not put in is not there.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";

import { ApiError, namesOf } from "../controller.js";
import { parseSelector } from "../selector.js";
import { part } from "./reading.js";

export class FakeCluster {
  config = "";
  #objects = new Map();
  #revision = 0;
  #seconds = 1_700_000_000;
  #actions = [];
  /** The next writes of this kind fail with the error. */
  #refusals = [];

  /** Puts an object in as the API server would hold it, with a uid and a revision. Nothing is noted. */
  add(resource, object) {
    const made = structuredClone(object);
    made.metadata.uid ??= `uid-${made.metadata.name}`;
    made.metadata.creationTimestamp ??= this.now();
    return this.#put(resource, made);
  }

  remove(resource, namespace, name) {
    return this.#objects.delete(place(resource, namespace, name));
  }

  object(resource, namespace, name) {
    return structuredClone(this.#objects.get(place(resource, namespace, name)) ?? null);
  }

  all(resource) {
    return [...this.#objects].filter(([key]) => key.startsWith(`${resource} `)).map(([, object]) => structuredClone(object));
  }

  /** Changes a stored object in place, as another actor would. */
  change(resource, namespace, name, change) {
    const object = this.object(resource, namespace, name);
    change(object);
    return this.#put(resource, object);
  }

  passSeconds(seconds) {
    this.#seconds += seconds;
  }

  /** As in `metadata.creationTimestamp`. */
  now() {
    return new Date(this.#seconds * 1000).toISOString().replace(".000", "");
  }

  /** The next write of that kind, such as `create v1/pods`, fails so. */
  refuse(action, error) {
    this.#refusals.push({ action, error });
  }

  /** What was done since the last call, one line a write or event. */
  takeActions() {
    const done = this.#actions;
    this.#actions = [];
    return done;
  }

  /** Reconciles a key once, as the host would: gives what `reconcile` returns, throws what it throws. */
  reconcile(policy, namespace, name) {
    return policy.reconcile(this, { namespace, name });
  }

  /** The keys of a change of an object, as the host would have them: it passes on what the watch is `reading`, and does not ask where that
   * stays the same, nor, where the watch is `local`, in a namespace without a primary object. Throws where all of the object leads to other
   * keys: then it reads less than `route` looks at; and where a `local` watch has keys of another namespace. */
  route(policy, index, before, after) {
    const { reading = [], relation } = policy.watches[index];
    const namespace = (after ?? before)?.metadata?.namespace ?? "";
    if (relation?.tag === "local" && !this.#hasPrimary(policy, namespace)) return [];
    const route = (before, after) => {
      const keys = policy.route(this, index, before ?? null, after ?? null);
      const strays = relation?.tag === "local" && keys.some((key) => (key.namespace ?? "") !== namespace);
      assert.ok(!strays, `watches[${index}] is local, and route leads to another namespace`);
      return keys;
    };
    if (reading.length === 0) return route(before, after);
    const paths = reading.map(namesOf);
    const [was, is] = [before, after].map((object) => object && part(object, paths));
    const changesHands = relation?.tag === "claimed" && isControlled(before) !== isControlled(after);
    if (isDeepStrictEqual(was, is) && !changesHands) return [];
    const keys = route(was, is);
    assert.deepEqual(route(before, after), keys, `watches[${index}] is reading less than route looks at`);
    return keys;
  }

  /** Those of the whole cluster are in every namespace. */
  #hasPrimary({ watches: [first] }, namespace) {
    const primaries = this.all(typeof first === "string" ? first : first.resource);
    return primaries.some(({ metadata }) => [namespace, "", undefined].includes(metadata.namespace));
  }

  get(resource, namespace, name) {
    return this.object(resource, namespace, name);
  }

  getLive(resource, namespace, name) {
    return this.object(resource, namespace, name);
  }

  list(resource, { namespace = "", labels = "", fields = "", ownerUid = "" } = {}) {
    const selects = parseSelector(labels);
    return this.all(resource).filter(
      (object) =>
        (namespace === "" || object.metadata.namespace === namespace) &&
        (ownerUid === "" || ownerOf(object)?.uid === ownerUid) &&
        selects(object.metadata.labels) &&
        fieldsMatch(object, fields),
    );
  }

  summaries(resource, query) {
    return this.list(resource, query).map(summary);
  }

  create(resource, object, { subresource = "" } = {}) {
    if (subresource !== "") return this.#note(`create ${subresource} of ${resource}`, shownName(object)) ?? {};
    const made = structuredClone(object);
    made.metadata.name ??= `${made.metadata.generateName ?? ""}${this.#revision + 1}`;
    const { namespace = "", name } = made.metadata;
    if (this.object(resource, namespace, name)) throw new ApiError("already-exists", `${resource} ${JSON.stringify(name)} already exists`);
    this.#note(`create ${resource}`, shownName(made));
    delete made.metadata.uid;
    return this.add(resource, made);
  }

  update(resource, object, { subresource = "" } = {}) {
    const current = this.#current(resource, object);
    const sent = object.metadata.resourceVersion;
    if (sent && sent !== current.metadata.resourceVersion) {
      throw new ApiError("conflict", `${resource} ${JSON.stringify(object.metadata.name)} has been modified`);
    }
    this.#note(`${subresource === "" ? "update" : `update ${subresource} of`} ${resource}`, shownName(object));
    return this.#put(resource, subresource === "" ? structuredClone(object) : { ...current, [subresource]: structuredClone(object[subresource]) });
  }

  updateStatus(resource, object) {
    return this.update(resource, object, { subresource: "status" });
  }

  /** Merge semantics for every kind of patch: enough for what controllers send. */
  patch(resource, namespace, name, body, { subresource = "" } = {}) {
    const current = this.#current(resource, { metadata: { namespace, name } });
    if (body.metadata?.uid && body.metadata.uid !== current.metadata.uid) throw new ApiError("conflict", "the uid differs");
    this.#note(`patch ${subresource === "" ? "" : `${subresource} of `}${resource}`, `${namespace}/${name} ${JSON.stringify(body)}`);
    return this.#put(resource, merge(current, body));
  }

  /** Creates, or merges where something differs. A field that was applied before and is not any more stays, unlike on a server. */
  apply(resource, object, { subresource = "" } = {}) {
    const { namespace = "", name } = object.metadata;
    const current = this.object(resource, namespace, name);
    if (!current && subresource !== "") throw notFound(resource, name);
    const wanted = merge(structuredClone(current ?? { metadata: {} }), object);
    if (current && JSON.stringify(wanted) === JSON.stringify(current)) return current;
    this.#note(`apply ${subresource === "" ? "" : `${subresource} of `}${resource}`, shownName(object));
    return current ? this.#put(resource, wanted) : this.add(resource, wanted);
  }

  delete(resource, namespace, name, { uid = "" } = {}) {
    const current = this.#current(resource, { metadata: { namespace, name } });
    if (uid && uid !== current.metadata.uid) throw new ApiError("conflict", "the uid differs");
    this.#note(`delete ${resource}`, `${namespace}/${name}`);
    if (current.metadata.finalizers?.length > 0) {
      current.metadata.deletionTimestamp ??= this.now();
      this.#put(resource, current);
    } else {
      this.remove(resource, namespace, name);
    }
  }

  event(resource, object, type, reason, message) {
    this.#actions.push(`event ${object.metadata.name} ${type} ${reason}: ${message}`);
  }

  #current(resource, { metadata: { namespace = "", name } }) {
    const current = this.object(resource, namespace, name);
    if (!current) throw notFound(resource, name);
    return current;
  }

  #note(action, rest) {
    const at = this.#refusals.findIndex((refusal) => refusal.action === action);
    if (at >= 0) throw this.#refusals.splice(at, 1)[0].error;
    this.#actions.push(`${action} ${rest}`);
  }

  /** Stores with a new revision; a deleted object that no finalizer keeps is gone. */
  #put(resource, object) {
    this.#revision += 1;
    object.metadata.resourceVersion = String(this.#revision);
    const { namespace = "", name, deletionTimestamp, finalizers = [] } = object.metadata;
    if (deletionTimestamp && finalizers.length === 0) this.remove(resource, namespace, name);
    else this.#objects.set(place(resource, namespace, name), structuredClone(object));
    return structuredClone(object);
  }
}

function place(resource, namespace, name) {
  return `${resource} ${namespace ?? ""}/${name}`;
}

function shownName({ metadata: { namespace = "", name } }) {
  return `${namespace}/${name}`;
}

function notFound(resource, name) {
  return new ApiError("not-found", `${resource} ${JSON.stringify(name)} not found`);
}

function ownerOf(object) {
  return object.metadata.ownerReferences?.find((owner) => owner.controller === true) ?? null;
}

function isControlled(object) {
  return Boolean(object && ownerOf(object));
}

function summary(object) {
  const { metadata, status = {}, spec = {} } = object;
  const owner = ownerOf(object);
  return {
    namespace: metadata.namespace ?? "",
    name: metadata.name,
    uid: metadata.uid,
    revision: Number(metadata.resourceVersion),
    labels: metadata.labels ?? {},
    controller: owner && { apiVersion: owner.apiVersion, kind: owner.kind, name: owner.name, uid: owner.uid },
    created: Math.floor(Date.parse(metadata.creationTimestamp) / 1000),
    deleting: metadata.deletionTimestamp !== undefined,
    phase: status.phase ?? "",
    ready: (status.conditions ?? []).some((condition) => condition.type === "Ready" && condition.status === "True"),
    node: spec.nodeName ?? "",
  };
}

/** Terms such as `spec.nodeName=a`, all of which must hold. */
function fieldsMatch(object, selector) {
  return selector
    .split(",")
    .filter((term) => term !== "")
    .every((term) => {
      const [path, wanted = ""] = term.split("=");
      return String(path.split(".").reduce((value, key) => value?.[key], object) ?? "") === wanted;
    });
}

function merge(target, patch) {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return structuredClone(patch);
  const merged = typeof target === "object" && target !== null && !Array.isArray(target) ? target : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = merge(merged[key], value);
  }
  return merged;
}
