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
#include "src/work.h"

/*
 * What a sum counts from where it counts from nothing: as many zeros as are
 * summed up at once.
 */
#define ZEROS ((size_t)64 << 10)
static const unsigned char zeros[ZEROS];

/* The type of the zeros: the first input's, so that kernels see one type. */
static enum tm_dtype dtype_of_zeros(const struct tm_part *part)
{
    return (enum tm_dtype)part->sources[part->tensor->terms->terms[0].column]
        .dtype;
}

/* The terms of the sum, but for its pivot. */
static size_t list_terms(struct tm_tools *tools, const struct tm_part *part,
                         const struct tm_work *work, uint64_t skip)
{
    const struct tm_terms *terms = part->tensor->terms;
    size_t count = 0;

    for (uint32_t i = 0; i < terms->count; i++) {
        const uint32_t column = terms->terms[i].column;
        const enum tm_dtype dtype = (enum tm_dtype)part->sources[column].dtype;

        if (column != work->pivot)
            tools->inputs[count++] = (struct tm_sum_input){
                .data = (const char *)tools->data[column] +
                        skip * (tm_dtype_bits(dtype) / 8),
                .dtype = dtype,
                .weight = work->numbers[i],
            };
    }
    return count;
}

/* The weighted sum of the part's terms, as the method's work has it. */
static void sum(struct tm_pipeline *pipeline, struct tm_tools *tools,
                const struct tm_part *part, const struct tm_work *work,
                unsigned char *out)
{
    const bool has_pivot = work->pivot != TM_NO_COLUMN;
    const enum tm_dtype dtype = (enum tm_dtype)part->tensor->dtype;
    const enum tm_dtype base_dtype =
        has_pivot ? (enum tm_dtype)part->sources[work->pivot].dtype
                  : dtype_of_zeros(part);
    const uint64_t most =
        has_pivot ? part->count : ZEROS / (tm_dtype_bits(base_dtype) / 8);
    struct tm_sum_stats stats = {0};

    for (uint64_t at = 0; at < part->count; at += most) {
        const struct tm_sum_task task = {
            .base = has_pivot ? tools->data[work->pivot] : zeros,
            .base_dtype = base_dtype,
            .inputs = tools->inputs,
            .num_inputs = list_terms(tools, part, work, at),
            .out = out + at * (tm_dtype_bits(dtype) / 8),
            .out_dtype = dtype,
            .n = part->count - at < most ? part->count - at : most,
        };

        tm_sum(pipeline->isa, &task, &stats);
    }
    /* For the tile; the ordered stage adds tiles up. */
    tm_sum_stats_add(&part->job->stats[part->tile], &stats);
}

/* A copy of one source's part, if all sources agree. */
static enum tm_status copy(const struct tm_plan *plan,
                           const struct tm_tools *tools,
                           const struct tm_part *part, unsigned char *out)
{
    const void *from = tools->data[part->tensor->from];

    for (size_t i = 0; i < plan->width; i++)
        if (tools->data[i] != NULL && !part->sources[i].only_decodes &&
            memcmp(tools->data[i], from, part->count) != 0)
            return tm_error(TM_BAD_DATA,
                            "%s: tensor '%s': differs from the other inputs, "
                            "but %s cannot be merged",
                            plan->files[part->sources[i].file].path,
                            part->tensor->name, part->tensor->dtype_name);
    memcpy(out, from, part->count);
    return TM_OK;
}

/* The part's output, into `out`, and what is encoded of it. */
static enum tm_status compute_part(struct tm_pipeline *pipeline,
                                   struct tm_tools *tools,
                                   const struct tm_part *part,
                                   unsigned char *out)
{
    const bool takes = part->tensor->operation == TM_TAKE;
    const bool writes = pipeline->plan->product != TM_VECTORS;
    enum tm_status status =
        tm_sources_get(pipeline, tools, part, takes && writes ? out : NULL);

    if (status == TM_OK && part->tensor->operation == TM_MERGE)
        sum(pipeline, tools, part, &tools->work, out);
    else if (status == TM_OK && !takes)
        status = copy(pipeline->plan, tools, part, out);
    if (status == TM_OK && pipeline->plan->num_outputs > 0)
        status = tm_encode(pipeline, tools, part, out);
    return status;
}

/* Elements of a tile that are worked on at once. */
static uint64_t step_of(const struct tm_plan *plan, const struct tm_part *whole)
{
    if (plan->num_outputs > 0)
        return tm_plan_chunk(whole->tensor);
    for (size_t i = 1; i < plan->width; i++)
        if (whole->sources[i].is_coded)
            return tm_plan_chunk(whole->tensor);
    return whole->count;
}

/* The whole tile number `number` of the job, as a part. */
static struct tm_part whole_tile(const struct tm_plan *plan, struct tm_job *job,
                                 size_t number)
{
    const struct tm_tile *tile = &job->unit.tiles[number];

    return (struct tm_part){
        .job = job,
        .tensor = &plan->tensors[tile->tensor],
        .sources = tm_plan_sources(plan, tile->tensor),
        .tile = number,
        .number = tile->tensor,
        .first = tile->first,
        .count = tile->count,
    };
}

static struct tm_strips_task task_of(const struct tm_pipeline *p,
                                     const struct tm_tools *tools,
                                     const struct tm_part *tile,
                                     const struct tm_work *work)
{
    return (struct tm_strips_task){
        .work = work,
        .plan = p->plan,
        .tensor = tile->tensor,
        .sources = tile->sources,
        .data = tools->data,
        .first = tile->first,
        .count = tile->count,
    };
}

enum tm_status tm_tile_measure(struct tm_pipeline *pipeline,
                               struct tm_tools *tools, struct tm_job *job,
                               size_t tile, const struct tm_work *work,
                               double *sums)
{
    const struct tm_part part = whole_tile(pipeline->plan, job, tile);
    const struct tm_strips_task task = task_of(pipeline, tools, &part, work);
    const enum tm_status status = tm_sources_get_tile(pipeline, tools, &part);

    return status == TM_OK ? tm_strips_measure(&tools->strips, &task, sums)
                           : status;
}

enum tm_status tm_tile_count_ties(struct tm_pipeline *pipeline,
                                  struct tm_tools *tools, struct tm_job *job,
                                  size_t tile, const struct tm_work *work,
                                  uint64_t *ties)
{
    const struct tm_part part = whole_tile(pipeline->plan, job, tile);
    const struct tm_strips_task task = task_of(pipeline, tools, &part, work);
    const enum tm_status status = tm_sources_get_tile(pipeline, tools, &part);

    return status == TM_OK ? tm_strips_count(&tools->strips, &task, ties)
                           : status;
}

/* All phases of a tensor that is one tile, which tools->data has. */
static enum tm_status run_phases(struct tm_tools *tools,
                                 const struct tm_strips_task *task)
{
    struct tm_work *work = &tools->work;
    const uint64_t blocks =
        (task->count - 1) / tm_plan_sum_block(task->tensor) + 1;
    enum tm_status status = TM_OK;

    while (work->phase < task->tensor->phases && status == TM_OK) {
        tm_work_clear(work);
        status = tm_strips_measure(&tools->strips, task, tools->sums);
        tm_strips_add_counts(&tools->strips, work);
        if (status != TM_OK)
            break;
        tm_work_add(work, tools->sums, blocks);
        status = tm_work_conclude(work);
    }
    return status;
}

/* Gets tools->work ready for the output of a tensor that is of no group. */
static enum tm_status begin_work(struct tm_pipeline *p, struct tm_tools *tools,
                                 size_t tensor)
{
    struct tm_work *work = &tools->work;

    tm_work_begin(work, p->plan, tensor);
    if (work->terms->count == 0)
        return TM_OK; /* the base in another type */
    if (p->plan->tensors[tensor].phases == 0)
        return tm_work_conclude(work);
    if (p->groups.model != NULL)
        return tm_work_conclude_model(work, &p->groups.model->work);
    return TM_OK;
}

/* Encodes what was made of a whole tile, chunk by chunk. */
static enum tm_status encode_tile(struct tm_pipeline *p, struct tm_tools *tools,
                                  const struct tm_part *tile,
                                  const unsigned char *out)
{
    const uint64_t size =
        tm_plan_unit(tile->tensor, (enum tm_dtype)tile->tensor->dtype);
    const uint64_t base_size =
        tm_plan_unit(tile->tensor, (enum tm_dtype)tile->sources[0].dtype);
    const unsigned char *base = tools->data[0];
    const uint64_t step = tm_plan_chunk(tile->tensor);
    struct tm_part chunk = *tile;
    enum tm_status status = TM_OK;

    for (uint64_t at = 0; at < tile->count && status == TM_OK; at += step) {
        chunk.first = tile->first + at;
        chunk.count = tile->count - at < step ? tile->count - at : step;
        tools->data[0] = base + at * base_size;
        status = tm_encode(p, tools, &chunk, out + at * size);
    }
    return status;
}

/* The output of a tile by a method that works on strips. */
static enum tm_status make_tile(struct tm_pipeline *p, struct tm_tools *tools,
                                const struct tm_part *tile, unsigned char *out)
{
    const struct tm_group *group = tile->job->group;
    const struct tm_work *work = group != NULL ? &group->work : &tools->work;
    const struct tm_strips_task task = task_of(p, tools, tile, work);
    struct tm_sum_stats stats = {0};
    uint64_t *ties =
        group != NULL && tile->job->is_counted ? tile->job->ties : tools->ties;
    enum tm_status status = tm_sources_get_tile(p, tools, tile);

    if (status == TM_OK && group == NULL) {
        status = begin_work(p, tools, tile->number);
        if (status == TM_OK)
            status = run_phases(tools, &task);
    }
    if (status != TM_OK)
        return status;
    if (ties == tools->ties)
        memset(ties, 0, tm_work_sizes(work).selects * sizeof(*ties));
    if (tile->tensor->is_sum) {
        sum(p, tools, tile, work, out);
    } else {
        status = tm_strips_apply(&tools->strips, &task, ties, out, &stats);
        tm_sum_stats_add(&tile->job->stats[tile->tile], &stats);
    }
    if (status == TM_OK && p->plan->num_outputs > 0)
        status = encode_tile(p, tools, tile, out);
    return status;
}

static enum tm_status compute_tile(struct tm_pipeline *pipeline,
                                   struct tm_tools *tools, struct tm_job *job,
                                   size_t number)
{
    const struct tm_plan *plan = pipeline->plan;
    const struct tm_unit *unit = &job->unit;
    const struct tm_tile *tile = &unit->tiles[number];
    const struct tm_plan_tensor *tensor = &plan->tensors[tile->tensor];
    const uint64_t size = tm_plan_unit(tensor, (enum tm_dtype)tensor->dtype);
    const uint64_t end = tile->first + tile->count;
    struct tm_part part = whole_tile(plan, job, number);
    const uint64_t step = step_of(plan, &part);
    enum tm_status status = TM_OK;

    if (tm_plan_wants_tiles(tensor))
        return make_tile(pipeline, tools, &part,
                         job->slot + unit->output + tensor->offset +
                             tile->first * size - unit->begin);
    if (tensor->operation == TM_MERGE)
        status = begin_work(pipeline, tools, tile->tensor);
    for (; part.first < end && status == TM_OK; part.first += part.count) {
        const uint64_t place =
            unit->output + tensor->offset + part.first * size - unit->begin;

        part.count = end - part.first < step ? end - part.first : step;
        status = compute_part(pipeline, tools, &part, job->slot + place);
    }
    return status;
}

enum tm_status tm_compute(struct tm_pipeline *pipeline, struct tm_job *job,
                          struct tm_tools *tools)
{
    const struct tm_plan *plan = pipeline->plan;
    const struct tm_unit *unit = &job->unit;
    enum tm_status status = TM_OK;

    job->num_pieces = 0;
    memset(job->stats, 0, unit->num_tiles * sizeof(*job->stats));
    for (size_t i = 0; i < plan->num_outputs; i++)
        tools->filled[i] = TM_BLOCK;
    for (size_t i = 0; i < unit->num_tiles && status == TM_OK; i++)
        if (unit->tiles[i].tensor == TM_HEADER_TILE)
            memcpy(job->slot + unit->output,
                   plan->shards[unit->shard].header + unit->tiles[i].first,
                   unit->tiles[i].count);
        else
            status = compute_tile(pipeline, tools, job, i);
    return status;
}
