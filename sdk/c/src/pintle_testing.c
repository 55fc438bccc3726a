/* Stands in for the host in native tests, through the same exports that the host calls. */
#include "pintle_testing.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_TESTS 1000
/* Upstream's rule, which the host uses: below so many nodes every one is looked at, above a share that shrinks. */
#define LOOK_AT_ALL 100

static struct {
    const char *name;
    test_function function;
} tests[MAX_TESTS];
static size_t test_count, failures;

/* Names by id. */
static char *nodes[1 << 16];
static uint32_t node_count, start, drawn;
static uint64_t seed = 1;
static char said[1 << 12];

void test_register(const char *name, test_function function) {
    if (test_count == MAX_TESTS) abort();
    tests[test_count].name = name;
    tests[test_count++].function = function;
}

void test_failed(const char *file, int line, const char *what) {
    failures++;
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
}

/* What the world imports, as the bindings name it. Random bytes count up, so that tests repeat. */
int64_t __wasm_import_pintle_host_env_now(void) { return INT64_C(1700000000000000000); }

void __wasm_import_pintle_host_env_random(int32_t count, uint8_t *ret) {
    scheduler_list_u8_t bytes = {malloc((size_t)count), (size_t)count};
    drawn++;
    for (size_t i = 0; i < bytes.len; i++) bytes.ptr[i] = (uint8_t)(drawn * 31 + i * 7);
    memcpy(ret, &bytes, sizeof bytes);
}

void __wasm_import_pintle_host_env_log(int32_t level, uint8_t *message, size_t length) {
    (void)level;
    printf("log: %.*s\n", (int)length, (const char *)message);
}

void __wasm_import_pintle_host_env_config(uint8_t *ret) { memset(ret, 0, sizeof(pintle_string)); }

/* The bindings hold on to the description of the world, which stands in an object for wasm alone. */
void __component_type_object_force_link_scheduler(void) {}

static pintle_string copy(const char *text) {
    pintle_string string;
    scheduler_string_dup(&string, text);
    return string;
}

test_node new_node(const char *name, int64_t milli_cpu, int64_t memory) {
    test_node node = {.id = node_count, .name = copy(name), .allocatable = {.milli_cpu = milli_cpu, .memory = memory}, .max_pods = 110};
    add_pair(&node.labels, "kubernetes.io/hostname", name);
    return node;
}

pintle_pod new_pod(const char *name, int64_t milli_cpu, int64_t memory) {
    pintle_pod pod = {.uid = copy(name), .namespace_ = copy("default"), .name = copy(name), .may_preempt = true};
    pod.requests = (pintle_resources){.milli_cpu = milli_cpu, .memory = memory};
    return pod;
}

pintle_constraints *constrain(pintle_pod *pod) {
    if (!pod->constraints.is_some) pod->constraints = (pintle_scheduler_types_option_constraints_t){.is_some = true};
    return &pod->constraints.val;
}

pintle_node_affinity *constrain_nodes(pintle_pod *pod) {
    if (!constrain(pod)->nodes.is_some) constrain(pod)->nodes = (pintle_scheduler_types_option_node_affinity_t){.is_some = true};
    return &constrain(pod)->nodes.val;
}

pintle_pod_affinity *constrain_pods(pintle_pod *pod) {
    if (!constrain(pod)->pods.is_some) constrain(pod)->pods = (pintle_scheduler_types_option_pod_affinity_t){.is_some = true};
    return &constrain(pod)->pods.val;
}

pintle_volume_use *constrain_volumes(pintle_pod *pod) {
    if (!constrain(pod)->volumes.is_some) constrain(pod)->volumes = (pintle_scheduler_types_option_volume_use_t){.is_some = true};
    return &constrain(pod)->volumes.val;
}

pintle_spread *constrain_spread(pintle_pod *pod) {
    if (!constrain(pod)->spread.is_some) constrain(pod)->spread = (pintle_scheduler_types_option_spread_t){.is_some = true};
    return &constrain(pod)->spread.val;
}

/* Lists of pairs are of one shape, whatever the bindings call them. */
void add_pair(void *pairs, const char *key, const char *value) {
    pintle_host_types_list_pair_t *list = pairs;
    list->ptr = realloc(list->ptr, (list->len + 1) * sizeof *list->ptr);
    list->ptr[list->len++] = (pintle_host_types_pair_t){copy(key), copy(value)};
}

void add_extended(pintle_resources *resources, const char *name, int64_t amount) {
    resources->extended.ptr = realloc(resources->extended.ptr, (resources->extended.len + 1) * sizeof *resources->extended.ptr);
    resources->extended.ptr[resources->extended.len++] = (scheduler_tuple2_string_s64_t){copy(name), amount};
}

void add_taint(test_node *node, const char *key, const char *value, uint8_t effect) {
    node->taints.ptr = realloc(node->taints.ptr, (node->taints.len + 1) * sizeof *node->taints.ptr);
    node->taints.ptr[node->taints.len++] = (pintle_scheduler_types_taint_t){copy(key), copy(value), effect};
}

static void feed(scheduler_delta_t delta) {
    scheduler_list_delta_t deltas = {malloc(sizeof delta), 1};
    deltas.ptr[0] = delta;
    exports_scheduler_feed(&deltas);
}

void feed_node(test_node node) {
    node.id = node_count;
    nodes[node_count++] = strndup((const char *)node.name.ptr, node.name.len);
    scheduler_delta_t delta = {.tag = PINTLE_SCHEDULER_TYPES_DELTA_UPSERT_NODE};
    delta.val.upsert_node = node;
    feed(delta);
}

void feed_pod(pintle_pod pod, const char *on) {
    uint32_t at = 0;
    while (at < node_count && strcmp(nodes[at], on)) at++;
    if (at == node_count) {
        test_failed(__FILE__, __LINE__, "there is no such node");
        return;
    }
    scheduler_delta_t delta = {.tag = PINTLE_SCHEDULER_TYPES_DELTA_PLACE};
    delta.val.place = (pintle_scheduler_types_placement_t){pod, at};
    feed(delta);
}

static uint32_t enough(void) {
    if (node_count <= LOOK_AT_ALL) return 0;
    uint32_t percent = node_count / 125 < 45 ? 50 - node_count / 125 : 5;
    uint32_t share = node_count * percent / 100;
    return share > LOOK_AT_ALL ? share : LOOK_AT_ALL;
}

static void tell(const pintle_scheduler_types_list_rejection_t *rejections) {
    size_t end = 0;
    said[0] = 0;
    for (size_t i = 0; i < rejections->len && end < sizeof said; i++) {
        const pintle_scheduler_types_rejection_t *r = &rejections->ptr[i];
        end += (size_t)snprintf(said + end, sizeof said - end, "%s%u %.*s", i ? ", " : "", r->nodes, (int)r->message.len, (const char *)r->message.ptr);
    }
}

/* Marsaglia's xorshift: the same numbers in each run, so that tests repeat. */
static uint64_t next_seed(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static const char *asked(pintle_pod pod, uint32_t *id) {
    scheduler_scope_t scope = {.start = start, .limit = enough(), .top = 1, .seed = next_seed()};
    scheduler_outcome_t outcome;
    scheduler_string_t error;
    exports_scheduler_schedule(&pod, &scope, &outcome, &error);
    const char *name = NULL;
    said[0] = 0;
    if (outcome.tag == PINTLE_SCHEDULER_TYPES_OUTCOME_FITS) {
        *id = outcome.val.fits.ranked.ptr[0].node;
        name = nodes[*id];
        start = outcome.val.fits.next_start;
    } else {
        tell(&outcome.val.none);
    }
    scheduler_outcome_free(&outcome);
    return name;
}

const char *decide_pod(pintle_pod pod) {
    uint32_t id;
    return asked(pod, &id);
}

const char *place_pod(pintle_pod pod) {
    /* The decision takes the pod and keeps it. */
    scheduler_delta_t delta = {.tag = PINTLE_SCHEDULER_TYPES_DELTA_ASSUME};
    scheduler_string_dup_n(&delta.val.assume.uid, (const char *)pod.uid.ptr, pod.uid.len);
    const char *name = asked(pod, &delta.val.assume.node);
    if (name) {
        feed(delta);
    } else {
        scheduler_delta_free(&delta);
    }
    return name;
}

const char *reasons(void) { return said; }

const char *configure(const char *config) {
    scheduler_string_t text = copy(config), error;
    if (exports_scheduler_configure(&text, &error)) return NULL;
    snprintf(said, sizeof said, "%.*s", (int)error.len, (const char *)error.ptr);
    scheduler_string_free(&error);
    return said;
}

void add_node(const char *name, int64_t milli_cpu, int64_t memory) { feed_node(new_node(name, milli_cpu, memory)); }

void add_pod(const char *name, int64_t milli_cpu, int64_t memory, const char *on) { feed_pod(new_pod(name, milli_cpu, memory), on); }

const char *decide(const char *pod, int64_t milli_cpu, int64_t memory) { return decide_pod(new_pod(pod, milli_cpu, memory)); }

const char *place(const char *pod, int64_t milli_cpu, int64_t memory) { return place_pod(new_pod(pod, milli_cpu, memory)); }

int main(void) {
    for (size_t i = 0; i < test_count; i++) {
        size_t before = failures;
        exports_scheduler_reset();
        for (; node_count; node_count--) free(nodes[node_count - 1]);
        start = 0;
        tests[i].function();
        printf("%s %s\n", failures == before ? "ok  " : "FAIL", tests[i].name);
    }
    printf("%zu tests, %zu failures\n", test_count, failures);
    return !test_count || failures;
}
