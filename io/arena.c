/* SPDX-License-Identifier: Apache-2.0 */
/* arena: see arena.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Large enough that the allocator's own overhead does not count. */
#define CHUNK ((size_t)64 << 10)

#define ALIGNMENT _Alignof(max_align_t)

struct tm_arena_chunk {
    struct tm_arena_chunk *next;
    size_t size;
    _Alignas(max_align_t) unsigned char data[];
};

static struct tm_arena_chunk *add_chunk(struct tm_arena *arena, size_t size)
{
    struct tm_arena_chunk *chunk;

    if (size < CHUNK)
        size = CHUNK;
    chunk = malloc(sizeof(*chunk) + size);
    if (chunk == NULL)
        return NULL;
    chunk->size = size;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->used = 0;
    arena->bytes += sizeof(*chunk) + size;
    return chunk;
}

void *tm_arena_alloc(struct tm_arena *arena, size_t size)
{
    struct tm_arena_chunk *chunk = arena->chunks;
    void *piece;

    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    if (chunk == NULL || chunk->size - arena->used < size)
        chunk = add_chunk(arena, size);
    if (chunk == NULL)
        return NULL;
    piece = chunk->data + arena->used;
    arena->used += size;
    return piece;
}

char *tm_arena_copy(struct tm_arena *arena, const char *text, size_t length)
{
    char *copy = tm_arena_alloc(arena, length + 1);

    if (copy == NULL)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

void tm_arena_free(struct tm_arena *arena)
{
    struct tm_arena_chunk *chunk = arena->chunks;

    while (chunk != NULL) {
        struct tm_arena_chunk *next = chunk->next;

        free(chunk);
        chunk = next;
    }
    *arena = (struct tm_arena){0};
}
