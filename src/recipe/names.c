/* SPDX-License-Identifier: Apache-2.0 */
/* names: see names.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/recipe/names.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io/message.h"

/* The slot that holds `name`, or the free one where it belongs. */
static size_t slot_of(const struct tm_names *names, const char *name)
{
    const size_t mask = names->num_slots - 1;
    size_t slot = (size_t)XXH3_64bits(name, strlen(name)) & mask;

    while (names->slots[slot] != 0 &&
           strcmp(names->names[names->slots[slot] - 1], name) != 0)
        slot = (slot + 1) & mask;
    return slot;
}

/* Twice the room, at most half of it used. */
static int grow(struct tm_names *names)
{
    const size_t num_slots = names->num_slots > 0 ? 2 * names->num_slots : 32;
    const char **more =
        realloc(names->names, num_slots / 2 * sizeof(*names->names));
    uint32_t *slots = calloc(num_slots, sizeof(*slots));

    if (more != NULL)
        names->names = more;
    if (more == NULL || slots == NULL) {
        free(slots);
        tm_no_memory();
        return -1;
    }
    free(names->slots);
    names->slots = slots;
    names->num_slots = num_slots;
    for (size_t i = 0; i < names->count; i++)
        slots[slot_of(names, names->names[i])] = (uint32_t)i + 1;
    return 0;
}

uint32_t tm_names_find(const struct tm_names *names, const char *name)
{
    if (names->count == 0)
        return TM_NAMES_NONE;
    /* A free slot is 0 and so becomes TM_NAMES_NONE. */
    return names->slots[slot_of(names, name)] - 1;
}

uint32_t tm_names_add(struct tm_names *names, const char *name)
{
    size_t slot;

    if (names->count == names->num_slots / 2 && grow(names) != 0)
        return TM_NAMES_NONE;
    slot = slot_of(names, name);
    if (names->slots[slot] == 0) {
        names->names[names->count++] = name;
        names->slots[slot] = (uint32_t)names->count;
    }
    return names->slots[slot] - 1;
}

void tm_names_free(struct tm_names *names)
{
    free(names->names);
    free(names->slots);
    *names = (struct tm_names){0};
}
