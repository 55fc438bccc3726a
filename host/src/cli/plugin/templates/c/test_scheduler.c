#include "pintle_testing.h"

TEST(pods_spread_until_nodes_are_full) {
    add_node("a", 1000, GIB);
    add_node("b", 500, GIB);
    const char *first = place("pod-0", 500, 0);
    const char *second = place("pod-1", 500, 0);
    CHECK(first && second && strcmp(first, second));
    CHECK_NODE(place("pod-2", 500, 0), "a");
    CHECK_NODE(place("pod-3", 500, 0), NULL);
    CHECK(!strcmp(reasons(), "2 Insufficient cpu"));
}
