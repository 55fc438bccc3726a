/* The exports of the scheduler world: keeps the cluster, asks the policy, chooses. */
#include "pintle_scheduler.h"

#include <stdio.h>
#include <stdlib.h>

#include "pintle_cluster.h"

/* A log line is cut here; the host cuts at 8 KiB. */
#define MAX_LOG_BYTES 1024
static const char POLICY[] = "Policy";

typedef struct ranked {
    const pintle_node *node;
    double score;
} ranked;

typedef struct rejected {
    pintle_refusal why;
    uint32_t nodes;
} rejected;

typedef struct decision {
    ranked *fits;
    size_t fit_count;
    rejected *reasons;
    size_t reason_count;
    uint32_t looked_at;
} decision;

static pintle_cluster cluster;
/* The pod of the last decision, until it is assumed to run somewhere. */
static pintle_pod asked;
static bool is_asked;

__attribute__((weak)) const char *policy_filter(const pintle_pod *pod, const pintle_node *node) {
    (void)pod, (void)node;
    return NULL;
}

__attribute__((weak)) const char *policy_configure(const char *config) {
    (void)config;
    return NULL;
}

void pintle_log(uint8_t level, const char *format, ...) {
    char line[MAX_LOG_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length < 0) return;
    pintle_string message = {(uint8_t *)line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1};
    pintle_host_env_log(level, &message);
}

uint32_t pintle_random_below(uint32_t limit) {
    scheduler_list_u8_t drawn;
    pintle_host_env_random(8, &drawn);
    uint64_t number = 0;
    for (size_t i = 0; i < drawn.len; i++) number = number << 8 | drawn.ptr[i];
    scheduler_list_u8_free(&drawn);
    return (uint32_t)(number % limit);
}

/* Reasons of one node, counted with those of the others. */
static void reject(decision *made, const pintle_refusal *why) {
    for (size_t i = 0; i < made->reason_count; i++) {
        const pintle_refusal *known = &made->reasons[i].why;
        bool same = !strcmp(known->filter, why->filter) && !strcmp(known->message, why->message);
        if (same && pintle_equal(known->resource, why->resource)) {
            made->reasons[i].nodes++;
            return;
        }
    }
    made->reasons = pintle_resize(made->reasons, (made->reason_count + 1) * sizeof(rejected));
    made->reasons[made->reason_count++] = (rejected){*why, 1};
}

/* The rules' reasons, then the policy's own. */
static size_t refusals_of(const pintle_rules *rules, const pintle_node *node, pintle_refusal refusals[PINTLE_MAX_REFUSALS]) {
    size_t count = pintle_refusals(rules, node, refusals);
    if (count) return count;
    const char *own = policy_filter(rules->pod, node);
    if (!own) return 0;
    refusals[0] = (pintle_refusal){.filter = POLICY, .message = own};
    return 1;
}

static void look_at(decision *made, const pintle_rules *rules, const pintle_node *node) {
    pintle_refusal refusals[PINTLE_MAX_REFUSALS];
    made->looked_at++;
    size_t count = refusals_of(rules, node, refusals);
    for (size_t i = 0; i < count; i++) reject(made, &refusals[i]);
    if (!count) made->fits[made->fit_count++] = (ranked){node, policy_score(rules->pod, node)};
}

static decision decide(const pintle_pod *pod, uint32_t start, uint32_t limit) {
    decision made = {.fits = pintle_allocate((cluster.node_count + 1) * sizeof(ranked))};
    pintle_rules rules = pintle_rules_for(&cluster, pod);
    /* `start` counts nodes in the order of their ids: skip so many, go round. */
    uint32_t id = 0;
    for (uint32_t skipped = 0; skipped < start; id++) skipped += cluster.nodes[id] != NULL;
    for (; made.looked_at < cluster.node_count; id++) {
        const pintle_node *node = cluster.nodes[id % cluster.slots];
        if (!node) continue;
        look_at(&made, &rules, node);
        if (limit && made.fit_count >= limit) break;
    }
    pintle_rules_free(&rules);
    return made;
}

/* These nodes and no others. */
static decision judge(const pintle_pod *pod, const scheduler_list_node_id_t *ids) {
    decision made = {.fits = pintle_allocate((ids->len + 1) * sizeof(ranked))};
    pintle_rules rules = pintle_rules_for(&cluster, pod);
    for (size_t i = 0; i < ids->len; i++) {
        const pintle_node *node = pintle_node_at(&cluster, ids->ptr[i]);
        if (node) look_at(&made, &rules, node);
    }
    pintle_rules_free(&rules);
    return made;
}

/* Brings the best `top` to the front; which of the equally best comes first is the seed's choice. */
static size_t rank(decision *made, size_t top, uint64_t seed) {
    if (top > made->fit_count) top = made->fit_count;
    for (size_t place = 0; place < top; place++) {
        size_t best = place, equal = 1;
        for (size_t i = place + 1; i < made->fit_count; i++) {
            if (made->fits[i].score > made->fits[best].score) {
                best = i;
                equal = 1;
            } else if (made->fits[i].score == made->fits[best].score) {
                equal++;
            }
        }
        size_t drawn = place == 0 ? (size_t)(seed % equal) : 0;
        for (size_t i = best; drawn; ) {
            if (made->fits[++i].score != made->fits[best].score) continue;
            if (!--drawn) best = i;
        }
        ranked chosen = made->fits[best];
        made->fits[best] = made->fits[place];
        made->fits[place] = chosen;
    }
    return top;
}

static void message_of(const pintle_refusal *why, pintle_string *message) {
    size_t length = strlen(why->message);
    message->len = length + why->resource.len;
    message->ptr = pintle_allocate(message->len);
    memcpy(message->ptr, why->message, length);
    if (why->resource.len) memcpy(message->ptr + length, why->resource.ptr, why->resource.len);
}

static int64_t rounded(double score) { return (int64_t)(score < 0 ? score - 0.5 : score + 0.5); }

/* A list is empty without memory of its own. */
static void answer_scores(const decision *made, size_t count, pintle_scheduler_types_list_ranked_t *scores) {
    scores->len = count;
    scores->ptr = count ? pintle_allocate(count * sizeof *scores->ptr) : NULL;
    for (size_t i = 0; i < count; i++) {
        scores->ptr[i].node = made->fits[i].node->as_fed.id;
        scores->ptr[i].score = rounded(made->fits[i].score);
    }
}

static void answer_fits(decision *made, const scheduler_scope_t *scope, uint32_t start, scheduler_outcome_t *ret) {
    size_t top = rank(made, scope->top ? scope->top : 1, scope->seed);
    ret->tag = PINTLE_SCHEDULER_TYPES_OUTCOME_FITS;
    pintle_scheduler_types_choice_t *choice = &ret->val.fits;
    answer_scores(made, top, &choice->ranked);
    choice->feasible = (uint32_t)made->fit_count;
    choice->looked_at = made->looked_at;
    choice->next_start = (start + made->looked_at) % cluster.node_count;
}

static void answer_reasons(const decision *made, pintle_scheduler_types_list_rejection_t *reasons) {
    reasons->len = made->reason_count;
    reasons->ptr = reasons->len ? pintle_allocate(made->reason_count * sizeof *reasons->ptr) : NULL;
    for (size_t i = 0; i < made->reason_count; i++) {
        scheduler_string_dup(&reasons->ptr[i].filter, made->reasons[i].why.filter);
        message_of(&made->reasons[i].why, &reasons->ptr[i].message);
        reasons->ptr[i].nodes = made->reasons[i].nodes;
        reasons->ptr[i].resolvable = made->reasons[i].why.resolvable;
    }
}

static void answer_none(const decision *made, scheduler_outcome_t *ret) {
    ret->tag = PINTLE_SCHEDULER_TYPES_OUTCOME_NONE;
    answer_reasons(made, &ret->val.none);
}

bool exports_scheduler_configure(scheduler_string_t *config, scheduler_string_t *err) {
    /* The policy may keep it: an instance is configured once. */
    char *text = pintle_allocate(config->len + 1);
    if (config->len) memcpy(text, config->ptr, config->len);
    text[config->len] = 0;
    scheduler_string_free(config);
    const char *wrong = policy_configure(text);
    if (wrong) scheduler_string_dup(err, wrong);
    return !wrong;
}

static void forget_asked(void) {
    if (is_asked) scheduler_pod_free(&asked);
    is_asked = false;
}

void exports_scheduler_reset(void) {
    pintle_reset(&cluster);
    forget_asked();
}

/* Of another pod than the last one there is nothing to place. */
static void assume(const pintle_scheduler_types_assumption_t *assumption) {
    if (!is_asked || !pintle_equal(asked.uid, assumption->uid)) return;
    is_asked = false;
    pintle_place(&cluster, &asked, assumption->node);
}

static void apply(scheduler_delta_t *delta) {
    switch (delta->tag) {
    case PINTLE_SCHEDULER_TYPES_DELTA_UPSERT_NODE: pintle_upsert_node(&cluster, &delta->val.upsert_node); break;
    case PINTLE_SCHEDULER_TYPES_DELTA_REMOVE_NODE: pintle_remove_node(&cluster, delta->val.remove_node); break;
    case PINTLE_SCHEDULER_TYPES_DELTA_PLACE: pintle_place(&cluster, &delta->val.place.pod, delta->val.place.node); break;
    case PINTLE_SCHEDULER_TYPES_DELTA_ASSUME:
        assume(&delta->val.assume);
        scheduler_delta_free(delta);
        break;
    case PINTLE_SCHEDULER_TYPES_DELTA_FORGET:
        pintle_forget(&cluster, delta->val.forget);
        scheduler_string_free(&delta->val.forget);
        break;
    case PINTLE_SCHEDULER_TYPES_DELTA_UPSERT_NAMESPACE: pintle_upsert_namespace(&cluster, &delta->val.upsert_namespace); break;
    case PINTLE_SCHEDULER_TYPES_DELTA_REMOVE_NAMESPACE:
        pintle_remove_namespace(&cluster, delta->val.remove_namespace);
        scheduler_string_free(&delta->val.remove_namespace);
        break;
    default:
        /* Disruption budgets and nominations matter to preemption alone. */
        scheduler_delta_free(delta);
    }
}

void exports_scheduler_feed(scheduler_list_delta_t *deltas) {
    for (size_t i = 0; i < deltas->len; i++) apply(&deltas->ptr[i]);
    if (deltas->len) free(deltas->ptr);
}

bool exports_scheduler_schedule(scheduler_pod_t *pod, scheduler_scope_t *scope, scheduler_outcome_t *ret, scheduler_string_t *err) {
    (void)err;
    forget_asked();
    asked = *pod;
    is_asked = true;
    uint32_t start = cluster.node_count ? scope->start % cluster.node_count : 0;
    decision made = decide(&asked, start, scope->limit);
    if (made.fit_count) {
        answer_fits(&made, scope, start, ret);
    } else {
        answer_none(&made, ret);
    }
    free(made.fits);
    free(made.reasons);
    return true;
}

bool exports_scheduler_rank(scheduler_pod_t *pod, scheduler_list_node_id_t *nodes, scheduler_ranking_t *ret, scheduler_string_t *err) {
    (void)err;
    decision made = judge(pod, nodes);
    answer_scores(&made, made.fit_count, &ret->ranked);
    answer_reasons(&made, &ret->rejections);
    free(made.fits);
    free(made.reasons);
    scheduler_pod_free(pod);
    if (nodes->len) free(nodes->ptr);
    return true;
}

bool exports_scheduler_preempt(scheduler_pod_t *pod, scheduler_list_node_id_t *maybe_among, scheduler_attempt_t *ret, scheduler_string_t *err) {
    (void)err;
    scheduler_pod_free(pod);
    if (maybe_among && maybe_among->len) free(maybe_among->ptr);
    *ret = (scheduler_attempt_t){.tag = PINTLE_SCHEDULER_TYPES_ATTEMPT_NONE};
    return true;
}

static void reason(pintle_scheduler_types_reason_t *line, const char *stage, const char *criterion) {
    *line = (pintle_scheduler_types_reason_t){0};
    scheduler_string_dup(&line->stage, stage);
    scheduler_string_dup(&line->criterion, criterion);
}

void exports_scheduler_explain(scheduler_pod_t *pod, scheduler_node_id_t id, scheduler_list_reason_t *ret) {
    const pintle_node *node = pintle_node_at(&cluster, id);
    ret->ptr = pintle_allocate((PINTLE_MAX_REFUSALS + 2) * sizeof *ret->ptr);
    ret->len = 0;
    if (node) {
        pintle_refusal refusals[PINTLE_MAX_REFUSALS];
        pintle_rules rules = pintle_rules_for(&cluster, pod);
        size_t count = refusals_of(&rules, node, refusals);
        for (; ret->len < count; ret->len++) {
            reason(&ret->ptr[ret->len], "Filter", refusals[ret->len].filter);
            ret->ptr[ret->len].rejected.is_some = true;
            message_of(&refusals[ret->len], &ret->ptr[ret->len].rejected.val);
        }
        if (!count) {
            reason(&ret->ptr[ret->len++], "Filter", POLICY);
            reason(&ret->ptr[ret->len], "Score", POLICY);
            ret->ptr[ret->len].score = (scheduler_option_s64_t){true, rounded(policy_score(pod, node))};
            ret->len++;
        }
        pintle_rules_free(&rules);
    }
    if (!ret->len) {
        free(ret->ptr);
        ret->ptr = NULL;
    }
    scheduler_pod_free(pod);
}
