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
    add_pair(&constrain_nodes(&pod)->selector, "gen", "5");
    CHECK_NODE(decide_pod(pod), "b");
    pintle_pod newer = new_pod("newer", 0, 0);
    pintle_scheduler_types_list_node_selector_term_t terms = {calloc(1, sizeof *terms.ptr), 1};
    terms.ptr[0].labels = only(requirement("gen", PINTLE_SCHEDULER_TYPES_OPERATOR_GT, "4"));
    constrain_nodes(&newer)->required = (pintle_scheduler_types_option_list_node_selector_term_t){true, terms};
    CHECK_NODE(decide_pod(newer), "b");
    pintle_pod nowhere = new_pod("nowhere", 0, 0);
    constrain_nodes(&nowhere)->required.is_some = true;
    CHECK_NODE(decide_pod(nowhere), NULL);
    CHECK(!strcmp(reasons(), "2 node(s) didn't match Pod's node affinity/selector"));
}

TEST(host_ports) {
    add_node("a", 1000, GIB);
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%d", i);
        pintle_pod pod = new_pod(name, 0, 0);
        pintle_scheduler_types_list_host_port_t *ports = &constrain(&pod)->host_ports;
        ports->ptr = malloc(sizeof *ports->ptr);
        ports->len = 1;
        /* The third is on another protocol. */
        ports->ptr[0] = (pintle_scheduler_types_host_port_t){copy(i == 0 ? "0.0.0.0" : "10.0.0.1"), copy(i == 2 ? "UDP" : "TCP"), 80};
        CHECK_NODE(place_pod(pod), i == 1 ? NULL : "a");
    }
}

TEST(affinity_and_anti_affinity) {
    zones();
    pintle_pod lost = app("web-0", "web");
    constrain_pods(&lost)->required = near("cache", "zone");
    CHECK_NODE(decide_pod(lost), NULL);
    CHECK(!strcmp(reasons(), "3 node(s) didn't match pod affinity rules"));
    pintle_pod first = app("cache-1", "cache");
    constrain_pods(&first)->required = near("cache", "zone");
    add_pair(&constrain_nodes(&first)->selector, "kubernetes.io/hostname", "a");
    CHECK_NODE(place_pod(first), "a");
    pintle_pod away = app("web-1", "web");
    constrain_pods(&away)->required_anti = near("cache", "zone");
    CHECK_NODE(place_pod(away), "c");
    /* The web pod's own rule keeps caches out of its zone. */
    pintle_pod unwelcome = app("cache-2", "cache");
    add_pair(&constrain_nodes(&unwelcome)->selector, "zone", "z2");
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
        pintle_scheduler_types_spread_constraint_t *spread = calloc(1, sizeof *spread);
        constrain_spread(&pod)->constraints = (pintle_scheduler_types_list_spread_constraint_t){spread, 1};
        spread->max_skew = 1;
        spread->topology_key = copy("zone");
        spread->honor_node_affinity = true;
        spread->selector.is_some = true;
        spread->selector.val = only(requirement("app", PINTLE_SCHEDULER_TYPES_OPERATOR_IN, "web"));
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

/* The exports as the host calls them, with the nodes 0 to 7. */
static uint32_t chosen_by(uint64_t seed) {
    pintle_pod pod = new_pod("p", 0, 0);
    scheduler_scope_t scope = {.top = 1, .seed = seed};
    scheduler_outcome_t outcome;
    scheduler_string_t error;
    CHECK(exports_scheduler_schedule(&pod, &scope, &outcome, &error) && outcome.tag == PINTLE_SCHEDULER_TYPES_OUTCOME_FITS);
    uint32_t node = outcome.val.fits.ranked.ptr[0].node;
    scheduler_outcome_free(&outcome);
    return node;
}

TEST(each_of_the_best_is_as_likely_and_the_seed_says_which) {
    char name[8];
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "n%d", i);
        add_node(name, 1000, GIB);
        /* Even ones have a pod, so that the odd ones are better. */
        if (i % 2 == 0) add_pod(name, 0, 0, name);
    }
    uint64_t seed = 1;
    int counts[8] = {0};
    for (int i = 0; i < 4000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t mixed = seed ^ seed >> 29;
        uint32_t node = chosen_by(mixed);
        counts[node]++;
        CHECK(chosen_by(mixed) == node);
    }
    for (int i = 0; i < 8; i++) CHECK(i % 2 ? counts[i] > 900 && counts[i] < 1100 : !counts[i]);
}

static void assume(const char *uid, uint32_t node) {
    scheduler_list_delta_t deltas = {calloc(1, sizeof *deltas.ptr), 1};
    deltas.ptr[0].tag = PINTLE_SCHEDULER_TYPES_DELTA_ASSUME;
    deltas.ptr[0].val.assume = (pintle_scheduler_types_assumption_t){copy(uid), node};
    exports_scheduler_feed(&deltas);
}

TEST(what_is_assumed_of_the_last_pod_is_placed_and_of_no_other) {
    add_node("a", 1000, GIB);
    assume("p", 0);
    CHECK_NODE(decide("o", 600, 0), "a");
    CHECK_NODE(decide("p", 600, 0), "a");
    assume("o", 0);
    CHECK_NODE(decide("p", 600, 0), "a");
    assume("p", 0);
    CHECK_NODE(decide("q", 600, 0), NULL);
    assume("p", 0);
    CHECK_NODE(decide("r", 400, 0), "a");
    exports_scheduler_reset();
    assume("r", 0);
}

TEST(a_pod_that_is_assumed_keeps_others_away_by_its_own_rule) {
    zones();
    pintle_pod cache = app("cache-1", "cache");
    constrain_pods(&cache)->required_anti = near("web", "zone");
    add_pair(&constrain_nodes(&cache)->selector, "zone", "z1");
    CHECK(place_pod(cache));
    CHECK_NODE(decide_pod(app("web-1", "web")), "c");
}

/* As the bindings hand a pod over that asks for nothing: what would be its constraints was never written. */
TEST(constraints_that_are_not_there_are_not_read) {
    add_node("a", 1000, GIB);
    for (int i = 0; i < 2; i++) {
        pintle_pod pod = new_pod(i ? "p1" : "p0", 500, 0);
        memset(&pod.constraints.val, 0xa5, sizeof pod.constraints.val);
        CHECK(!pintle_asks(&pod).host_ports->len && !pintle_asks(&pod).nodes->required.is_some);
        CHECK_NODE(place_pod(pod), "a");
    }
    CHECK_NODE(decide("p2", 500, 0), NULL);
}
