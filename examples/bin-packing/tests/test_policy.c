#include "pintle_testing.h"

TEST(a_node_is_full_before_the_next_gets_anything) {
    CHECK(!configure(""));
    add_node("a", 2000, 4 * GIB);
    add_node("b", 2000, 4 * GIB);
    const char *first = place("p1", 500, GIB);
    CHECK(first);
    CHECK_NODE(place("p2", 500, GIB), first);
    CHECK_NODE(place("p3", 500, GIB), first);
    CHECK_NODE(place("p4", 500, GIB), first);
    const char *second = place("p5", 500, GIB);
    CHECK(second && strcmp(second, first));
    CHECK_NODE(decide("large", 3000, 0), NULL);
    CHECK(!strcmp(reasons(), "2 Insufficient cpu"));
}

TEST(the_smaller_node_is_the_fuller) {
    CHECK(!configure(""));
    add_node("large", 16000, 64 * GIB);
    add_node("small", 2000, 4 * GIB);
    CHECK_NODE(place("p", 500, GIB), "small");
}

TEST(weights_decide_what_full_means) {
    add_node("much-cpu-used", 4000, 4 * GIB);
    add_node("much-memory-used", 4000, 4 * GIB);
    add_pod("x", 3000, GIB / 2, "much-cpu-used");
    add_pod("y", 500, 3 * GIB, "much-memory-used");
    CHECK(!configure("cpu=3 memory=1"));
    CHECK_NODE(decide("p", 100, 0), "much-cpu-used");
    CHECK(!configure("cpu=1 memory=3"));
    CHECK_NODE(decide("p", 100, 0), "much-memory-used");
    CHECK(configure("cpu=0 memory=0") && configure("memory=1") && configure("cpu=1 memory=1 disk=1"));
}
