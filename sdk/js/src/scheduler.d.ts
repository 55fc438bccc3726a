/// <reference path="./globals.d.ts" />
// What a scheduling policy sees. The fields are those of `wit/scheduler/scheduler.wit`, where each is explained; labels and the like are
// objects here.

/** CPU in millicores, memory and storage in bytes, all others in whole units. */
export interface Resources {
  milliCpu: number;
  memory: number;
  ephemeralStorage: number;
  /** Extended resources and huge pages, by name. */
  extended: Record<string, number>;
}

export type Effect = "no-schedule" | "prefer-no-schedule" | "no-execute";

export interface Taint {
  key: string;
  value: string;
  effect: Effect;
}

export interface Toleration {
  /** Empty with `exists`: every key. */
  key: string;
  exists: boolean;
  value: string;
  /** Null: every effect. */
  effect: Effect | null;
}

export interface Requirement {
  key: string;
  operator: "in" | "not-in" | "exists" | "does-not-exist" | "gt" | "lt";
  values: string[];
}

export interface NodeSelectorTerm {
  labels: Requirement[];
  /** `metadata.name` is the only field. */
  fields: Requirement[];
}

export interface PreferredNodeTerm {
  weight: number;
  term: NodeSelectorTerm;
}

export interface PodAffinityTerm {
  /** Over the pods' labels. Null matches no pod. */
  selector: Requirement[] | null;
  namespaces: string[];
  /** Over the labels of namespaces; an empty list matches all, null selects by `namespaces` alone. */
  namespaceSelector: Requirement[] | null;
  topologyKey: string;
}

export interface PreferredPodTerm {
  weight: number;
  term: PodAffinityTerm;
}

export interface SpreadConstraint {
  maxSkew: number;
  topologyKey: string;
  whenUnsatisfiable: "do-not-schedule" | "schedule-anyway";
  selector: Requirement[] | null;
  minDomains: number | null;
  honorNodeAffinity: boolean;
  honorNodeTaints: boolean;
}

export interface HostPort {
  /** `0.0.0.0` for all addresses. */
  ip: string;
  protocol: "TCP" | "UDP" | "SCTP";
  port: number;
}

export interface Image {
  names: string[];
  sizeBytes: number;
}

/** A node with the pods that run on it or are assumed to. */
export interface Node {
  readonly id: number;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  /** Cordoned. */
  readonly unschedulable: boolean;
  readonly allocatable: Readonly<Resources>;
  /** `status.allocatable.pods`. */
  readonly maxPods: number;
  readonly images: readonly Image[];
  readonly pods: readonly Pod[];
  /** The sum of the pods' requests. */
  readonly requested: Readonly<Resources>;
  /** What is left for further pods. */
  readonly free: Readonly<Resources & { pods: number }>;
}

/** The words for a node that a volume does not allow. */
export interface VolumeReason {
  /** As upstream names its plugin: `VolumeBinding`, `VolumeZone`. */
  readonly filter: string;
  readonly message: string;
}

/** A pod as scheduling sees it: defaults applied, requests summed over its containers. */
export interface Pod {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly priority: number;
  readonly mayPreempt: boolean;
  readonly requests: Readonly<Resources>;
  /** What upstream's scores take the pod to use: its containers' requests, and 100 millicores and 200 MiB for each that asks for none. */
  readonly scoredMilliCpu: number;
  readonly scoredMemory: number;
  readonly nodeSelector: Readonly<Record<string, string>>;
  /** Null: no required node affinity. */
  readonly requiredNodes: readonly NodeSelectorTerm[] | null;
  readonly preferredNodes: readonly PreferredNodeTerm[];
  /** For each demand that a volume makes of the node: its terms, any of which must match. */
  readonly volumeNodes: readonly NodeSelectorTerm[][];
  /** Why a node is refused that does not meet the demand, in the order of `volumeNodes`. */
  readonly volumeReasons: readonly VolumeReason[];
  /** Names of the PersistentVolumeClaims that the pod mounts, in its own namespace. */
  readonly claims: readonly string[];
  /** Those of them that one pod alone may use (`ReadWriteOncePod`). For a pod that is decided about. */
  readonly exclusiveClaims: readonly string[];
  readonly tolerations: readonly Toleration[];
  readonly requiredAffinity: readonly PodAffinityTerm[];
  readonly preferredAffinity: readonly PreferredPodTerm[];
  readonly requiredAntiAffinity: readonly PodAffinityTerm[];
  readonly preferredAntiAffinity: readonly PreferredPodTerm[];
  readonly spread: readonly SpreadConstraint[];
  /** They are the defaults: a node that lacks one of their labels counts all the same. */
  readonly spreadByDefault: boolean;
  readonly hostPorts: readonly HostPort[];
  /** One for each container and init container. */
  readonly images: readonly string[];
  /** Those of image volumes. */
  readonly volumeImages: readonly string[];
  /** The id of `status.nominatedNodeName`. */
  readonly nominated: number | null;
  /** Seconds since 1970. */
  readonly started: number;
  readonly deleting: boolean;
}

/** What `policy.js` exports: `filter`, `score`, or both. */
export interface Policy {
  /** Why the pod must not run on the node, in words for its owner; nothing when it may. Upstream's filters have passed it already. */
  filter?(pod: Pod, node: Node): string | boolean | null | undefined | void;
  /** From 0 to 100, higher is better. */
  score?(pod: Pod, node: Node): number;
  /** In a large cluster the search stops at as many feasible nodes as upstream's would, 500 of 5,000. True, or for which pods: look at all,
   * and take ten times as long. */
  everyNode?: boolean | ((pod: Pod) => boolean);
  /** Takes `spec.config` of the Plugin; an exception refuses the plugin with its words. */
  configure?(config: string): void;
}

export function scheduler(policy: Policy): Record<string, Function>;
