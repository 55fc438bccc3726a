"""The component's entry for the scheduler world: componentize-py calls `WitWorld`, which drives the project's `policy.Policy`.

Turns the WIT's records into the SDK's types and back. Runs only in a component: `wit_world` is generated when one is built.
"""

from componentize_py_types import Err
from wit_world.imports import pintle_scheduler_types as wit

import host_env
from pintle.scheduler import BadConfig, Loop
from pintle.snapshot import (
    Budget, HostPort, Node, NodeTerm, Pod, PodTerm, Requirement, Resources, Spread, Taint, Toleration,
)
from policy import Policy

OPERATORS = {
    wit.Operator.IN: "In",
    wit.Operator.NOT_IN: "NotIn",
    wit.Operator.EXISTS: "Exists",
    wit.Operator.DOES_NOT_EXIST: "DoesNotExist",
    wit.Operator.GT: "Gt",
    wit.Operator.LT: "Lt",
}
EFFECTS = {
    None: None,
    wit.Effect.NO_SCHEDULE: "NoSchedule",
    wit.Effect.PREFER_NO_SCHEDULE: "PreferNoSchedule",
    wit.Effect.NO_EXECUTE: "NoExecute",
}


# The loop with its policy, once configured. `WitWorld` is made anew for each call.
loop = None


class WitWorld:
    @host_env.told
    def configure(self, config):
        global loop
        policy = Policy()
        try:
            policy.configure(config)
        except BadConfig as error:
            raise Err(str(error)) from None
        loop = Loop(policy)

    @host_env.told
    def reset(self):
        global loop
        loop = Loop(loop.policy)

    @host_env.told
    def feed(self, deltas):
        for delta in deltas:
            FEED[type(delta)](loop, delta.value)

    @host_env.told
    def schedule(self, pod, scope):
        found = loop.decide(lift_pod(pod), scope.start, scope.limit, scope.top, scope.seed)
        if not found.ranked:
            return wit.Outcome_None_(rejections(found.rejected))
        return wit.Outcome_Fits(wit.Choice(scores(found.ranked), found.feasible, found.looked_at, found.next_start))

    @host_env.told
    def rank(self, pod, nodes):
        ranked, rejected = loop.rank(lift_pod(pod), nodes)
        return wit.Ranking(scores(ranked), rejections(rejected))

    @host_env.told
    def preempt(self, pod, among):
        victims = loop.preempt(lift_pod(pod), among)
        if victims is None:
            return wit.Attempt_None_([])
        return wit.Attempt_Evict(wit.Preemption(victims.node.id, [p.uid for p in victims.pods]))

    @host_env.told
    def explain(self, pod, node):
        return [wit.Reason(*line) for line in loop.explain(lift_pod(pod), node)]


def scores(ranked):
    return [wit.Ranked(node.id, round(score)) for node, score in ranked]


def rejections(rejected):
    return [wit.Rejection(*why[:2], nodes, why[2]) for why, nodes in rejected.items()]


def pairs(fed):
    return {pair.key: pair.value for pair in fed}


def resources(fed):
    return Resources(fed.milli_cpu, fed.memory, fed.ephemeral_storage, dict(fed.extended))


def requirements(fed):
    return None if fed is None else [Requirement(r.key, OPERATORS[r.operator], r.values) for r in fed]


def node_terms(fed):
    return None if fed is None else [NodeTerm(requirements(t.labels), requirements(t.fields)) for t in fed]


def pod_term(fed, weight=0):
    return PodTerm(fed.topology_key, requirements(fed.selector), fed.namespaces, requirements(fed.namespace_selector), weight)


def spread(fed):
    hard = fed.when_unsatisfiable == wit.Unsatisfiable.DO_NOT_SCHEDULE
    selector = requirements(fed.selector)
    return Spread(fed.topology_key, fed.max_skew, hard, selector, fed.min_domains, fed.honor_node_affinity, fed.honor_node_taints)


def lift_pod(fed):
    return Pod(
        **({} if fed.constraints is None else asked(fed.constraints)),
        name=fed.name,
        namespace=fed.namespace,
        uid=fed.uid,
        labels=pairs(fed.labels),
        annotations=pairs(fed.annotations),
        priority=fed.priority,
        may_preempt=fed.may_preempt,
        requests=resources(fed.requests),
        tolerations=[Toleration(t.key, t.exists, t.value, EFFECTS[t.effect]) for t in fed.tolerations],
        images=fed.images,
        started=fed.started,
        deleting=fed.deleting,
    )


def asked(fed):
    """What a pod asks of its node beside room: fields of the SDK's pod, which are empty where it asks for nothing."""
    fields = dict(host_ports=[HostPort(p.port, p.protocol, p.ip) for p in fed.host_ports])
    if nodes := fed.nodes:
        fields |= dict(
            node_selector=pairs(nodes.selector),
            required_nodes=node_terms(nodes.required),
            preferred_nodes=[(p.weight, node_terms([p.term])[0]) for p in nodes.preferred],
        )
    if pods := fed.pods:
        fields |= dict(
            required_affinity=[pod_term(t) for t in pods.required],
            preferred_affinity=[pod_term(t.term, t.weight) for t in pods.preferred],
            required_anti_affinity=[pod_term(t) for t in pods.required_anti],
            preferred_anti_affinity=[pod_term(t.term, t.weight) for t in pods.preferred_anti],
        )
    if fed.volumes:
        fields["volume_nodes"] = [node_terms(terms) for terms in fed.volumes.nodes]
    if fed.spread:
        fields["spread"] = [spread(c) for c in fed.spread.constraints]
    return fields


def lift_node(fed):
    return Node(
        fed.name,
        fed.id,
        pairs(fed.labels),
        pairs(fed.annotations),
        [Taint(t.key, t.value, EFFECTS[t.effect]) for t in fed.taints],
        fed.unschedulable,
        resources(fed.allocatable),
        fed.max_pods,
        {name: image.size_bytes for image in fed.images for name in image.names},
    )


def upsert_namespace(loop, fed):
    loop.cluster.namespaces[fed.name] = pairs(fed.labels)


def budgets(loop, fed):
    loop.cluster.budgets = [Budget(b.namespace, b.name, requirements(b.selector), b.allowed) for b in fed]


FEED = {
    wit.Delta_UpsertNode: lambda loop, node: loop.cluster.upsert_node(lift_node(node)),
    wit.Delta_RemoveNode: lambda loop, id: loop.cluster.remove_node(id),
    wit.Delta_Place: lambda loop, placement: loop.cluster.place(lift_pod(placement.pod), placement.node),
    wit.Delta_Assume: lambda loop, assumption: loop.assume(assumption.uid, assumption.node),
    wit.Delta_Forget: lambda loop, uid: loop.cluster.forget(uid),
    wit.Delta_UpsertNamespace: upsert_namespace,
    wit.Delta_RemoveNamespace: lambda loop, name: loop.cluster.namespaces.pop(name, None),
    wit.Delta_Budgets: budgets,
    wit.Delta_Nominate: lambda loop, placement: None,
    wit.Delta_Withdraw: lambda loop, uid: None,
}
