/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nearest: which of some names was meant by a word that is none of them.
 *
 *     struct tm_nearest nearest = {.word = "wieght"};
 *     tm_nearest_try(&nearest, "weight"); ...
 *     nearest.name is "weight", or NULL where nothing is near
 */
#ifndef TM_SRC_NEAREST_H
#define TM_SRC_NEAREST_H

struct tm_nearest {
    const char *word;
    const char *name;
    unsigned distance; /* of name */
};

/* Takes `name` if it is nearer than what was tried before. */
void tm_nearest_try(struct tm_nearest *nearest, const char *name);

#endif
