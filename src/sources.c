/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sources: from what was read of a tensor's inputs to their elements.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "kernels/sum.h"
#include "src/pipeline.h"

/* Where the part's elements of a source that is not coded are. */
static const unsigned char *as_read(const struct tm_pipeline *p,
                                    const struct tm_part *part, size_t column)
{
    const struct tm_unit *unit = &part->job->unit;
    const uint64_t size =
        tm_plan_unit(part->tensor, (enum tm_dtype)part->sources[column].dtype);
    const uint64_t skip = part->first - unit->tiles[part->tile].first;

    return part->job->slot +
           unit->places[part->tile * p->plan->width + column] + skip * size;
}

/* Converts `n` words of the base, or copies them. */
static void convert(enum tm_isa isa, enum tm_dtype from, const void *base,
                    enum tm_dtype to, size_t n, void *out)
{
    struct tm_sum_stats ignored = {0};
    const struct tm_sum_task task = {
        .base = base,
        .base_dtype = from,
        .out = out,
        .out_dtype = to,
        .n = n,
    };

    if (from == to || !tm_dtype_is_float(from) || !tm_dtype_is_float(to))
        memcpy(out, base, n * tm_word_bytes(to));
    else
        tm_sum(isa, &task, &ignored);
}

const void *tm_sources_base(struct tm_pipeline *pipeline,
                            struct tm_tools *tools, const struct tm_part *part,
                            enum tm_dtype dtype, uint64_t words)
{
    const struct tm_source *source = &part->sources[0];
    const enum tm_dtype from = (enum tm_dtype)source->dtype;
    const struct tm_tile tile = {
        .tensor = part->number, .first = part->first, .count = part->count};
    const unsigned size = tm_word_bytes(dtype);
    uint64_t there = words;

    if (source->file == TM_NO_FILE)
        return NULL;
    if (part->tensor->operation == TM_TAKE)
        there = tm_tile_count(pipeline->plan, &tile, 0);
    if (there == words && (from == dtype || !tm_dtype_is_float(from) ||
                           !tm_dtype_is_float(dtype)))
        return tools->data[0];
    if (there > 0)
        convert(pipeline->isa, from, tools->data[0], dtype, there,
                tools->converted);
    memset(tools->converted + there * size, 0, (words - there) * size);
    return tools->converted;
}

/* The bytes of one chunk of a coded source. */
static const unsigned char *coded_bytes(const struct tm_pipeline *p,
                                        const struct tm_part *part,
                                        size_t column, size_t *length)
{
    const struct tm_unit *unit = &part->job->unit;
    const struct tm_coded_source *source =
        &p->plan->coded[part->sources[column].offset];
    const uint64_t step = tm_plan_chunk(part->tensor);
    const uint64_t chunk = part->first / step;
    uint64_t place = unit->places[part->tile * p->plan->width + column];

    *length = chunk < source->coded->count ? source->lengths[chunk] : 0;
    if (*length == 0)
        return part->job->slot; /* nothing was read, perhaps no place set */
    for (uint64_t c = unit->tiles[part->tile].first / step; c < chunk; c++)
        place += source->lengths[c];
    return part->job->slot + place;
}

static enum tm_status complain(const struct tm_pipeline *p,
                               const struct tm_part *part, size_t column,
                               const char *why)
{
    const struct tm_plan *plan = p->plan;
    const struct tm_source *source = &part->sources[column];
    const char *vector = plan->coded[source->offset].vector;

    if (why == TM_OTHER_BASE)
        return tm_error(TM_BAD_DATA,
                        "%s: tensor '%s': is not the base's that %s was made "
                        "against",
                        plan->files[part->sources[0].file].path,
                        part->tensor->name, vector);
    return tm_error(
        TM_BAD_DATA, "%s: tensor '%s': chunk %llu %s",
        plan->files[source->file].path, part->tensor->name,
        (unsigned long long)(part->first / tm_plan_chunk(part->tensor)), why);
}

/* Decodes the part's chunk of a coded source into `out`. */
static enum tm_status decode(struct tm_pipeline *p, struct tm_tools *tools,
                             const struct tm_part *part, size_t column,
                             void *out)
{
    const enum tm_dtype dtype = (enum tm_dtype)part->sources[column].dtype;
    const struct tm_coded *coded =
        p->plan->coded[part->sources[column].offset].coded;
    const uint64_t words =
        part->count * tm_plan_unit(part->tensor, dtype) / tm_word_bytes(dtype);
    size_t length;
    const unsigned char *bytes = coded_bytes(p, part, column, &length);
    const struct tm_chunk chunk = {
        .dtype = dtype,
        .words = words,
        .base = coded->state == TM_ALONE
                    ? NULL
                    : tm_sources_base(p, tools, part, dtype, words),
    };
    const char *why = tm_chunk_decode(tools->coder, &chunk, bytes, length, out);

    if (why != NULL)
        return complain(p, part, column, why);
    if (coded->state != TM_UNCHANGED)
        part->job->checks[part->job->num_checks++] =
            tm_chunk_digest(bytes, length, out, words * tm_word_bytes(dtype));
    return TM_OK;
}

/* The source of a whole tile, as far as it is not coded or decoded already. */
static const void *tile_data(const struct tm_pipeline *p,
                             const struct tm_part *tile, size_t column)
{
    const struct tm_source *source = &tile->sources[column];
    const struct tm_unit *unit = &tile->job->unit;

    if (source->file == TM_NO_FILE)
        return NULL;
    if (!source->is_coded)
        return as_read(p, tile, column);
    return tile->job->slot +
           unit->decoded[tile->tile * p->plan->width + column];
}

/* Decodes one chunk of all coded sources of the tile. */
static enum tm_status decode_chunk(struct tm_pipeline *p,
                                   struct tm_tools *tools,
                                   const struct tm_part *chunk)
{
    const struct tm_plan *plan = p->plan;
    const struct tm_unit *unit = &chunk->job->unit;
    const uint64_t skip = chunk->first - unit->tiles[chunk->tile].first;
    enum tm_status status = TM_OK;

    if (chunk->sources[0].file != TM_NO_FILE)
        tools->data[0] = as_read(p, chunk, 0);
    for (size_t i = 1; i < plan->width && status == TM_OK; i++) {
        const struct tm_source *source = &chunk->sources[i];
        const uint64_t size =
            tm_plan_unit(chunk->tensor, (enum tm_dtype)source->dtype);

        if (source->file != TM_NO_FILE && source->is_coded)
            status = decode(p, tools, chunk, i,
                            chunk->job->slot +
                                unit->decoded[chunk->tile * plan->width + i] +
                                skip * size);
    }
    return status;
}

enum tm_status tm_sources_get_tile(struct tm_pipeline *pipeline,
                                   struct tm_tools *tools,
                                   const struct tm_part *tile)
{
    const uint64_t end = tile->first + tile->count;
    const uint64_t step = tm_plan_chunk(tile->tensor);
    struct tm_part chunk = *tile;
    enum tm_status status = TM_OK;

    if (pipeline->plan->num_coded > 0 && !tile->job->is_decoded)
        for (; chunk.first < end && status == TM_OK;
             chunk.first += chunk.count) {
            chunk.count = end - chunk.first < step ? end - chunk.first : step;
            status = decode_chunk(pipeline, tools, &chunk);
        }
    /* Only a unit of a group, which is one tile, comes here again. */
    tile->job->is_decoded = tile->job->unit.group != TM_NO_GROUP;
    for (size_t i = 0; i < pipeline->plan->width; i++)
        tools->data[i] = tile_data(pipeline, tile, i);
    return status;
}

enum tm_status tm_sources_get(struct tm_pipeline *pipeline,
                              struct tm_tools *tools,
                              const struct tm_part *part, void *place)
{
    unsigned char *next = tools->decoded;
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < pipeline->plan->width && status == TM_OK; i++) {
        const struct tm_source *source = &part->sources[i];
        void *out = place != NULL && i == 1 ? place : next;

        tools->data[i] = NULL;
        if (source->file == TM_NO_FILE)
            continue;
        if (!source->is_coded) {
            tools->data[i] = as_read(pipeline, part, i);
            continue;
        }
        status = decode(pipeline, tools, part, i, out);
        tools->data[i] = out;
        if (out == next)
            next += part->count *
                    tm_plan_unit(part->tensor, (enum tm_dtype)source->dtype);
    }
    return status;
}
