/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index: the file that says which shard holds which tensor.
 *
 *     {"metadata": {"total_size": 123, ...},
 *      "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
 *
 * Only the shard names and the map are used. total_size is wrong or missing
 * in files that people use, so a wrong one is only worth a warning.
 */
#ifndef TM_IO_INDEX_H
#define TM_IO_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/arena.h"
#include "io/message.h"

struct tm_index_entry {
    const char *tensor;
    uint32_t shard;
};

struct tm_index {
    const char *path;
    char *text; /* malloc'ed; freed by tm_index_parse */
    size_t length;
    const char **shards; /* names, sorted */
    size_t num_shards;
    struct tm_index_entry *entries;
    size_t num_entries;
    const char *metadata; /* as JSON, in the arena; NULL if there is none */
    uint64_t total_size;
    bool has_total_size;
};

/*
 * Parses index->text. Strings go to `arena`; the arrays are malloc'ed.
 * Errors: TM_BAD_DATA (a shard whose name is a path, no weight_map ...).
 */
enum tm_status tm_index_parse(struct tm_index *index, struct tm_arena *arena);

/* Frees the arrays and the text. */
void tm_index_free(struct tm_index *index);

#endif
