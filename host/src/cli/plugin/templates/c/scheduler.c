/* A scheduler for pintle: among the nodes that can run a pod, the one with the fewest pods wins.
 *
 * `policy_filter` and `policy_score` are the policy; change them. The SDK keeps the nodes and the pods on them, and has asked already
 * whether the pod can run there at all: resources, selectors, taints, ports, volumes, affinity, spread. */
#include "pintle_scheduler.h"

/* Why the pod shall not run there, or NULL. */
const char *policy_filter(const pintle_pod *pod, const pintle_node *node) {
    return NULL;
}

/* From 0 to 100, higher is better. */
double policy_score(const pintle_pod *pod, const pintle_node *node) {
    return node->pod_count < 100 ? 100 - node->pod_count : 0;
}
