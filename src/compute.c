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

/* The weighted sum of the part's sources. */
static void sum(struct tm_pipeline *pipeline, struct tm_tools *tools,
                const struct tm_part *part, unsigned char *out)
{
    const struct tm_plan *plan = pipeline->plan;
    struct tm_sum_stats stats = {0};
    struct tm_sum_task task = {
        .base = tools->data[0],
        .base_dtype = (enum tm_dtype)part->sources[0].dtype,
        .inputs = tools->inputs,
        .out = out,
        .out_dtype = (enum tm_dtype)part->tensor->dtype,
        .n = part->count,
    };

    for (size_t i = 1; i < plan->width; i++)
        if (tools->data[i] != NULL)
            tools->inputs[task.num_inputs++] = (struct tm_sum_input){
                .data = tools->data[i],
                .dtype = (enum tm_dtype)part->sources[i].dtype,
                .weight = plan->recipe->vectors[i - 1].weight,
            };
    tm_sum(pipeline->isa, &task, &stats);
    add_stats(pipeline, part->number, &stats);
}

/* A copy of the base's part, if all sources agree. */
static enum tm_status copy(const struct tm_plan *plan,
                           const struct tm_tools *tools,
                           const struct tm_part *part, unsigned char *out)
{
    for (size_t i = 1; i < plan->width; i++)
        if (tools->data[i] != NULL &&
            memcmp(tools->data[i], tools->data[0], part->count) != 0)
            return tm_error(TM_BAD_DATA,
                            "%s: tensor '%s': differs from the base's, but "
                            "%s cannot be merged",
                            plan->files[part->sources[i].file].path,
                            part->tensor->name, part->tensor->dtype_name);
    memcpy(out, tools->data[0], part->count);
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

    if (status == TM_OK && part->tensor->operation == TM_SUM)
        sum(pipeline, tools, part, out);
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
    struct tm_part part = {
        .job = job,
        .tensor = tensor,
        .sources = tm_plan_sources(plan, tile->tensor),
        .tile = number,
        .number = tile->tensor,
        .first = tile->first,
        .count = tile->count,
    };
    const uint64_t step = step_of(plan, &part);
    enum tm_status status = TM_OK;

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

    job->num_pieces = job->num_checks = 0;
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
