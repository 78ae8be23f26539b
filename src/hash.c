/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash: the digests of an output shard, of its tensors and of their inputs.
 *
 * All are streams: units come in file order, and so do the elements of each
 * tensor. What straddles two units is hashed in parts (the output) or in the
 * unit in which the element begins (the inputs).
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>

#include "src/pipeline.h"

bool tm_stream_init(struct tm_stream *stream, size_t width)
{
    bool complete;

    *stream = (struct tm_stream){.file = {.fd = -1}};
    stream->sources = calloc(width, sizeof(*stream->sources));
    complete = stream->sources != NULL && tm_hasher_init(&stream->whole) &&
               tm_hasher_init(&stream->tensor);
    for (size_t i = 0; i < width && complete; i++)
        complete = tm_hasher_init(&stream->sources[i]);
    return complete;
}

void tm_stream_free(struct tm_stream *stream, size_t width)
{
    tm_hasher_free(&stream->whole);
    tm_hasher_free(&stream->tensor);
    for (size_t i = 0; i < width && stream->sources != NULL; i++)
        tm_hasher_free(&stream->sources[i]);
    free(stream->sources);
    stream->sources = NULL;
}

void tm_stream_reset(struct tm_stream *stream, size_t width, size_t shard)
{
    stream->open = true;
    stream->shard = shard;
    stream->cut = stream->written = stream->hashed = 0;
    stream->all_cut = false;
    tm_hasher_reset(&stream->whole);
    tm_hasher_reset(&stream->tensor);
    for (size_t i = 0; i < width; i++)
        tm_hasher_reset(&stream->sources[i]);
}

/* Ends the digest of a stream of bytes and begins the next. */
static void finish(struct tm_hasher *hasher, struct tm_digest *digest)
{
    *digest = tm_hasher_digest(hasher);
    tm_hasher_reset(hasher);
}

/* The tile's part of the span. */
static void hash_output(struct tm_pipeline *p, struct tm_stream *stream,
                        const struct tm_job *job, const struct tm_tile *tile)
{
    const struct tm_unit *unit = &job->unit;
    const struct tm_plan_tensor *tensor = &p->plan->tensors[tile->tensor];
    const uint64_t tensor_end = tensor->offset + tensor->bytes;
    const uint64_t begin =
        tensor->offset > unit->begin ? tensor->offset : unit->begin;
    const uint64_t end = tensor_end < unit->end ? tensor_end : unit->end;

    tm_hasher_add(&stream->tensor, job->slot + (begin - unit->begin),
                  end - begin);
    if (end == tensor_end)
        finish(&stream->tensor, &p->results->tensors[tile->tensor]);
}

/* The elements of one input that begin in the span. */
static void hash_input(struct tm_pipeline *p, struct tm_stream *stream,
                       const struct tm_job *job, size_t tile_number,
                       size_t column)
{
    const struct tm_plan *plan = p->plan;
    const struct tm_tile *tile = &job->unit.tiles[tile_number];
    const struct tm_plan_tensor *tensor = &plan->tensors[tile->tensor];
    const struct tm_source *source =
        &tm_plan_sources(plan, tile->tensor)[column];
    const uint64_t size = tm_plan_unit(tensor, (enum tm_dtype)source->dtype);
    const uint64_t skip = tile->shared_head ? 1 : 0;
    const uint64_t all =
        tensor->operation == TM_COPY ? tensor->bytes : tensor->elements;
    const unsigned char *data =
        job->slot + job->unit.places[tile_number * plan->width + column];

    if (tile->count == skip)
        return; /* nothing begins here */
    tm_hasher_add(&stream->sources[column], data + skip * size,
                  (tile->count - skip) * size);
    if (tile->first + tile->count == all)
        finish(&stream->sources[column],
               &p->results->sources[tile->tensor * plan->width + column]);
}

/* In a copy every input was found equal to the output. */
static void copy_digests(struct tm_pipeline *p, size_t tensor)
{
    const struct tm_plan *plan = p->plan;

    for (size_t i = 0; i < plan->width; i++)
        p->results->sources[tensor * plan->width + i] =
            p->results->tensors[tensor];
}

void tm_hash(struct tm_pipeline *pipeline, struct tm_stream *stream,
             const struct tm_job *job)
{
    const struct tm_plan *plan = pipeline->plan;
    const struct tm_unit *unit = &job->unit;

    tm_hasher_add(&stream->whole, job->slot, unit->end - unit->begin);
    if (unit->end == plan->shards[unit->shard].size)
        finish(&stream->whole, &pipeline->results->shards[unit->shard]);
    for (size_t i = 0; i < unit->num_tiles; i++) {
        const size_t tensor = unit->tiles[i].tensor;

        if (tensor == TM_HEADER_TILE)
            continue;
        hash_output(pipeline, stream, job, &unit->tiles[i]);
        if (plan->tensors[tensor].operation == TM_COPY) {
            copy_digests(pipeline, tensor);
            continue;
        }
        for (size_t c = 0; c < plan->width; c++)
            if (tm_plan_sources(plan, tensor)[c].file != TM_NO_FILE)
                hash_input(pipeline, stream, job, i, c);
    }
}
