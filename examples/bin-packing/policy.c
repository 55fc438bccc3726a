/* Fills nodes up, so that others stay empty and can be switched off: upstream's MostAllocated over CPU and memory.
 *
 * `spec.config`: empty, or how much CPU weighs against memory, as `cpu=3 memory=1`. */
#include <stdio.h>

#include "pintle_scheduler.h"

static int cpu_weight = 1, memory_weight = 1;

const char *policy_configure(const char *config) {
    char rest;
    if (!*config) return NULL;
    int found = sscanf(config, "cpu=%d memory=%d %c", &cpu_weight, &memory_weight, &rest);
    if (found != 2 || cpu_weight < 0 || memory_weight < 0 || cpu_weight + memory_weight == 0) return "must be as in: cpu=3 memory=1";
    return NULL;
}

/* The share that would be in use with the pod there. */
static double share(int64_t used, int64_t wanted, int64_t all) {
    if (all <= 0) return 0;
    double share = (double)(used + wanted) / (double)all;
    return share < 1 ? share : 1;
}

double policy_score(const pintle_pod *pod, const pintle_node *node) {
    const pintle_resources *all = &node->as_fed.allocatable;
    double cpu = share(node->used.milli_cpu, pod->requests.milli_cpu, all->milli_cpu);
    double memory = share(node->used.memory, pod->requests.memory, all->memory);
    return 100 * (cpu * cpu_weight + memory * memory_weight) / (cpu_weight + memory_weight);
}
