// Harnesses for `node --test`, without a cluster.

import type { Cluster, Key, KubeObject, Policy as ControllerPolicy, Resource } from "./controller.js";
import type { Policy as IngressPolicy } from "./ingress.js";
import type { Image, Pod, Policy as SchedulerPolicy, Resources, Taint } from "./scheduler.js";

type Some<T> = { [field in keyof T]?: T[field] };

/** A pod: what is not said is as in a pod that wishes for nothing. */
export type PodSpec = Omit<Some<Pod>, "requests"> & { requests?: Partial<Resources> };

export interface NodeSpec {
  name: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  taints?: Taint[];
  unschedulable?: boolean;
  /** 4 processors and 16 GiB when not given. */
  allocatable?: Partial<Resources>;
  /** 110 when not given. */
  maxPods?: number;
  images?: Image[];
}

/** A small cluster for a scheduling policy: nodes and pods in, decisions out. */
export class FakeScheduler {
  constructor(policy: SchedulerPolicy, config?: string);
  /** Puts in a node, or changes one. */
  addNode(node: NodeSpec): void;
  removeNode(name: string): void;
  /** A pod that runs on the node already. */
  place(pod: PodSpec, nodeName: string): void;
  remove(podName: string, namespace?: string): void;
  /** Decides and places. */
  schedule(pod?: PodSpec): { node: string; score: number; feasible: number } | { node: null; reasons: string[] };
  /** Every feasible node's score by name. Places nothing. */
  scores(pod?: PodSpec): Record<string, number>;
  /** Whom to evict so that the pod fits, by pods' names. */
  preempt(pod: PodSpec, among?: string[]): { node: string; victims: string[] } | null;
  /** As an extender in a profile: scores of those of the named nodes that pass, and the reasons of the others. */
  rank(pod: PodSpec, nodes: string[]): { scores: Record<string, number>; reasons: string[] };
}

/** A cluster in memory for a controller: objects in, actions out. */
export class FakeCluster implements Cluster {
  config: string;
  /** Puts an object in as the API server would hold it. Nothing is noted. */
  add(resource: Resource, object: KubeObject): KubeObject;
  remove(resource: Resource, namespace: string, name: string): boolean;
  object(resource: Resource, namespace: string, name: string): KubeObject | null;
  all(resource: Resource): KubeObject[];
  /** Changes a stored object in place, as another actor would. */
  change(resource: Resource, namespace: string, name: string, change: (object: KubeObject) => void): KubeObject;
  passSeconds(seconds: number): void;
  now(): string;
  /** The next write of that kind, such as `create v1/pods`, fails so. */
  refuse(action: string, error: Error): void;
  /** What was done since the last call, one line a write or event. */
  takeActions(): string[];
  reconcile(policy: ControllerPolicy, namespace: string, name: string): { afterSeconds?: number } | void;
  /** The keys of a change, as the host would have them: it passes on what the watch is `reading`, and does not ask where that stays the same.
   * Throws where all of the object leads to other keys. */
  route(policy: ControllerPolicy, index: number, before: KubeObject | null, after: KubeObject | null): Key[];
  get: Cluster["get"];
  getLive: Cluster["getLive"];
  list: Cluster["list"];
  summaries: Cluster["summaries"];
  create: Cluster["create"];
  update: Cluster["update"];
  updateStatus: Cluster["updateStatus"];
  patch: Cluster["patch"];
  apply: Cluster["apply"];
  delete: Cluster["delete"];
  event: Cluster["event"];
}

/** Compiles objects, each with its `kind`, and gives the table with all its defaults. */
export function routeTable(policy: IngressPolicy, objects: KubeObject[]): any;
