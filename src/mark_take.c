/* SPDX-License-Identifier: Apache-2.0 */
/* mark_take: reading marks; see mark.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "src/mark.h"
#include "src/pipeline.h"

bool tm_mark_get_place(struct tm_unpack *from, struct tm_mark_place *place,
                       uint64_t *num_files)
{
    place->shard = tm_unpack_number(from);
    place->position = tm_unpack_number(from);
    place->tensor = tm_unpack_number(from);
    place->is_part = tm_unpack_number(from) != 0;
    place->bytes_done = tm_unpack_number(from);
    place->bytes_read = tm_unpack_number(from);
    *num_files = tm_unpack_number(from);
    return !from->failed;
}

bool tm_mark_get_file(struct tm_unpack *from, struct tm_mark_file *file)
{
    file->number = tm_unpack_number(from);
    file->from = tm_unpack_number(from);
    file->to = tm_unpack_number(from);
    tm_unpack_bytes(from, &file->digest, sizeof(file->digest));
    file->tail_length = tm_unpack_number(from);
    file->tail = tm_unpack_here(from, file->tail_length);
    return !from->failed && file->tail_length < TM_BLOCK &&
           file->tail_length <= file->to &&
           file->from <= file->to - file->tail_length;
}

/* --- results -------------------------------------------------------------*/

static void get_stats(struct tm_unpack *from, struct tm_sum_stats *stats)
{
    stats->nonfinite_inputs = tm_unpack_number(from);
    stats->nonfinite_outputs = tm_unpack_number(from);
    stats->overflows = tm_unpack_number(from);
}

/* The record that the tensor has in the vector `number`; NULL: none. */
static const struct tm_output_record *record_of(const struct tm_plan *plan,
                                                size_t number, size_t tensor,
                                                size_t *index)
{
    const struct tm_output *output = &plan->outputs[number];
    const struct tm_target *target =
        &plan->targets[tensor * plan->num_outputs + number];

    if (target->shard == TM_NO_TARGET)
        return NULL;
    *index = output->shards[target->shard].first + target->record;
    return &output->records[*index];
}

static void get_record(struct tm_unpack *from, const struct tm_plan *plan,
                       struct tm_results *results, size_t number, size_t tensor)
{
    size_t index;
    const struct tm_output_record *record =
        record_of(plan, number, tensor, &index);
    uint32_t *lengths = results->made[number].lengths;
    struct tm_coded *coded;
    struct tm_vector_stats *stats;

    if (record == NULL)
        return;
    coded = &results->made[number].records[index];
    stats = &results->made[number].stats[index];
    coded->offset = tm_unpack_number(from);
    coded->bytes = tm_unpack_number(from);
    coded->count = tm_unpack_number(from);
    coded->base_probe = tm_unpack_number(from);
    coded->state = (uint8_t)tm_unpack_number(from);
    tm_unpack_bytes(from, &coded->base_digest, sizeof(coded->base_digest));
    tm_unpack_bytes(from, &coded->tuned_digest, sizeof(coded->tuned_digest));
    tm_unpack_bytes(from, coded->chunks_digest, sizeof(coded->chunks_digest));
    stats->changed = tm_unpack_number(from);
    stats->sum = tm_unpack_real(from);
    stats->absolute = tm_unpack_real(from);
    stats->squares = tm_unpack_real(from);
    stats->largest = tm_unpack_real(from);
    tm_unpack_bytes(from, lengths + record->first,
                    record->count * sizeof(*lengths));
    if (coded->state > TM_UNCHANGED || coded->count > record->count)
        from->failed = true;
}

static void get_tensors(struct tm_unpack *from, const struct tm_plan *plan,
                        struct tm_results *results, size_t first, size_t end)
{
    const size_t width = plan->width;

    for (size_t t = first; t < end && !from->failed; t++) {
        tm_unpack_bytes(from, &results->tensors[t], sizeof(*results->tensors));
        tm_unpack_bytes(from, &results->sources[t * width],
                        width * sizeof(*results->sources));
        get_stats(from, &results->stats[t]);
        for (size_t i = 0; i < plan->num_outputs; i++)
            get_record(from, plan, results, i, t);
    }
}

static void get_counts(struct tm_unpack *from, uint64_t *counts)
{
    const uint64_t used = tm_unpack_number(from);

    memset(counts, 0, TM_DRIFT_BINS * sizeof(*counts));
    for (uint64_t i = 0; i < used && !from->failed; i++) {
        const uint64_t number = tm_unpack_number(from);
        const uint64_t count = tm_unpack_number(from);

        if (number < TM_DRIFT_BINS)
            counts[number] = count;
        else
            from->failed = true;
    }
}

static void get_hasher(struct tm_unpack *from, struct tm_hasher *hasher)
{
    const void *bytes = tm_unpack_here(from, tm_hasher_saved());

    if (bytes != NULL && !tm_hasher_load(hasher, bytes))
        from->failed = true;
}

static void get_made_shards(struct tm_unpack *from, struct tm_results *results)
{
    uint64_t output;

    while ((output = tm_unpack_number(from)) != 0 && !from->failed) {
        const uint64_t number = tm_unpack_number(from);
        struct tm_made *made;
        struct tm_made_shard *shard;

        if (output > results->num_made ||
            number >= results->made[output - 1].output->num_shards) {
            from->failed = true;
            return;
        }
        made = &results->made[output - 1];
        shard = &made->shards[number];
        shard->position = shard->marked = tm_unpack_number(from);
        get_hasher(from, &shard->data);
        get_hasher(from, &shard->chunks);
        for (size_t i = 0; i < TM_NUM_CODINGS; i++) {
            shard->counts.tuned_bytes[i] = tm_unpack_number(from);
            shard->counts.stored_bytes[i] = tm_unpack_number(from);
        }
        tm_unpack_bytes(from, shard->block, shard->position % TM_BLOCK);
    }
}

/*
 * Whether a unit can have ended inside tensor number `number`, at the byte:
 * not where the tensor is measured for itself, and so made as a whole.
 */
static bool is_inside(const struct tm_plan *plan, size_t number,
                      uint64_t position)
{
    const struct tm_plan_tensor *tensor = &plan->tensors[number];
    const uint64_t size = tm_plan_unit(tensor, (enum tm_dtype)tensor->dtype);

    return tensor->phases <= tm_plan_first_phase(plan, tensor) &&
           position > tensor->offset &&
           position - tensor->offset < tensor->bytes &&
           (position - tensor->offset) % size == 0 &&
           (position - tensor->offset) / size % tm_plan_step(plan, tensor) == 0;
}

/* Whether a unit can have ended before tensor number `number`, at the byte. */
static bool is_before(const struct tm_plan *plan,
                      const struct tm_plan_shard *shard, size_t number,
                      uint64_t position)
{
    const struct tm_plan_tensor *last;

    if (number == shard->first)
        return position <= shard->data_start;
    last = &plan->tensors[number - 1];
    return position == last->offset + last->bytes;
}

/*
 * Whether the place is one where the plan can have a unit end, not before
 * that of `before`: the cutter begins there.
 */
static bool is_place(const struct tm_plan *plan,
                     const struct tm_mark_place *before,
                     const struct tm_mark_place *place)
{
    const struct tm_plan_shard *shard;

    if (place->shard >= plan->num_shards || place->shard < before->shard ||
        place->tensor < before->tensor ||
        (place->shard == before->shard && place->position < before->position))
        return false;
    shard = &plan->shards[place->shard];
    if (place->position > shard->size || place->tensor < shard->first ||
        place->tensor > shard->first + shard->count)
        return false;
    if (!place->is_part)
        return is_before(plan, shard, place->tensor, place->position);
    return place->tensor < shard->first + shard->count &&
           is_inside(plan, place->tensor, place->position);
}

bool tm_mark_take(struct tm_unpack *from, const struct tm_plan *plan,
                  const struct tm_mark_place *before,
                  const struct tm_mark_place *place, struct tm_results *results,
                  struct tm_unpack *stream)
{
    const uint64_t length = tm_unpack_number(from);
    size_t end;

    stream->at = tm_unpack_here(from, length);
    stream->left = (size_t)length;
    stream->failed = false;
    if (from->failed || !is_place(plan, before, place))
        return false;
    end = place->shard + (place->position == plan->shards[place->shard].size);
    for (size_t s = before->shard; s < end; s++)
        tm_unpack_bytes(from, &results->shards[s], sizeof(*results->shards));
    get_tensors(from, plan, results, before->tensor, place->tensor);
    for (size_t i = 0; i < plan->num_outputs; i++)
        get_counts(from, results->made[i].counts[0]);
    if (plan->product == TM_MODEL_VECTOR)
        get_made_shards(from, results);
    if (plan->num_outputs > 0)
        get_made_shards(from, results);
    if (place->is_part && !from->failed) {
        get_stats(from, &results->stats[place->tensor]);
        for (size_t i = 0; i < plan->num_outputs; i++)
            get_record(from, plan, results, i, place->tensor);
    }
    return !from->failed && from->left == 0;
}

bool tm_mark_resume(struct tm_unpack *from, const struct tm_plan *plan,
                    const struct tm_mark_place *place, struct tm_stream *stream)
{
    get_hasher(from, &stream->whole);
    get_hasher(from, &stream->tensor);
    for (size_t i = 0; i < plan->width; i++)
        get_hasher(from, &stream->sources[i]);
    if (plan->num_outputs > 0)
        tm_unpack_bytes(from, stream->middle, TM_PROBE_BYTES);
    if (plan->product == TM_MODEL)
        tm_unpack_bytes(from, stream->block, place->position % TM_BLOCK);
    return !from->failed && from->left == 0;
}
