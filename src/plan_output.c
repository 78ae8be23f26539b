/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_output: the stored vectors that a plan makes, before anything is read.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/plan.h"

bool tm_same_shape(const struct tm_tensor *a, const struct tm_tensor *b)
{
    return a->ndim == b->ndim &&
           (a->ndim == 0 ||
            memcmp(a->shape, b->shape, a->ndim * sizeof(*a->shape)) == 0);
}

/* Whether all dimensions but the first are equal. */
static bool same_rows(const struct tm_tensor *a, const struct tm_tensor *b)
{
    return a->ndim == b->ndim &&
           (a->ndim < 2 || memcmp(a->shape + 1, b->shape + 1,
                                  (a->ndim - 1U) * sizeof(*a->shape)) == 0);
}

/* A type that another one can be converted to for a delta. */
static bool is_convertible(const struct tm_tensor *tensor)
{
    return tensor->dtype == TM_F64 || tensor->dtype == TM_F32 ||
           tensor->dtype == TM_F16 || tensor->dtype == TM_BF16;
}

/* A type that is coded as bytes, having no words of its own. */
static bool is_bytes(const struct tm_tensor *tensor)
{
    return tm_word_code((enum tm_dtype)tensor->dtype) ==
           tm_word_code(TM_OPAQUE);
}

bool tm_can_be_delta(const struct tm_tensor *base, const struct tm_tensor *own)
{
    const bool same_type = strcmp(base->dtype_name, own->dtype_name) == 0;

    if (base->bytes == 0 && own->bytes > 0)
        return false; /* nothing to learn from */
    if (is_bytes(base) || is_bytes(own))
        return same_type && tm_same_shape(base, own) &&
               base->bytes == own->bytes;
    return same_rows(base, own) &&
           (same_type || (is_convertible(base) && is_convertible(own)));
}

static uint64_t words_of(const struct tm_tensor *tensor)
{
    return tensor->bytes / tm_word_bytes((enum tm_dtype)tensor->dtype);
}

struct tm_output_record tm_output_record_of(const struct tm_tensor *base,
                                            const struct tm_tensor *own)
{
    struct tm_output_record record = {
        .name = own->name,
        .words = words_of(own),
        .count = (words_of(own) + TM_CHUNK_WORDS - 1) / TM_CHUNK_WORDS,
    };

    if (base == NULL || !tm_can_be_delta(base, own))
        return record;
    record.has_base = true;
    record.base_words = words_of(base);
    record.base_code = (uint8_t)tm_word_code((enum tm_dtype)base->dtype);
    record.is_like_base = tm_same_shape(base, own) &&
                          strcmp(base->dtype_name, own->dtype_name) == 0;
    record.is_measured = tm_same_shape(base, own) &&
                         tm_dtype_is_float((enum tm_dtype)base->dtype) &&
                         tm_dtype_is_float((enum tm_dtype)own->dtype);
    return record;
}

enum tm_status tm_output_allocate(struct tm_plan *plan,
                                  struct tm_output *output, size_t shards,
                                  size_t records)
{
    output->shards = calloc(shards + 1, sizeof(*output->shards));
    output->records = calloc(records + 1, sizeof(*output->records));
    output->num_shards = shards;
    output->num_records = records;
    if (output->shards == NULL || output->records == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < shards; i++) {
        char name[64];

        snprintf(name, sizeof(name), "vector-%05zu-of-%05zu.safetensors", i + 1,
                 shards);
        output->shards[i].name =
            tm_arena_copy(&plan->arena, name, strlen(name));
        if (output->shards[i].name == NULL)
            return tm_no_memory();
    }
    return TM_OK;
}

enum tm_status tm_output_number(struct tm_output *output, const char *path)
{
    output->num_chunks = 0;
    for (size_t i = 0; i < output->num_records; i++) {
        struct tm_output_record *record = &output->records[i];

        record->first = output->num_chunks;
        output->num_chunks += record->count;
        if (strcmp(record->name, TM_VECTOR_INDEX) == 0)
            return tm_error(TM_BAD_DATA,
                            "%s: tensor '%s': has the name of a stored "
                            "vector's index and cannot be stored",
                            path, record->name);
    }
    return TM_OK;
}
