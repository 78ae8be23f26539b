/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compute: from the inputs in a slot to the output in it.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "kernels/sum.h"
#include "src/pipeline.h"

/* A tile with everything that is the same for all its elements. */
struct piece {
    const struct tm_plan_tensor *tensor;
    const struct tm_source *sources;
    size_t number;          /* of the tensor */
    const uint64_t *places; /* of the first element of each source */
    const unsigned char *slot;
    struct tm_sum_input *inputs; /* scratch */
};

static const unsigned char *source_data(const struct piece *piece,
                                        size_t source)
{
    return piece->slot + piece->places[source];
}

/* Computes `count` elements, from the tile's `skip`th on, into `out`. */
static void sum(const struct tm_pipeline *pipeline, const struct piece *piece,
                uint64_t skip, uint64_t count, unsigned char *out,
                struct tm_sum_stats *stats)
{
    const struct tm_plan *plan = pipeline->plan;
    struct tm_sum_task task = {
        .base_dtype = (enum tm_dtype)piece->sources[0].dtype,
        .inputs = piece->inputs,
        .out = out,
        .out_dtype = (enum tm_dtype)piece->tensor->dtype,
        .n = count,
    };

    task.base =
        source_data(piece, 0) + skip * (tm_dtype_bits(task.base_dtype) / 8);
    for (size_t i = 1; i < plan->width; i++) {
        const enum tm_dtype dtype = (enum tm_dtype)piece->sources[i].dtype;

        if (piece->sources[i].file == TM_NO_FILE)
            continue;
        piece->inputs[task.num_inputs++] = (struct tm_sum_input){
            .data = source_data(piece, i) + skip * (tm_dtype_bits(dtype) / 8),
            .dtype = dtype,
            .weight = plan->recipe->vectors[i - 1].weight,
        };
    }
    tm_sum(pipeline->isa, &task, stats);
}

/*
 * One element that straddles the span: its bytes `from` to `to` go to `out`.
 */
static void sum_straddling(const struct tm_pipeline *pipeline,
                           const struct piece *piece, uint64_t skip,
                           uint64_t from, uint64_t to, unsigned char *out,
                           struct tm_sum_stats *stats)
{
    unsigned char element[8]; /* F64 is the largest */

    sum(pipeline, piece, skip, 1, element, stats);
    memcpy(out, element + from, to - from);
}

static void add_stats(struct tm_pipeline *pipeline, size_t tensor,
                      const struct tm_sum_stats *stats)
{
    struct tm_sum_stats *all = &pipeline->results->stats[tensor];

    if (stats->nonfinite_outputs == 0 && stats->nonfinite_inputs == 0)
        return;
    pthread_mutex_lock(&pipeline->lock);
    all->nonfinite_inputs += stats->nonfinite_inputs;
    all->nonfinite_outputs += stats->nonfinite_outputs;
    all->overflows += stats->overflows;
    pthread_mutex_unlock(&pipeline->lock);
}

/* A tile of a sum; `out` is the slot's output, which begins at unit->begin. */
static void sum_tile(struct tm_pipeline *pipeline, const struct piece *piece,
                     const struct tm_unit *unit, const struct tm_tile *tile,
                     unsigned char *out)
{
    const uint64_t size =
        tm_dtype_bits((enum tm_dtype)piece->tensor->dtype) / 8;
    const uint64_t begin = piece->tensor->offset + tile->first * size;
    const uint64_t end = begin + tile->count * size;
    struct tm_sum_stats stats = {0}, counted_before = {0};
    uint64_t skip = 0, count = tile->count;

    if (tile->shared_head) {
        const uint64_t to = end < unit->end ? end : unit->end;

        sum_straddling(pipeline, piece, 0, unit->begin - begin,
                       (to - begin < size ? to - begin : size), out,
                       &counted_before);
        skip = 1;
        count--;
    }
    if (count > 0 && end > unit->end) {
        const uint64_t last = end - size;

        sum_straddling(pipeline, piece, tile->count - 1, 0, unit->end - last,
                       out + (last - unit->begin), &stats);
        count--;
    }
    if (count > 0)
        sum(pipeline, piece, skip, count,
            out + (begin + skip * size - unit->begin), &stats);
    add_stats(pipeline, piece->number, &stats);
}

/* A tile that is copied, if all sources agree. */
static enum tm_status copy_tile(const struct tm_plan *plan,
                                const struct piece *piece,
                                const struct tm_unit *unit,
                                const struct tm_tile *tile, unsigned char *out)
{
    const unsigned char *base = source_data(piece, 0);

    for (size_t i = 1; i < plan->width; i++) {
        const struct tm_source *source = &piece->sources[i];

        if (source->file != TM_NO_FILE &&
            memcmp(source_data(piece, i), base, tile->count) != 0)
            return tm_error(TM_BAD_DATA,
                            "%s: tensor '%s': differs from the base's, but "
                            "%s cannot be merged",
                            plan->files[source->file].path, piece->tensor->name,
                            piece->tensor->dtype_name);
    }
    memcpy(out + (piece->tensor->offset + tile->first - unit->begin), base,
           tile->count);
    return TM_OK;
}

enum tm_status tm_compute(struct tm_pipeline *pipeline,
                          const struct tm_job *job,
                          struct tm_sum_input *scratch)
{
    const struct tm_plan *plan = pipeline->plan;
    const struct tm_unit *unit = &job->unit;

    for (size_t i = 0; i < unit->num_tiles; i++) {
        const struct tm_tile *tile = &unit->tiles[i];
        struct piece piece = {.slot = job->slot, .inputs = scratch};
        enum tm_status status = TM_OK;

        if (tile->tensor == TM_HEADER_TILE) {
            memcpy(job->slot, plan->shards[unit->shard].header + tile->first,
                   tile->count);
            continue;
        }
        piece.number = tile->tensor;
        piece.tensor = &plan->tensors[tile->tensor];
        piece.sources = tm_plan_sources(plan, tile->tensor);
        piece.places = &unit->places[i * plan->width];
        if (piece.tensor->operation == TM_COPY)
            status = copy_tile(plan, &piece, unit, tile, job->slot);
        else
            sum_tile(pipeline, &piece, unit, tile, job->slot);
        if (status != TM_OK)
            return status;
    }
    return TM_OK;
}
