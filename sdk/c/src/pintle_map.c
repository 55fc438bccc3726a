#include "pintle_map.h"

#include <stdlib.h>

static const size_t FIRST_CAPACITY = 16;

void *pintle_allocate(size_t size) { return pintle_resize(NULL, size); }

void *pintle_resize(void *old, size_t size) {
    void *memory = realloc(old, size ? size : 1);
    if (!memory) abort();
    return memory;
}

/* FNV-1a. */
static size_t hash(pintle_string key) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < key.len; i++) hash = (hash ^ key.ptr[i]) * 16777619u;
    return hash;
}

/* The key's slot, or the empty one where it would stand. */
static pintle_slot *slot(const pintle_map *map, pintle_string key) {
    size_t at = hash(key) & (map->capacity - 1);
    for (;; at = (at + 1) & (map->capacity - 1)) {
        pintle_slot *slot = &map->slots[at];
        if (!slot->key || (slot->len == key.len && memcmp(slot->key, key.ptr, key.len) == 0)) return slot;
    }
}

static void grow(pintle_map *map) {
    pintle_map wider = {.capacity = map->capacity ? map->capacity * 2 : FIRST_CAPACITY, .count = map->count};
    wider.slots = pintle_allocate(wider.capacity * sizeof(pintle_slot));
    memset(wider.slots, 0, wider.capacity * sizeof(pintle_slot));
    for (size_t i = 0; i < map->capacity; i++) {
        const pintle_slot *old = &map->slots[i];
        if (old->key) *slot(&wider, (pintle_string){(uint8_t *)old->key, old->len}) = *old;
    }
    free(map->slots);
    *map = wider;
}

pintle_value *pintle_map_find(const pintle_map *map, pintle_string key) {
    if (!map->capacity) return NULL;
    pintle_slot *found = slot(map, key);
    return found->key ? &found->value : NULL;
}

pintle_value *pintle_map_entry(pintle_map *map, pintle_string key) {
    if (map->count * 2 >= map->capacity) grow(map);
    pintle_slot *found = slot(map, key);
    if (!found->key) {
        /* An empty string may come without an address. */
        *found = (pintle_slot){.key = key.ptr ? key.ptr : (const uint8_t *)"", .len = key.len};
        map->count++;
    }
    return &found->value;
}

void pintle_map_remove(pintle_map *map, pintle_string key) {
    if (!map->capacity) return;
    pintle_slot *gone = slot(map, key);
    if (!gone->key) return;
    gone->key = NULL;
    map->count--;
    /* What stood behind it for want of its place moves up. */
    size_t at = (size_t)(gone - map->slots);
    for (;;) {
        at = (at + 1) & (map->capacity - 1);
        if (!map->slots[at].key) return;
        pintle_slot moved = map->slots[at];
        map->slots[at].key = NULL;
        *slot(map, (pintle_string){(uint8_t *)moved.key, moved.len}) = moved;
    }
}

void pintle_map_free(pintle_map *map) {
    free(map->slots);
    *map = (pintle_map){0};
}
