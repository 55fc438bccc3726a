/* The cluster as the host fed it, and the rules that every pod is owed. The SDK's own: policies include pintle_scheduler.h alone. */
#ifndef PINTLE_CLUSTER_H
#define PINTLE_CLUSTER_H

#include "pintle_map.h"

typedef pintle_scheduler_types_pod_affinity_term_t pintle_term;
typedef pintle_scheduler_types_spread_constraint_t pintle_spread_constraint;
typedef pintle_scheduler_types_list_requirement_t pintle_requirements;

typedef struct pintle_placed {
    pintle_pod pod;
    uint32_t at;
    /* Counted on its node, in whose list of pods it stands then. */
    bool counted;
    struct pintle_placed *previous, *next;
} pintle_placed;

typedef struct pintle_cluster {
    /* By id; NULL where there is none. */
    pintle_node **nodes;
    uint32_t slots;
    uint32_t node_count;
    /* uid to pintle_placed */
    pintle_map placed;
    /* Placed pods whose anti-affinity may refuse others. */
    uint32_t refusing;
    /* name to pintle_scheduler_types_namespace_t */
    pintle_map namespaces;
} pintle_cluster;

/* These take what they are given and free it when it goes. */
void pintle_upsert_node(pintle_cluster *cluster, pintle_scheduler_types_node_t *node);
void pintle_remove_node(pintle_cluster *cluster, uint32_t id);
void pintle_place(pintle_cluster *cluster, pintle_pod *pod, uint32_t at);
void pintle_forget(pintle_cluster *cluster, pintle_string uid);
void pintle_upsert_namespace(pintle_cluster *cluster, pintle_scheduler_types_namespace_t *namespace_);
void pintle_remove_namespace(pintle_cluster *cluster, pintle_string name);
void pintle_reset(pintle_cluster *cluster);

static inline pintle_node *pintle_node_at(const pintle_cluster *cluster, uint32_t id) { return id < cluster->slots ? cluster->nodes[id] : NULL; }

/* A filter's name, its message, and whether evicting pods could help. */
typedef struct pintle_refusal {
    const char *filter;
    const char *message;
    bool resolvable;
    /* Of an extended resource: its name goes after the message. */
    pintle_string resource;
} pintle_refusal;

/* Counted once for a decision: topology domains. */
typedef struct pintle_rules {
    const pintle_cluster *cluster;
    const pintle_pod *pod;
    pintle_asked asks;
    bool tolerates_unschedulable;
    /* For each required affinity term: domains with a pod that matches all of them. */
    pintle_map *wanted;
    bool first_of_group;
    /* For each anti-affinity term: domains with a match. */
    pintle_map *avoided;
    /* Labels, as key and value lists of pairs, that placed pods' anti-affinity refuses to this pod. */
    pintle_host_types_pair_t *refused;
    size_t refused_count;
    /* For each spread constraint that forbids: pods in each domain, the least of them, and whether the pod counts itself. */
    pintle_map *spread;
    int64_t *least;
    bool *counts_itself;
} pintle_rules;

pintle_rules pintle_rules_for(const pintle_cluster *cluster, const pintle_pod *pod);
void pintle_rules_free(pintle_rules *rules);

/* Most reasons that one node can have: a lack of several resources gives several. */
#define PINTLE_MAX_REFUSALS 16
/* How many there are; 0 when the pod can run there. */
size_t pintle_refusals(const pintle_rules *rules, const pintle_node *node, pintle_refusal refusals[PINTLE_MAX_REFUSALS]);

/* Parts of the rules, for one another. */
pintle_string pintle_value_of(const pintle_host_types_list_pair_t *pairs, pintle_string key);
bool pintle_all_hold(const pintle_requirements *requirements, const pintle_host_types_list_pair_t *labels);
bool pintle_matches_node(const pintle_pod *pod, const pintle_node *node);
bool pintle_tolerates_taints(const pintle_pod *pod, const pintle_node *node);
const pintle_refusal *pintle_domain_refusal(const pintle_rules *rules, const pintle_node *node);
void pintle_count_domains(pintle_rules *rules);
void pintle_free_domains(pintle_rules *rules);

#endif
