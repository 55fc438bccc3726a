/* The filters, in upstream's order and with its names and messages. */
#include <stdlib.h>

#include "pintle_cluster.h"

static const pintle_refusal UNSCHEDULABLE = {"NodeUnschedulable", "node(s) were unschedulable", false, {0}};
static const pintle_refusal TAINT = {"TaintToleration", "node(s) had untolerated taint(s)", false, {0}};
static const pintle_refusal NODE_AFFINITY = {"NodeAffinity", "node(s) didn't match Pod's node affinity/selector", false, {0}};
static const pintle_refusal PORTS = {"NodePorts", "node(s) didn't have free ports for the requested pod ports", true, {0}};
static const pintle_refusal TOO_MANY_PODS = {"NodeResourcesFit", "Too many pods", true, {0}};
static const pintle_refusal CPU = {"NodeResourcesFit", "Insufficient cpu", true, {0}};
static const pintle_refusal MEMORY = {"NodeResourcesFit", "Insufficient memory", true, {0}};
static const pintle_refusal STORAGE = {"NodeResourcesFit", "Insufficient ephemeral-storage", true, {0}};
static const pintle_refusal VOLUME_NODE = {"VolumeBinding", "node(s) didn't match PersistentVolume's node affinity", false, {0}};

bool pintle_is(pintle_string string, const char *text) { return string.len == strlen(text) && (!string.len || memcmp(string.ptr, text, string.len) == 0); }

pintle_asked pintle_asks(const pintle_pod *pod) {
    static const pintle_node_affinity NO_NODES;
    static const pintle_pod_affinity NO_PODS;
    static const pintle_volume_use NO_VOLUMES;
    static const pintle_spread NO_SPREAD;
    static const pintle_host_ports NO_PORTS;
    pintle_asked asked = {&NO_NODES, &NO_PODS, &NO_VOLUMES, &NO_SPREAD, &NO_PORTS};
    if (!pod->constraints.is_some) return asked;
    const pintle_constraints *there = &pod->constraints.val;
    if (there->nodes.is_some) asked.nodes = &there->nodes.val;
    if (there->pods.is_some) asked.pods = &there->pods.val;
    if (there->volumes.is_some) asked.volumes = &there->volumes.val;
    if (there->spread.is_some) asked.spread = &there->spread.val;
    asked.host_ports = &there->host_ports;
    return asked;
}

pintle_string pintle_value_of(const pintle_host_types_list_pair_t *pairs, pintle_string key) {
    for (size_t i = 0; i < pairs->len; i++) {
        if (pintle_equal(pairs->ptr[i].key, key)) return pairs->ptr[i].value;
    }
    return (pintle_string){0};
}

/* A value that is there but empty has a length of 0 and perhaps no address. */
static bool find(const pintle_host_types_list_pair_t *pairs, pintle_string key, pintle_string *value) {
    for (size_t i = 0; i < pairs->len; i++) {
        if (pintle_equal(pairs->ptr[i].key, key)) {
            *value = pairs->ptr[i].value;
            return true;
        }
    }
    return false;
}

static pintle_string looked_up(const void *pairs, const char *key) {
    pintle_string value = {0};
    if (find(pairs, (pintle_string){(uint8_t *)key, strlen(key)}, &value) && !value.ptr) value.ptr = (uint8_t *)"";
    return value;
}

pintle_string pintle_label(const pintle_node *node, const char *key) { return looked_up(&node->as_fed.labels, key); }
pintle_string pintle_annotation(const pintle_node *node, const char *key) { return looked_up(&node->as_fed.annotations, key); }

static int64_t extended(const pintle_resources *resources, pintle_string name) {
    for (size_t i = 0; i < resources->extended.len; i++) {
        if (pintle_equal(resources->extended.ptr[i].f0, name)) return resources->extended.ptr[i].f1;
    }
    return 0;
}

int64_t pintle_extended(const pintle_resources *resources, const char *name) {
    return extended(resources, (pintle_string){(uint8_t *)name, strlen(name)});
}

static bool number(pintle_string text, int64_t *found) {
    bool negative = text.len > 0 && text.ptr[0] == '-';
    int64_t sum = 0;
    if (text.len == (size_t)negative || text.len > 18) return false;
    for (size_t i = negative; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') return false;
        sum = sum * 10 + (text.ptr[i] - '0');
    }
    *found = negative ? -sum : sum;
    return true;
}

static bool holds(const pintle_scheduler_types_requirement_t *requirement, const pintle_host_types_list_pair_t *labels) {
    pintle_string value = {0};
    bool there = find(labels, requirement->key, &value), listed = false;
    for (size_t i = 0; there && i < requirement->values.len; i++) listed |= pintle_equal(requirement->values.ptr[i], value);
    int64_t left, right;
    switch (requirement->operator_) {
    case PINTLE_SCHEDULER_TYPES_OPERATOR_IN: return listed;
    case PINTLE_SCHEDULER_TYPES_OPERATOR_NOT_IN: return !listed;
    case PINTLE_SCHEDULER_TYPES_OPERATOR_EXISTS: return there;
    case PINTLE_SCHEDULER_TYPES_OPERATOR_DOES_NOT_EXIST: return !there;
    }
    if (!there || !requirement->values.len || !number(value, &left) || !number(requirement->values.ptr[0], &right)) return false;
    return requirement->operator_ == PINTLE_SCHEDULER_TYPES_OPERATOR_GT ? left > right : left < right;
}

bool pintle_all_hold(const pintle_requirements *requirements, const pintle_host_types_list_pair_t *labels) {
    for (size_t i = 0; i < requirements->len; i++) {
        if (!holds(&requirements->ptr[i], labels)) return false;
    }
    return true;
}

static bool any_term(const pintle_scheduler_types_list_node_selector_term_t *terms, const pintle_node *node) {
    const void *labels = &node->as_fed.labels;
    pintle_host_types_pair_t name = {{(uint8_t *)"metadata.name", 13}, node->as_fed.name};
    pintle_host_types_list_pair_t fields = {&name, 1};
    for (size_t i = 0; i < terms->len; i++) {
        const pintle_scheduler_types_node_selector_term_t *term = &terms->ptr[i];
        /* An empty term matches nothing. */
        if (!term->labels.len && !term->fields.len) continue;
        if (pintle_all_hold(&term->labels, labels) && pintle_all_hold(&term->fields, &fields)) return true;
    }
    return false;
}

bool pintle_matches_node(const pintle_pod *pod, const pintle_node *node) {
    const pintle_node_affinity *asks = pintle_asks(pod).nodes;
    for (size_t i = 0; i < asks->selector.len; i++) {
        pintle_string value;
        if (!find((const void *)&node->as_fed.labels, asks->selector.ptr[i].key, &value)) return false;
        if (!pintle_equal(value, asks->selector.ptr[i].value)) return false;
    }
    return !asks->required.is_some || any_term(&asks->required.val, node);
}

static bool tolerates(const pintle_pod *pod, pintle_string key, pintle_string value, uint8_t effect) {
    for (size_t i = 0; i < pod->tolerations.len; i++) {
        const pintle_scheduler_types_toleration_t *t = &pod->tolerations.ptr[i];
        bool same_key = t->key.len ? pintle_equal(t->key, key) : t->exists;
        if (same_key && (!t->effect.is_some || t->effect.val == effect) && (t->exists || pintle_equal(t->value, value))) return true;
    }
    return false;
}

bool pintle_tolerates_taints(const pintle_pod *pod, const pintle_node *node) {
    for (size_t i = 0; i < node->as_fed.taints.len; i++) {
        const pintle_scheduler_types_taint_t *taint = &node->as_fed.taints.ptr[i];
        bool counts = taint->effect != PINTLE_SCHEDULER_TYPES_EFFECT_PREFER_NO_SCHEDULE;
        if (counts && !tolerates(pod, taint->key, taint->value, taint->effect)) return false;
    }
    return true;
}

static bool is_any(pintle_string ip) { return !ip.len || pintle_is(ip, "0.0.0.0"); }

static bool ports_free(const pintle_host_ports *asks, const pintle_node *node) {
    for (const pintle_placed *placed = node->first; placed; placed = placed->next) {
        const pintle_host_ports *theirs = pintle_asks(&placed->pod).host_ports;
        for (size_t i = 0; i < theirs->len; i++) {
            const pintle_scheduler_types_host_port_t *taken = &theirs->ptr[i];
            for (size_t j = 0; j < asks->len; j++) {
                const pintle_scheduler_types_host_port_t *port = &asks->ptr[j];
                bool same = port->port == taken->port && pintle_equal(port->protocol, taken->protocol);
                if (same && (is_any(port->ip) || is_any(taken->ip) || pintle_equal(port->ip, taken->ip))) return false;
            }
        }
    }
    return true;
}

/* A resource that is not asked for is not looked at: a full node still takes a pod that wants none of it. */
static size_t lacks(const pintle_pod *pod, const pintle_node *node, pintle_refusal *refusals) {
    const pintle_resources *wants = &pod->requests, *has = &node->as_fed.allocatable, *used = &node->used;
    size_t count = 0;
    if (node->pod_count >= node->as_fed.max_pods) refusals[count++] = TOO_MANY_PODS;
    if (wants->milli_cpu > 0 && used->milli_cpu + wants->milli_cpu > has->milli_cpu) refusals[count++] = CPU;
    if (wants->memory > 0 && used->memory + wants->memory > has->memory) refusals[count++] = MEMORY;
    if (wants->ephemeral_storage > 0 && used->ephemeral_storage + wants->ephemeral_storage > has->ephemeral_storage) refusals[count++] = STORAGE;
    for (size_t i = 0; i < wants->extended.len && count < PINTLE_MAX_REFUSALS; i++) {
        pintle_string name = wants->extended.ptr[i].f0;
        int64_t amount = wants->extended.ptr[i].f1;
        if (amount > 0 && extended(used, name) + amount > extended(has, name)) {
            refusals[count++] = (pintle_refusal){"NodeResourcesFit", "Insufficient ", true, name};
        }
    }
    return count;
}

static const pintle_refusal *other(const pintle_rules *rules, const pintle_node *node) {
    const pintle_volume_use *volumes = rules->asks.volumes;
    if (rules->asks.host_ports->len && !ports_free(rules->asks.host_ports, node)) return &PORTS;
    for (size_t i = 0; i < volumes->nodes.len; i++) {
        if (!any_term(&volumes->nodes.ptr[i], node)) return &VOLUME_NODE;
    }
    return pintle_domain_refusal(rules, node);
}

size_t pintle_refusals(const pintle_rules *rules, const pintle_node *node, pintle_refusal refusals[PINTLE_MAX_REFUSALS]) {
    const pintle_refusal *why = NULL;
    if (node->as_fed.unschedulable && !rules->tolerates_unschedulable) {
        why = &UNSCHEDULABLE;
    } else if (!pintle_tolerates_taints(rules->pod, node)) {
        why = &TAINT;
    } else if (!pintle_matches_node(rules->pod, node)) {
        why = &NODE_AFFINITY;
    }
    if (!why) {
        size_t count = lacks(rules->pod, node, refusals);
        if (count) return count;
        why = other(rules, node);
    }
    if (why) refusals[0] = *why;
    return why != NULL;
}

pintle_rules pintle_rules_for(const pintle_cluster *cluster, const pintle_pod *pod) {
    static const char TAINT_KEY[] = "node.kubernetes.io/unschedulable";
    pintle_string key = {(uint8_t *)TAINT_KEY, sizeof TAINT_KEY - 1}, empty = {(uint8_t *)"", 0};
    pintle_rules rules = {.cluster = cluster, .pod = pod, .asks = pintle_asks(pod)};
    rules.tolerates_unschedulable = tolerates(pod, key, empty, PINTLE_SCHEDULER_TYPES_EFFECT_NO_SCHEDULE);
    pintle_count_domains(&rules);
    return rules;
}

void pintle_rules_free(pintle_rules *rules) { pintle_free_domains(rules); }
