/* Rules about topology domains: required pod affinity and anti-affinity, and spread constraints that forbid. */
#include <stdlib.h>

#include "pintle_cluster.h"

static const pintle_refusal AFFINITY = {"InterPodAffinity", "node(s) didn't match pod affinity rules", false, {0}};
static const pintle_refusal ANTI_AFFINITY = {"InterPodAffinity", "node(s) didn't match pod anti-affinity rules", true, {0}};
static const pintle_refusal EXISTING = {"InterPodAffinity", "node(s) didn't satisfy existing pods anti-affinity rules", true, {0}};
static const pintle_refusal SPREAD = {"PodTopologySpread", "node(s) didn't match pod topology spread constraints", true, {0}};
static const pintle_refusal SPREAD_LABEL = {
    "PodTopologySpread", "node(s) didn't match pod topology spread constraints (missing required label)", false, {0}};

static bool is_hard(const pintle_spread_constraint *c) { return c->when_unsatisfiable == PINTLE_SCHEDULER_TYPES_UNSATISFIABLE_DO_NOT_SCHEDULE; }

/* `ptr` is NULL where the node, or its label, is not there. */
static pintle_string domain(const pintle_node *node, pintle_string key) {
    return node ? pintle_value_of((const void *)&node->as_fed.labels, key) : (pintle_string){0};
}

static bool term_matches(const pintle_cluster *cluster, const pintle_term *term, const pintle_pod *pod) {
    if (!term->selector.is_some || !pintle_all_hold(&term->selector.val, (const void *)&pod->labels)) return false;
    for (size_t i = 0; i < term->namespaces.len; i++) {
        if (pintle_equal(term->namespaces.ptr[i], pod->namespace_)) return true;
    }
    if (!term->namespace_selector.is_some) return false;
    const pintle_value *found = pintle_map_find(&cluster->namespaces, pod->namespace_);
    pintle_host_types_list_pair_t none = {0};
    const pintle_scheduler_types_namespace_t *space = found ? found->pointer : NULL;
    return pintle_all_hold(&term->namespace_selector.val, space ? (const void *)&space->labels : &none);
}

static bool all_terms_match(const pintle_rules *rules, const pintle_pod *pod) {
    const pintle_scheduler_types_list_pod_affinity_term_t *terms = &rules->asks.pods->required;
    for (size_t i = 0; i < terms->len; i++) {
        if (!term_matches(rules->cluster, &terms->ptr[i], pod)) return false;
    }
    return true;
}

static void note(pintle_map *domains, pintle_string found) {
    if (found.ptr) pintle_map_entry(domains, found)->number++;
}

/* What one placed pod means for the pod to be placed. */
static void weigh(pintle_rules *rules, const pintle_placed *placed) {
    const pintle_pod *pod = rules->pod;
    const pintle_node *node = pintle_node_at(rules->cluster, placed->at);
    const pintle_pod_affinity *asks = rules->asks.pods, *theirs = pintle_asks(&placed->pod).pods;
    for (size_t i = 0; i < theirs->required_anti.len; i++) {
        const pintle_term *term = &theirs->required_anti.ptr[i];
        pintle_string found = domain(node, term->topology_key);
        if (!found.ptr || !term_matches(rules->cluster, term, pod)) continue;
        rules->refused = pintle_resize(rules->refused, (rules->refused_count + 1) * sizeof *rules->refused);
        rules->refused[rules->refused_count++] = (pintle_host_types_pair_t){term->topology_key, found};
    }
    if (asks->required.len && all_terms_match(rules, &placed->pod)) {
        for (size_t i = 0; i < asks->required.len; i++) note(&rules->wanted[i], domain(node, asks->required.ptr[i].topology_key));
    }
    for (size_t i = 0; i < asks->required_anti.len; i++) {
        const pintle_term *term = &asks->required_anti.ptr[i];
        if (term_matches(rules->cluster, term, &placed->pod)) note(&rules->avoided[i], domain(node, term->topology_key));
    }
}

static void count_affinity(pintle_rules *rules) {
    const pintle_pod_affinity *asks = rules->asks.pods;
    if (!asks->required.len && !asks->required_anti.len && !rules->cluster->refusing) return;
    rules->wanted = calloc(asks->required.len + 1, sizeof(pintle_map));
    rules->avoided = calloc(asks->required_anti.len + 1, sizeof(pintle_map));
    if (!rules->wanted || !rules->avoided) abort();
    const pintle_map *placed = &rules->cluster->placed;
    for (size_t i = 0; i < placed->capacity; i++) {
        if (placed->slots[i].key) weigh(rules, placed->slots[i].value.pointer);
    }
    bool nobody = true;
    for (size_t i = 0; i < asks->required.len; i++) nobody &= !rules->wanted[i].count;
    rules->first_of_group = nobody && all_terms_match(rules, rules->pod);
}

static int64_t matching(const pintle_spread_constraint *constraint, pintle_string namespace_, const pintle_node *node) {
    int64_t sum = 0;
    if (!constraint->selector.is_some) return 0;
    for (const pintle_placed *placed = node->first; placed; placed = placed->next) {
        const pintle_pod *pod = &placed->pod;
        sum += !pod->deleting && pintle_equal(pod->namespace_, namespace_) && pintle_all_hold(&constraint->selector.val, (const void *)&pod->labels);
    }
    return sum;
}

static bool has_all_keys(const pintle_spread *asks, const pintle_node *node) {
    for (size_t i = 0; i < asks->constraints.len; i++) {
        if (is_hard(&asks->constraints.ptr[i]) && !domain(node, asks->constraints.ptr[i].topology_key).ptr) return false;
    }
    return true;
}

static void count_spread(pintle_rules *rules) {
    const pintle_pod *pod = rules->pod;
    const pintle_spread *asks = rules->asks.spread;
    if (!asks->constraints.len) return;
    rules->spread = calloc(asks->constraints.len, sizeof(pintle_map));
    rules->least = calloc(asks->constraints.len, sizeof *rules->least);
    rules->counts_itself = calloc(asks->constraints.len, sizeof *rules->counts_itself);
    if (!rules->spread || !rules->least || !rules->counts_itself) abort();
    for (size_t c = 0; c < asks->constraints.len; c++) {
        const pintle_spread_constraint *constraint = &asks->constraints.ptr[c];
        if (!is_hard(constraint)) continue;
        pintle_map *counts = &rules->spread[c];
        for (uint32_t id = 0; id < rules->cluster->slots; id++) {
            const pintle_node *node = rules->cluster->nodes[id];
            if (!node || !has_all_keys(asks, node)) continue;
            if (constraint->honor_node_affinity && !pintle_matches_node(pod, node)) continue;
            if (constraint->honor_node_taints && !pintle_tolerates_taints(pod, node)) continue;
            pintle_map_entry(counts, domain(node, constraint->topology_key))->number += matching(constraint, pod->namespace_, node);
        }
        bool too_few = constraint->min_domains.is_some && (int64_t)counts->count < constraint->min_domains.val;
        int64_t least = too_few || !counts->count ? 0 : INT64_MAX;
        for (size_t i = 0; i < counts->capacity; i++) {
            if (counts->slots[i].key && counts->slots[i].value.number < least) least = counts->slots[i].value.number;
        }
        rules->least[c] = least;
        rules->counts_itself[c] = constraint->selector.is_some && pintle_all_hold(&constraint->selector.val, (const void *)&pod->labels);
    }
}

void pintle_count_domains(pintle_rules *rules) {
    count_affinity(rules);
    count_spread(rules);
}

static const pintle_refusal *spread_refusal(const pintle_rules *rules, const pintle_node *node) {
    for (size_t c = 0; c < rules->asks.spread->constraints.len; c++) {
        const pintle_spread_constraint *constraint = &rules->asks.spread->constraints.ptr[c];
        if (!is_hard(constraint)) continue;
        pintle_string found = domain(node, constraint->topology_key);
        if (!found.ptr) return &SPREAD_LABEL;
        const pintle_value *there = pintle_map_find(&rules->spread[c], found);
        int64_t skew = (there ? there->number : 0) + rules->counts_itself[c] - rules->least[c];
        if (skew > constraint->max_skew) return &SPREAD;
    }
    return NULL;
}

const pintle_refusal *pintle_domain_refusal(const pintle_rules *rules, const pintle_node *node) {
    const pintle_pod_affinity *asks = rules->asks.pods;
    const pintle_refusal *spread = rules->spread ? spread_refusal(rules, node) : NULL;
    if (spread || !rules->wanted) return spread;
    bool present = true;
    for (size_t i = 0; i < asks->required.len; i++) {
        pintle_string found = domain(node, asks->required.ptr[i].topology_key);
        if (!found.ptr) return &AFFINITY;
        present &= pintle_map_find(&rules->wanted[i], found) != NULL;
    }
    if (!present && !rules->first_of_group) return &AFFINITY;
    for (size_t i = 0; i < asks->required_anti.len; i++) {
        pintle_string found = domain(node, asks->required_anti.ptr[i].topology_key);
        if (found.ptr && pintle_map_find(&rules->avoided[i], found)) return &ANTI_AFFINITY;
    }
    for (size_t i = 0; i < rules->refused_count; i++) {
        pintle_string found = domain(node, rules->refused[i].key);
        if (found.ptr && pintle_equal(found, rules->refused[i].value)) return &EXISTING;
    }
    return NULL;
}

void pintle_free_domains(pintle_rules *rules) {
    for (size_t i = 0; rules->wanted && i < rules->asks.pods->required.len; i++) pintle_map_free(&rules->wanted[i]);
    for (size_t i = 0; rules->avoided && i < rules->asks.pods->required_anti.len; i++) pintle_map_free(&rules->avoided[i]);
    for (size_t i = 0; rules->spread && i < rules->asks.spread->constraints.len; i++) pintle_map_free(&rules->spread[i]);
    free(rules->wanted);
    free(rules->avoided);
    free(rules->refused);
    free(rules->spread);
    free(rules->least);
    free(rules->counts_itself);
}
