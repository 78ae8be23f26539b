/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash: the ordered stage. Units come in file order, and so do the elements
 * of each tensor: here the digests are made, of an output shard, of its
 * tensors and of their inputs; the block that two units share is completed;
 * and what was encoded gets its place in its file.
 *
 * An input that is coded is not hashed: each of its chunks was checked when
 * it was decoded, and its base, which is hashed, is compared here with the
 * one it was made against.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io/checked.h"
#include "src/pipeline.h"

bool tm_stream_init(struct tm_stream *stream, size_t width)
{
    bool complete;

    *stream = (struct tm_stream){.file = {.fd = -1}};
    stream->sources = calloc(width, sizeof(*stream->sources));
    stream->block = malloc(TM_BLOCK);
    stream->middle = malloc(TM_PROBE_BYTES);
    complete = stream->sources != NULL && stream->block != NULL &&
               stream->middle != NULL && tm_hasher_init(&stream->whole) &&
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
    free(stream->block);
    free(stream->middle);
    stream->sources = NULL;
    stream->block = stream->middle = NULL;
}

void tm_stream_reset(struct tm_stream *stream, size_t width, size_t shard)
{
    stream->open = true;
    stream->shard = shard;
    stream->cut = stream->written = stream->hashed = 0;
    stream->all_cut = stream->finishing = false;
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

/* Whether `tile` is the last of its tensor. */
static bool is_last(const struct tm_plan *plan, const struct tm_tile *tile)
{
    return tile->first + tile->count ==
           tm_plan_count(&plan->tensors[tile->tensor]);
}

/* The tile's part of the output span. */
static void hash_output(struct tm_pipeline *p, struct tm_stream *stream,
                        const struct tm_job *job, const struct tm_tile *tile)
{
    const struct tm_unit *unit = &job->unit;
    const struct tm_plan_tensor *tensor = &p->plan->tensors[tile->tensor];
    const uint64_t size = tm_plan_unit(tensor, (enum tm_dtype)tensor->dtype);
    const uint64_t begin = tensor->offset + tile->first * size;

    tm_hasher_add(&stream->tensor,
                  job->slot + unit->output + (begin - unit->begin),
                  tile->count * size);
    if (is_last(p->plan, tile))
        finish(&stream->tensor, &p->results->tensors[tile->tensor]);
}

/*
 * Keeps what the `length` bytes at `data`, from byte `begin` of the `all` of
 * an input on, have of its middle.
 */
static void keep_middle(unsigned char *middle, const unsigned char *data,
                        uint64_t begin, uint64_t length, uint64_t all)
{
    const uint64_t count = all < TM_PROBE_BYTES ? all : TM_PROBE_BYTES;
    const uint64_t start = (all - count) / 2;
    const uint64_t from = begin > start ? begin : start;
    const uint64_t end = begin + length;
    const uint64_t to = end < start + count ? end : start + count;

    if (from < to)
        memcpy(middle + (from - start), data + (from - begin), to - from);
}

/* The tile's elements of one input. */
static void hash_input(struct tm_pipeline *p, struct tm_stream *stream,
                       const struct tm_job *job, size_t number, size_t column)
{
    const struct tm_plan *plan = p->plan;
    const struct tm_tile *tile = &job->unit.tiles[number];
    const struct tm_plan_tensor *tensor = &plan->tensors[tile->tensor];
    const struct tm_source *source =
        &tm_plan_sources(plan, tile->tensor)[column];
    const uint64_t size = tm_plan_unit(tensor, (enum tm_dtype)source->dtype);
    const uint64_t count = tm_tile_count(plan, tile, column);
    const uint64_t all = tm_plan_source_count(tensor, column);
    const unsigned char *data =
        job->slot + job->unit.places[number * plan->width + column];

    if (count > 0) {
        tm_hasher_add(&stream->sources[column], data, count * size);
        if (column == 0 && plan->num_outputs > 0)
            keep_middle(stream->middle, data, tile->first * size, count * size,
                        all * size);
    }
    if (is_last(plan, tile))
        finish(&stream->sources[column],
               &p->results->sources[tile->tensor * plan->width + column]);
}

/* In a copy every input was found equal to the output. */
static void copy_digests(struct tm_pipeline *p, size_t tensor)
{
    const struct tm_plan *plan = p->plan;

    for (size_t i = 0; i < plan->width; i++)
        if (!tm_plan_sources(plan, tensor)[i].only_decodes)
            p->results->sources[tensor * plan->width + i] =
                p->results->tensors[tensor];
}

static bool same(const struct tm_digest *a, const struct tm_digest *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/*
 * Adds the digests of the tile's decoded chunks to those of their tensors;
 * *next is the first of them among the job's, in the order of sources.c.
 */
static void hash_chunks(struct tm_pipeline *p, struct tm_stream *stream,
                        const struct tm_job *job, const struct tm_tile *tile,
                        size_t *next)
{
    const struct tm_plan *plan = p->plan;
    const struct tm_source *sources = tm_plan_sources(plan, tile->tensor);
    const uint64_t step = tm_plan_chunk(&plan->tensors[tile->tensor]);

    for (uint64_t done = 0; done < tile->count; done += step)
        for (size_t i = 1; i < plan->width; i++) {
            if (sources[i].file == TM_NO_FILE || !sources[i].is_coded ||
                plan->coded[sources[i].offset].coded->state == TM_UNCHANGED)
                continue;
            tm_hasher_add(&stream->sources[i], &job->checks[(*next)++],
                          sizeof(*job->checks));
        }
}

/*
 * A tensor is complete: whether its base is the one that its coded inputs
 * were made against, and what was restored of one is what was stored.
 */
static enum tm_status check_coded(struct tm_pipeline *p,
                                  struct tm_stream *stream, size_t number)
{
    const struct tm_plan *plan = p->plan;
    const struct tm_plan_tensor *tensor = &plan->tensors[number];
    const struct tm_source *sources = tm_plan_sources(plan, number);
    struct tm_digest *digests = &p->results->sources[number * plan->width];

    for (size_t i = 1; i < plan->width; i++) {
        const struct tm_coded_source *source;
        struct tm_digest chunks;

        if (sources[i].file == TM_NO_FILE || !sources[i].is_coded)
            continue;
        source = &plan->coded[sources[i].offset];
        finish(&stream->sources[i], &chunks);
        if (source->coded->state != TM_UNCHANGED &&
            memcmp(chunks.bytes, source->coded->chunks_digest,
                   sizeof(source->coded->chunks_digest)) != 0)
            return tm_error(TM_BAD_DATA,
                            "%s: tensor '%s': its chunks are not those that "
                            "were stored, or not in that order",
                            source->vector, tensor->name);
        digests[i] = source->coded->tuned_digest;
        if (source->coded->state != TM_ALONE &&
            !same(&digests[0], &source->coded->base_digest))
            return tm_error(TM_BAD_DATA,
                            "%s: tensor '%s': is not the base's that %s was "
                            "made against",
                            plan->files[sources[0].file].path, tensor->name,
                            source->vector);
        if (tensor->operation == TM_TAKE &&
            !same(&p->results->tensors[number], &digests[i]))
            return tm_error(TM_BAD_DATA,
                            "%s: tensor '%s': what was restored has another "
                            "digest than was recorded",
                            source->vector, tensor->name);
    }
    return TM_OK;
}

/* Notes a complete tensor in the vectors that are made. */
static void complete_made(struct tm_pipeline *p, const struct tm_stream *stream,
                          size_t number)
{
    const struct tm_plan *plan = p->plan;
    const struct tm_plan_tensor *tensor = &plan->tensors[number];
    const struct tm_source *base = tm_plan_sources(plan, number);
    const uint64_t bytes = tm_plan_source_count(tensor, 0) *
                           tm_plan_unit(tensor, (enum tm_dtype)base->dtype);
    uint64_t probe = 0;

    if (base->file != TM_NO_FILE)
        probe = XXH3_64bits(stream->middle,
                            bytes < TM_PROBE_BYTES ? bytes : TM_PROBE_BYTES);
    for (size_t i = 0; i < plan->num_outputs; i++)
        tm_made_complete(&p->results->made[i], i, number, p->results, probe);
}

static enum tm_status hash_tile(struct tm_pipeline *p, struct tm_stream *stream,
                                const struct tm_job *job, size_t number,
                                size_t *next)
{
    const struct tm_plan *plan = p->plan;
    const struct tm_tile *tile = &job->unit.tiles[number];
    const struct tm_source *sources = tm_plan_sources(plan, tile->tensor);
    const bool is_copy = plan->tensors[tile->tensor].operation == TM_COPY;
    enum tm_status status = TM_OK;

    if (plan->product != TM_VECTORS)
        hash_output(p, stream, job, tile);
    /* The base's is the output's in a copy, but its middle may be wanted. */
    for (size_t c = 0; c < plan->width; c++)
        if (sources[c].file != TM_NO_FILE && !sources[c].is_coded &&
            (!is_copy || sources[c].only_decodes ||
             (c == 0 && plan->num_outputs > 0)))
            hash_input(p, stream, job, number, c);
    if (plan->num_coded > 0)
        hash_chunks(p, stream, job, tile, next);
    tm_sum_stats_add(&p->results->stats[tile->tensor], &job->stats[number]);
    if (!is_last(plan, tile))
        return TM_OK;
    if (is_copy)
        copy_digests(p, tile->tensor);
    if (plan->num_coded > 0)
        status = check_coded(p, stream, tile->tensor);
    return status;
}

/* Takes over the block that the unit before began, and leaves the last one. */
static void share_blocks(struct tm_stream *stream, struct tm_job *job,
                         bool is_end)
{
    const struct tm_unit *unit = &job->unit;
    const uint64_t begin = unit->begin - unit->output;
    const uint64_t whole = tm_round_down(unit->end, TM_BLOCK);
    uint64_t len = whole - begin;

    memcpy(job->slot, stream->block, unit->output);
    if (is_end && unit->end > whole) {
        memset(job->slot + (unit->end - begin), 0,
               whole + TM_BLOCK - unit->end);
        len += TM_BLOCK;
    } else {
        memcpy(stream->block, job->slot + len, unit->end - whole);
    }
    if (len > 0)
        job->writes[job->num_writes++] = (struct tm_write){
            .file = &stream->file, .offset = begin, .place = 0, .len = len};
}

enum tm_status tm_hash(struct tm_pipeline *pipeline, struct tm_stream *stream,
                       struct tm_job *job)
{
    const struct tm_plan *plan = pipeline->plan;
    const struct tm_unit *unit = &job->unit;
    const bool is_end = unit->end == plan->shards[unit->shard].size;
    enum tm_status status = TM_OK;
    size_t next = 0;

    job->num_writes = 0;
    if (plan->has_manifest || plan->product == TM_MODEL)
        tm_hasher_add(&stream->whole, job->slot + unit->output,
                      unit->end - unit->begin);
    if (is_end)
        finish(&stream->whole, &pipeline->results->shards[unit->shard]);
    if (plan->product == TM_MODEL)
        share_blocks(stream, job, is_end);
    for (size_t i = 0; i < plan->num_outputs; i++)
        tm_made_append(&pipeline->results->made[i], i, job);
    for (size_t i = 0; i < unit->num_tiles && status == TM_OK; i++) {
        const struct tm_tile *tile = &unit->tiles[i];

        if (tile->tensor == TM_HEADER_TILE)
            continue;
        status = hash_tile(pipeline, stream, job, i, &next);
        if (is_last(plan, tile))
            complete_made(pipeline, stream, tile->tensor);
    }
    if (status == TM_OK && job->is_marked)
        tm_mark_note(&pipeline->mark, pipeline, stream);
    return status;
}
