#include "pintle_cluster.h"

#include <stdlib.h>

static void add(pintle_resources *sum, const pintle_resources *more, int sign) {
    sum->milli_cpu += sign * more->milli_cpu;
    sum->memory += sign * more->memory;
    sum->ephemeral_storage += sign * more->ephemeral_storage;
    for (size_t i = 0; i < more->extended.len; i++) {
        const scheduler_tuple2_string_s64_t *extra = &more->extended.ptr[i];
        size_t at = 0;
        while (at < sum->extended.len && !pintle_equal(sum->extended.ptr[at].f0, extra->f0)) at++;
        if (at == sum->extended.len) {
            sum->extended.ptr = pintle_resize(sum->extended.ptr, (at + 1) * sizeof *extra);
            scheduler_string_dup_n(&sum->extended.ptr[at].f0, (const char *)extra->f0.ptr, extra->f0.len);
            sum->extended.ptr[at].f1 = 0;
            sum->extended.len++;
        }
        sum->extended.ptr[at].f1 += sign * extra->f1;
    }
}

static void count(pintle_cluster *cluster, pintle_placed *placed) {
    pintle_node *node = pintle_node_at(cluster, placed->at);
    if (!node || placed->counted) return;
    add(&node->used, &placed->pod.requests, 1);
    node->pod_count++;
    placed->previous = NULL;
    placed->next = node->first;
    if (node->first) node->first->previous = placed;
    node->first = placed;
    placed->counted = true;
}

static void discount(pintle_cluster *cluster, pintle_placed *placed) {
    pintle_node *node = pintle_node_at(cluster, placed->at);
    if (!node || !placed->counted) return;
    add(&node->used, &placed->pod.requests, -1);
    node->pod_count--;
    if (placed->previous) placed->previous->next = placed->next;
    if (placed->next) placed->next->previous = placed->previous;
    if (node->first == placed) node->first = placed->next;
    placed->counted = false;
}

static void widen(pintle_cluster *cluster, uint32_t id) {
    if (id < cluster->slots) return;
    uint32_t slots = id + 1 > cluster->slots * 2 ? id + 1 : cluster->slots * 2;
    cluster->nodes = pintle_resize(cluster->nodes, slots * sizeof *cluster->nodes);
    memset(cluster->nodes + cluster->slots, 0, (slots - cluster->slots) * sizeof *cluster->nodes);
    cluster->slots = slots;
}

void pintle_upsert_node(pintle_cluster *cluster, pintle_scheduler_types_node_t *fed) {
    widen(cluster, fed->id);
    pintle_node *node = cluster->nodes[fed->id];
    if (node) {
        pintle_scheduler_types_node_free(&node->as_fed);
        node->as_fed = *fed;
        return;
    }
    node = pintle_allocate(sizeof *node);
    *node = (pintle_node){.as_fed = *fed};
    cluster->nodes[fed->id] = node;
    cluster->node_count++;
    /* Pods may be fed before the node that they run on. */
    for (size_t i = 0; i < cluster->placed.capacity; i++) {
        pintle_placed *placed = cluster->placed.slots[i].value.pointer;
        if (cluster->placed.slots[i].key && placed->at == fed->id) count(cluster, placed);
    }
}

void pintle_remove_node(pintle_cluster *cluster, uint32_t id) {
    pintle_node *node = pintle_node_at(cluster, id);
    if (!node) return;
    for (pintle_placed *placed = node->first; placed; placed = placed->next) placed->counted = false;
    pintle_scheduler_types_node_free(&node->as_fed);
    pintle_scheduler_types_resources_free(&node->used);
    free(node);
    cluster->nodes[id] = NULL;
    cluster->node_count--;
}

void pintle_place(pintle_cluster *cluster, pintle_pod *pod, uint32_t at) {
    pintle_forget(cluster, pod->uid);
    pintle_placed *placed = pintle_allocate(sizeof *placed);
    *placed = (pintle_placed){.pod = *pod, .at = at};
    pintle_map_entry(&cluster->placed, placed->pod.uid)->pointer = placed;
    cluster->refusing += pintle_asks(&placed->pod).pods->required_anti.len > 0;
    count(cluster, placed);
}

void pintle_forget(pintle_cluster *cluster, pintle_string uid) {
    const pintle_value *found = pintle_map_find(&cluster->placed, uid);
    if (!found) return;
    pintle_placed *placed = found->pointer;
    discount(cluster, placed);
    cluster->refusing -= pintle_asks(&placed->pod).pods->required_anti.len > 0;
    /* Before the uid, which is the key, goes. */
    pintle_map_remove(&cluster->placed, placed->pod.uid);
    scheduler_pod_free(&placed->pod);
    free(placed);
}

void pintle_upsert_namespace(pintle_cluster *cluster, pintle_scheduler_types_namespace_t *fed) {
    pintle_remove_namespace(cluster, fed->name);
    pintle_scheduler_types_namespace_t *kept = pintle_allocate(sizeof *kept);
    *kept = *fed;
    pintle_map_entry(&cluster->namespaces, kept->name)->pointer = kept;
}

void pintle_remove_namespace(pintle_cluster *cluster, pintle_string name) {
    const pintle_value *found = pintle_map_find(&cluster->namespaces, name);
    if (!found) return;
    pintle_scheduler_types_namespace_t *gone = found->pointer;
    pintle_map_remove(&cluster->namespaces, name);
    pintle_scheduler_types_namespace_free(gone);
    free(gone);
}

void pintle_reset(pintle_cluster *cluster) {
    for (uint32_t id = 0; id < cluster->slots; id++) pintle_remove_node(cluster, id);
    for (size_t i = 0; i < cluster->placed.capacity; i++) {
        if (!cluster->placed.slots[i].key) continue;
        pintle_placed *placed = cluster->placed.slots[i].value.pointer;
        scheduler_pod_free(&placed->pod);
        free(placed);
    }
    for (size_t i = 0; i < cluster->namespaces.capacity; i++) {
        if (!cluster->namespaces.slots[i].key) continue;
        pintle_scheduler_types_namespace_free(cluster->namespaces.slots[i].value.pointer);
        free(cluster->namespaces.slots[i].value.pointer);
    }
    pintle_map_free(&cluster->placed);
    pintle_map_free(&cluster->namespaces);
    free(cluster->nodes);
    *cluster = (pintle_cluster){0};
}
