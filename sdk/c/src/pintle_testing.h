/* For native tests of a scheduling policy: a snapshot of nodes and pods in, a decision out.
 *
 *     TEST(fills_the_fullest_node) {
 *         add_node("a", 2000, GIB);
 *         add_node("b", 4000, GIB);
 *         CHECK_NODE(place("p", 500, 0), "b");
 *     }
 *
 * Each test begins with an empty cluster. `plugin test` compiles what lies in `tests` with the policy, for this machine. */
#ifndef PINTLE_TESTING_H
#define PINTLE_TESTING_H

#include "pintle_scheduler.h"

#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)

typedef void (*test_function)(void);
void test_register(const char *name, test_function function);
void test_failed(const char *file, int line, const char *what);

#define TEST(name)                                                                            \
    static void name(void);                                                                   \
    __attribute__((constructor)) static void register_##name(void) { test_register(#name, name); } \
    static void name(void)

#define CHECK(holds)                                               \
    do {                                                           \
        if (!(holds)) test_failed(__FILE__, __LINE__, #holds);     \
    } while (0)

/* Whether the decision names that node; NULL: none. */
#define CHECK_NODE(chosen, expected)                                                    \
    do {                                                                                \
        const char *chosen_ = (chosen), *expected_ = (expected);                        \
        if (!chosen_ != !expected_ || (chosen_ && strcmp(chosen_, expected_)))          \
            test_failed(__FILE__, __LINE__, chosen_ ? chosen_ : "no node was chosen");  \
    } while (0)

/* Made by `add_node` and `new_pod`; fill in what a test needs with `add_pair`, `add_extended` and by hand. */
typedef pintle_scheduler_types_node_t test_node;
test_node new_node(const char *name, int64_t milli_cpu, int64_t memory);
pintle_pod new_pod(const char *name, int64_t milli_cpu, int64_t memory);
/* What the pod asks of its node beside room, to be filled in, and the parts of it: `add_pair(&constrain_nodes(&pod)->selector, "disk", "ssd")`. */
pintle_constraints *constrain(pintle_pod *pod);
pintle_node_affinity *constrain_nodes(pintle_pod *pod);
pintle_pod_affinity *constrain_pods(pintle_pod *pod);
pintle_volume_use *constrain_volumes(pintle_pod *pod);
pintle_spread *constrain_spread(pintle_pod *pod);
/* `pairs`: the address of labels, annotations or a node selector. */
void add_pair(void *pairs, const char *key, const char *value);
void add_extended(pintle_resources *resources, const char *name, int64_t amount);
void add_taint(test_node *node, const char *key, const char *value, uint8_t effect);

/* These take what they are given. */
void feed_node(test_node node);
void feed_pod(pintle_pod pod, const char *on);
/* Where the pod would go: a name that lives until the next decision, or NULL. */
const char *decide_pod(pintle_pod pod);
/* The same, and the pod is placed there. */
const char *place_pod(pintle_pod pod);
/* The reasons of the last decision that found no node: `2 Insufficient cpu, 1 Too many pods`. */
const char *reasons(void);
/* What the policy says to a configuration; NULL: it takes it. */
const char *configure(const char *config);

/* Short forms. */
void add_node(const char *name, int64_t milli_cpu, int64_t memory);
void add_pod(const char *name, int64_t milli_cpu, int64_t memory, const char *on);
const char *decide(const char *pod, int64_t milli_cpu, int64_t memory);
const char *place(const char *pod, int64_t milli_cpu, int64_t memory);

#endif
