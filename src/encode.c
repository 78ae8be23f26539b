/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode: chunks of the vectors that are made.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "src/pipeline.h"

/* Counters that are passed over at once where none of them was used. */
#define BINS_STEP 16

static bool is_used(const uint32_t *bins)
{
    uint32_t any = 0;

    for (size_t i = 0; i < BINS_STEP; i++)
        any |= bins[i];
    return any != 0;
}

/* Moves what was counted of a chunk to the vector's own counts. */
static void move_bins(struct tm_pipeline *p, struct tm_tools *tools,
                      size_t output, unsigned generation)
{
    uint64_t *counts = p->results->made[output].counts[generation];

    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < TM_DRIFT_BINS; i += BINS_STEP) {
        if (!is_used(tools->bins + i))
            continue;
        for (size_t k = i; k < i + BINS_STEP; k++)
            counts[k] += tools->bins[k];
        memset(tools->bins + i, 0, BINS_STEP * sizeof(*tools->bins));
    }
    pthread_mutex_unlock(&p->lock);
}

/* What is to be encoded for one vector. */
struct content {
    const void *data;
    enum tm_dtype dtype;
};

static struct content content_of(const struct tm_pipeline *p,
                                 const struct tm_tools *tools,
                                 const struct tm_part *part, size_t output,
                                 const void *out)
{
    if (p->plan->product == TM_MODEL_VECTOR)
        return (struct content){out, (enum tm_dtype)part->tensor->dtype};
    return (struct content){tools->data[output + 1],
                            (enum tm_dtype)part->sources[output + 1].dtype};
}

static enum tm_status encode_one(struct tm_pipeline *p, struct tm_tools *tools,
                                 const struct tm_part *part, size_t output,
                                 const struct tm_output_record *record,
                                 const struct content *content)
{
    const struct tm_unit *unit = &part->job->unit;
    const uint64_t bytes =
        part->count * tm_plan_unit(part->tensor, content->dtype);
    const struct tm_chunk chunk = {
        .dtype = content->dtype,
        .words = bytes / tm_word_bytes(content->dtype),
        .base = record->has_base
                    ? tm_sources_base(p, tools, part, content->dtype,
                                      bytes / tm_word_bytes(content->dtype))
                    : NULL,
    };
    struct tm_piece *piece = &part->job->pieces[part->job->num_pieces++];
    enum tm_status status;

    *piece = (struct tm_piece){
        .tensor = part->number,
        .output = output,
        .chunk = part->first / tm_plan_chunk(part->tensor),
        .words = chunk.words,
    };
    status = tm_chunk_encode(tools->coder, &chunk, content->data,
                             part->job->slot + unit->areas[output] +
                                 tools->filled[output],
                             &piece->length, &piece->coding);
    piece->digest = tm_chunk_digest(part->job->slot + unit->areas[output] +
                                        tools->filled[output],
                                    piece->length, content->data, bytes);
    tools->filled[output] += piece->length;
    if (status != TM_OK || !record->is_measured || piece->coding == TM_SAME)
        return status;
    tm_drift_measure(p->isa, (enum tm_dtype)part->sources[0].dtype,
                     tools->data[0], content->dtype, content->data, chunk.words,
                     &piece->drift, tools->bins);
    move_bins(p, tools, output, part->job->generation);
    return TM_OK;
}

enum tm_status tm_encode(struct tm_pipeline *pipeline, struct tm_tools *tools,
                         const struct tm_part *part, const void *out)
{
    const struct tm_plan *plan = pipeline->plan;
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < plan->num_outputs && status == TM_OK; i++) {
        const struct tm_target *target =
            &plan->targets[part->number * plan->num_outputs + i];
        const struct tm_output *output = &plan->outputs[i];
        const struct content content =
            content_of(pipeline, tools, part, i, out);

        if (target->shard == TM_NO_TARGET)
            continue;
        status =
            encode_one(pipeline, tools, part, i,
                       &output->records[output->shards[target->shard].first +
                                        target->record],
                       &content);
    }
    return status;
}
