/* SPDX-License-Identifier: Apache-2.0 */
/* names: texts with numbers, in the order in which they were added. */
#ifndef TM_SRC_RECIPE_NAMES_H
#define TM_SRC_RECIPE_NAMES_H

#include <stddef.h>
#include <stdint.h>

/* All zero is empty. */
struct tm_names {
    const char **names; /* the caller's texts, which must stay */
    size_t count;
    /* private: */
    uint32_t *slots; /* number + 1; 0: free */
    size_t num_slots;
};

#define TM_NAMES_NONE UINT32_MAX

/* The number of `name`; TM_NAMES_NONE: it has none. */
uint32_t tm_names_find(const struct tm_names *names, const char *name);

/*
 * The number of `name`, which is added where it is new: then its number is
 * what `count` was. TM_NAMES_NONE: no memory, reported.
 */
uint32_t tm_names_add(struct tm_names *names, const char *name);

/* Frees the table and empties it. */
void tm_names_free(struct tm_names *names);

#endif
