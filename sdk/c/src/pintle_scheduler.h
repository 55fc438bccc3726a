/* What an author of a scheduling policy in C includes: write `policy_score`, and `policy_filter` if nodes shall be refused.
 *
 * The SDK keeps the nodes and the pods on them, applies the filters that every pod is owed (resources, selectors, taints, ports,
 * volumes, affinity, spread), looks at as many nodes as the host asks for, starting where the last decision ended, and breaks ties by
 * the seed that the host draws for each decision. A policy sees none of that. It does not evict pods for others.
 *
 * The types are the WIT's own; `wit/scheduler/scheduler.wit` documents each field. Strings are not terminated by a zero. */
#ifndef PINTLE_SCHEDULER_H
#define PINTLE_SCHEDULER_H

#include <stdarg.h>
#include <string.h>

/* Made from the WIT by `pintle plugin build`. */
#include "scheduler.h"

typedef scheduler_string_t pintle_string;
typedef scheduler_pod_t pintle_pod;
typedef pintle_scheduler_types_resources_t pintle_resources;
typedef pintle_scheduler_types_constraints_t pintle_constraints;
typedef pintle_scheduler_types_node_affinity_t pintle_node_affinity;
typedef pintle_scheduler_types_pod_affinity_t pintle_pod_affinity;
typedef pintle_scheduler_types_volume_use_t pintle_volume_use;
typedef pintle_scheduler_types_spread_t pintle_spread;
typedef pintle_scheduler_types_list_host_port_t pintle_host_ports;

struct pintle_placed;

typedef struct pintle_node {
    /* As the host fed it: name, labels, taints, allocatable, images, ... */
    pintle_scheduler_types_node_t as_fed;
    /* The sum of the requests of the pods that run here or are assumed to. */
    pintle_resources used;
    uint32_t pod_count;
    /* The SDK's: the first of the pods here. */
    struct pintle_placed *first;
} pintle_node;

/* From 0 to 100, higher is better; fractions count. Called for nodes where the pod can run. */
double policy_score(const pintle_pod *pod, const pintle_node *node);

/* Why the pod shall not run there, or NULL. Leave it out to refuse none. The text must outlive the call. */
const char *policy_filter(const pintle_pod *pod, const pintle_node *node);

/* Takes `spec.config`, before anything else. An answer other than NULL refuses it, with what is wrong. Leave it out to take any. */
const char *policy_configure(const char *config);

/* What the pod asks of its node beside room. No part is NULL: where the pod has none, its lists are empty. Parts of `pod->constraints`
 * are not to be read where they are not there. */
typedef struct pintle_asked {
    const pintle_node_affinity *nodes;
    const pintle_pod_affinity *pods;
    const pintle_volume_use *volumes;
    const pintle_spread *spread;
    const pintle_host_ports *host_ports;
} pintle_asked;

pintle_asked pintle_asks(const pintle_pod *pod);

/* The value of a label of the node; `ptr` is NULL where it has none. */
pintle_string pintle_label(const pintle_node *node, const char *key);
pintle_string pintle_annotation(const pintle_node *node, const char *key);

bool pintle_is(pintle_string string, const char *text);

/* What is allocatable, requested already, or asked for, of an extended resource such as `nvidia.com/gpu`. */
int64_t pintle_extended(const pintle_resources *resources, const char *name);

/* A line for `pintle plugin logs`, with `printf`'s formats. `level`: PINTLE_HOST_ENV_LEVEL_INFO and its like. */
void pintle_log(uint8_t level, const char *format, ...);

/* A whole number from 0 up to, not including, `limit`, from the host's randomness. */
uint32_t pintle_random_below(uint32_t limit);

/* Nanoseconds since 1970. */
static inline uint64_t pintle_now(void) { return pintle_host_env_now(); }

#endif
