/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena: memory that is allocated piece by piece and freed as a whole.
 *
 * Holds what a header says: millions of small strings and shapes, whose
 * number is known only when they have all been read. `bytes` counts what was
 * taken from the system, since the budget includes it.
 */
#ifndef TM_IO_ARENA_H
#define TM_IO_ARENA_H

#include <stddef.h>

struct tm_arena_chunk;

struct tm_arena {
    struct tm_arena_chunk *chunks;
    size_t used; /* of the newest chunk */
    size_t bytes;
};

/* `size` bytes, aligned for any type, not initialised; NULL: no memory. */
void *tm_arena_alloc(struct tm_arena *arena, size_t size);

/* A copy of `length` bytes of `text` with a NUL behind it. */
char *tm_arena_copy(struct tm_arena *arena, const char *text, size_t length);

/* Frees everything; the arena is empty and usable again. */
void tm_arena_free(struct tm_arena *arena);

#endif
