/* Strings to pointers or numbers, and growing lists: what the SDK's own parts are made of. */
#ifndef PINTLE_MAP_H
#define PINTLE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pintle_scheduler.h"

typedef union pintle_value {
    void *pointer;
    int64_t number;
} pintle_value;

typedef struct pintle_slot {
    /* Not copied: it must live as long as its entry. NULL: empty. */
    const uint8_t *key;
    size_t len;
    pintle_value value;
} pintle_slot;

/* Open addressing. All zero is an empty one. */
typedef struct pintle_map {
    pintle_slot *slots;
    size_t capacity;
    size_t count;
} pintle_map;

/* NULL when the key is not there. */
pintle_value *pintle_map_find(const pintle_map *map, pintle_string key);
/* Made, all zero, when it is not there. */
pintle_value *pintle_map_entry(pintle_map *map, pintle_string key);
void pintle_map_remove(pintle_map *map, pintle_string key);
void pintle_map_free(pintle_map *map);

/* `malloc` and `realloc` that end the call where there is no memory. */
void *pintle_allocate(size_t size);
void *pintle_resize(void *old, size_t size);

static inline bool pintle_equal(pintle_string a, pintle_string b) { return a.len == b.len && (!a.len || memcmp(a.ptr, b.ptr, a.len) == 0); }

#endif
