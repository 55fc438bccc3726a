/* The filters and the loop behind a policy that says little itself: it prefers nodes with few pods. */
#include "pintle_testing.h"

#include <stdio.h>
#include <stdlib.h>

static pintle_string copy(const char *text) {
    pintle_string string;
    scheduler_string_dup(&string, text);
    return string;
}

static void add_labelled(const char *name, const char *key, const char *value) {
    test_node node = new_node(name, 4000, 16 * GIB);
    add_pair(&node.labels, key, value);
    feed_node(node);
}

static pintle_scheduler_types_requirement_t requirement(const char *key, uint8_t operator_, const char *value) {
    pintle_scheduler_types_requirement_t made = {copy(key), operator_, {0}};
    if (value) {
        made.values.ptr = malloc(sizeof *made.values.ptr);
        made.values.ptr[0] = copy(value);
        made.values.len = 1;
    }
    return made;
}

static pintle_scheduler_types_list_requirement_t only(pintle_scheduler_types_requirement_t one) {
    pintle_scheduler_types_list_requirement_t list = {malloc(sizeof one), 1};
    list.ptr[0] = one;
    return list;
}

/* A term over pods with `app=VALUE` in the namespace `default`. */
static pintle_scheduler_types_list_pod_affinity_term_t near(const char *app, const char *topology_key) {
    pintle_scheduler_types_list_pod_affinity_term_t terms = {calloc(1, sizeof *terms.ptr), 1};
    terms.ptr[0].selector.is_some = true;
    terms.ptr[0].selector.val = only(requirement("app", PINTLE_SCHEDULER_TYPES_OPERATOR_IN, app));
    terms.ptr[0].namespaces = (scheduler_list_string_t){malloc(sizeof(pintle_string)), 1};
    terms.ptr[0].namespaces.ptr[0] = copy("default");
    terms.ptr[0].topology_key = copy(topology_key);
    return terms;
}

static pintle_pod app(const char *name, const char *label) {
    pintle_pod pod = new_pod(name, 100, MIB);
    add_pair(&pod.labels, "app", label);
    return pod;
}

static void zones(void) {
    add_labelled("a", "zone", "z1");
    add_labelled("b", "zone", "z1");
    add_labelled("c", "zone", "z2");
}

TEST(resources_count_with_what_was_placed) {
    add_node("a", 1000, GIB);
    add_node("b", 500, GIB);
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%d", i);
        CHECK(place(name, 500, 0));
    }
    CHECK_NODE(decide("p3", 500, 0), NULL);
    CHECK(!strcmp(reasons(), "2 Insufficient cpu"));
    CHECK_NODE(decide("large", 600, 2 * GIB), NULL);
    CHECK(!strcmp(reasons(), "2 Insufficient cpu, 2 Insufficient memory"));
    CHECK(decide("nothing", 0, 0));
}

TEST(there_are_only_so_many_pods_and_extended_resources) {
    test_node node = new_node("a", 1000, GIB);
    node.max_pods = 2;
    add_extended(&node.allocatable, "nvidia.com/gpu", 1);
    feed_node(node);
    pintle_pod first = new_pod("gpu-1", 0, 0), second = new_pod("gpu-2", 0, 0);
    add_extended(&first.requests, "nvidia.com/gpu", 1);
    add_extended(&second.requests, "nvidia.com/gpu", 1);
    CHECK_NODE(place_pod(first), "a");
    CHECK_NODE(decide_pod(second), NULL);
    CHECK(!strcmp(reasons(), "1 Insufficient nvidia.com/gpu"));
    CHECK_NODE(place("p1", 0, 0), "a");
    CHECK_NODE(place("p2", 0, 0), NULL);
    CHECK(!strcmp(reasons(), "1 Too many pods"));
}

TEST(a_pod_that_is_placed_again_moves) {
    add_node("a", 1000, GIB);
    add_node("b", 1000, GIB);
    add_pod("x", 1000, 0, "a");
    add_pod("x", 1000, 0, "b");
    CHECK_NODE(decide("p", 1000, 0), "a");
}

TEST(cordons_and_taints) {
    test_node cordoned = new_node("a", 1000, GIB), tainted = new_node("b", 1000, GIB);
    cordoned.unschedulable = true;
    add_taint(&tainted, "dedicated", "x", PINTLE_SCHEDULER_TYPES_EFFECT_NO_SCHEDULE);
    feed_node(cordoned);
    feed_node(tainted);
    CHECK_NODE(decide("p", 0, 0), NULL);
    CHECK(!strcmp(reasons(), "1 node(s) were unschedulable, 1 node(s) had untolerated taint(s)"));
    pintle_pod pod = new_pod("tolerant", 0, 0);
    pod.tolerations.ptr = calloc(1, sizeof *pod.tolerations.ptr);
    pod.tolerations.len = 1;
    pod.tolerations.ptr[0].key = copy("dedicated");
    pod.tolerations.ptr[0].value = copy("x");
    CHECK_NODE(decide_pod(pod), "b");
}

TEST(selectors_and_node_affinity) {
    add_labelled("a", "gen", "3");
    add_labelled("b", "gen", "5");
    pintle_pod pod = new_pod("selects", 0, 0);
    add_pair(&pod.node_selector, "gen", "5");
    CHECK_NODE(decide_pod(pod), "b");
    pintle_pod newer = new_pod("newer", 0, 0);
    newer.required_nodes.is_some = true;
    newer.required_nodes.val.ptr = calloc(1, sizeof *newer.required_nodes.val.ptr);
    newer.required_nodes.val.len = 1;
    newer.required_nodes.val.ptr[0].labels = only(requirement("gen", PINTLE_SCHEDULER_TYPES_OPERATOR_GT, "4"));
    CHECK_NODE(decide_pod(newer), "b");
    pintle_pod nowhere = new_pod("nowhere", 0, 0);
    nowhere.required_nodes.is_some = true;
    CHECK_NODE(decide_pod(nowhere), NULL);
    CHECK(!strcmp(reasons(), "2 node(s) didn't match Pod's node affinity/selector"));
}

TEST(host_ports) {
    add_node("a", 1000, GIB);
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%d", i);
        pintle_pod pod = new_pod(name, 0, 0);
        pod.host_ports.ptr = malloc(sizeof *pod.host_ports.ptr);
        pod.host_ports.len = 1;
        /* The third is on another protocol. */
        pod.host_ports.ptr[0] = (pintle_scheduler_types_host_port_t){copy(i == 0 ? "0.0.0.0" : "10.0.0.1"), copy(i == 2 ? "UDP" : "TCP"), 80};
        CHECK_NODE(place_pod(pod), i == 1 ? NULL : "a");
    }
}

TEST(affinity_and_anti_affinity) {
    zones();
    pintle_pod lost = app("web-0", "web");
    lost.required_affinity = near("cache", "zone");
    CHECK_NODE(decide_pod(lost), NULL);
    CHECK(!strcmp(reasons(), "3 node(s) didn't match pod affinity rules"));
    pintle_pod first = app("cache-1", "cache");
    first.required_affinity = near("cache", "zone");
    add_pair(&first.node_selector, "kubernetes.io/hostname", "a");
    CHECK_NODE(place_pod(first), "a");
    pintle_pod away = app("web-1", "web");
    away.required_anti_affinity = near("cache", "zone");
    CHECK_NODE(place_pod(away), "c");
    /* The web pod's own rule keeps caches out of its zone. */
    pintle_pod unwelcome = app("cache-2", "cache");
    add_pair(&unwelcome.node_selector, "zone", "z2");
    CHECK_NODE(decide_pod(unwelcome), NULL);
    CHECK(!strcmp(reasons(), "2 node(s) didn't match Pod's node affinity/selector, 1 node(s) didn't satisfy existing pods anti-affinity rules"));
}

TEST(spread) {
    zones();
    int in_first_zone = 0;
    for (int i = 0; i < 6; i++) {
        char name[8];
        snprintf(name, sizeof name, "web-%d", i);
        pintle_pod pod = app(name, "web");
        pod.spread.ptr = calloc(1, sizeof *pod.spread.ptr);
        pod.spread.len = 1;
        pod.spread.ptr[0].max_skew = 1;
        pod.spread.ptr[0].topology_key = copy("zone");
        pod.spread.ptr[0].honor_node_affinity = true;
        pod.spread.ptr[0].selector.is_some = true;
        pod.spread.ptr[0].selector.val = only(requirement("app", PINTLE_SCHEDULER_TYPES_OPERATOR_IN, "web"));
        const char *node = place_pod(pod);
        CHECK(node);
        in_first_zone += node && strcmp(node, "c") != 0;
    }
    CHECK(in_first_zone == 3);
}

TEST(many_nodes_are_sampled_in_turn) {
    char name[16];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "n%d", i);
        add_node(name, 1000, GIB);
    }
    /* Each decision looks at 144 of them, beginning where the last one ended: an empty node is always among those. */
    bool seen[300] = {false};
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "p%d", i);
        const char *node = place(name, 1, 0);
        CHECK(node);
        if (node) seen[atoi(node + 1)] = true;
    }
    int count = 0;
    for (int i = 0; i < 300; i++) count += seen[i];
    CHECK(count == 200);
}
