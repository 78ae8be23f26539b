/* SPDX-License-Identifier: Apache-2.0 */
/* mark: see mark.h. Reading is in mark_take.c. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/mark.h"

#include <string.h>

#include "io/path.h"
#include "src/pipeline.h"

size_t tm_mark_num_files(const struct tm_plan *plan)
{
    size_t count = 0;

    if (plan->num_outputs == 0)
        return plan->num_shards;
    for (size_t i = 0; i < plan->num_outputs; i++)
        count += plan->outputs[i].num_shards;
    return count;
}

const char *tm_mark_file_name(const struct tm_plan *plan,
                              struct tm_arena *arena, size_t number)
{
    const struct tm_output *output = plan->outputs;

    if (plan->num_outputs == 0)
        return plan->shards[number].name;
    while (number >= output->num_shards)
        number -= (output++)->num_shards;
    return tm_path_join(arena, output->directory, output->shards[number].name);
}

/* --- parts ---------------------------------------------------------------*/

static void put_hasher(struct tm_pack *pack, const struct tm_hasher *hasher)
{
    void *room = tm_pack_room(pack, tm_hasher_saved());

    if (room != NULL)
        tm_hasher_save(hasher, room);
}

static void put_file(struct tm_mark *mark, uint64_t number, uint64_t from,
                     uint64_t to, const struct tm_digest *digest,
                     const void *tail, uint64_t tail_length)
{
    struct tm_pack *pack = &mark->files;

    tm_pack_number(pack, number);
    tm_pack_number(pack, from);
    tm_pack_number(pack, to);
    tm_pack_bytes(pack, digest, sizeof(*digest));
    tm_pack_number(pack, tail_length);
    tm_pack_bytes(pack, tail, tail_length);
    mark->num_files++;
}

static void put_stats(struct tm_pack *pack, const struct tm_sum_stats *stats)
{
    tm_pack_number(pack, stats->nonfinite_inputs);
    tm_pack_number(pack, stats->nonfinite_outputs);
    tm_pack_number(pack, stats->overflows);
}

/*
 * What the vector `number` has of the tensor, if it has any; the lengths of
 * its chunks as far as they are known.
 */
static void put_record(struct tm_pack *pack, const struct tm_pipeline *p,
                       size_t number, size_t tensor)
{
    const struct tm_plan *plan = p->plan;
    const struct tm_made *made = &p->results->made[number];
    const struct tm_target *target =
        &plan->targets[tensor * plan->num_outputs + number];
    const struct tm_coded *coded;
    const struct tm_vector_stats *stats;
    size_t record;

    if (target->shard == TM_NO_TARGET)
        return;
    record = made->output->shards[target->shard].first + target->record;
    coded = &made->records[record];
    stats = &made->stats[record];
    tm_pack_number(pack, coded->offset);
    tm_pack_number(pack, coded->bytes);
    tm_pack_number(pack, coded->count);
    tm_pack_number(pack, coded->base_probe);
    tm_pack_number(pack, coded->state);
    tm_pack_bytes(pack, &coded->base_digest, sizeof(coded->base_digest));
    tm_pack_bytes(pack, &coded->tuned_digest, sizeof(coded->tuned_digest));
    tm_pack_bytes(pack, coded->chunks_digest, sizeof(coded->chunks_digest));
    tm_pack_number(pack, stats->changed);
    tm_pack_real(pack, stats->sum);
    tm_pack_real(pack, stats->absolute);
    tm_pack_real(pack, stats->squares);
    tm_pack_real(pack, stats->largest);
    tm_pack_bytes(pack, made->lengths + made->output->records[record].first,
                  made->output->records[record].count * sizeof(*made->lengths));
}

/* --- shards of vectors ---------------------------------------------------*/

static size_t first_file(const struct tm_plan *plan, size_t output)
{
    size_t number = 0;

    for (size_t i = 0; i < output; i++)
        number += plan->outputs[i].num_shards;
    return number;
}

/*
 * A shard of a vector that chunks have come to since the mark before: even
 * where all were the base's own, so that it has not grown, its digests have.
 */
static void put_made_shard(struct tm_mark *mark, struct tm_pack *pack,
                           const struct tm_pipeline *p, size_t output,
                           size_t number)
{
    struct tm_made_shard *shard = &p->results->made[output].shards[number];
    const struct tm_digest digest = tm_hasher_digest(&shard->data);
    const uint64_t tail = shard->position % TM_BLOCK;
    const uint64_t behind_header = shard->position - shard->header_bytes;
    const uint64_t own = tail < behind_header ? tail : behind_header;

    tm_pack_number(pack, 1 + output);
    tm_pack_number(pack, number);
    tm_pack_number(pack, shard->position);
    put_hasher(pack, &shard->data);
    put_hasher(pack, &shard->chunks);
    for (size_t i = 0; i < TM_NUM_CODINGS; i++) {
        tm_pack_number(pack, shard->counts.tuned_bytes[i]);
        tm_pack_number(pack, shard->counts.stored_bytes[i]);
    }
    tm_pack_bytes(pack, shard->block, tail);
    put_file(mark, first_file(p->plan, output) + number, shard->header_bytes,
             shard->position, &digest, shard->block + (tail - own), own);
    shard->marked = shard->position;
    shard->is_touched = false;
}

/*
 * The shards of vectors that were touched: those numbered from `first` to
 * `last`, of every vector. A 0 ends the list.
 */
static void put_made_shards(struct tm_mark *mark, struct tm_pack *pack,
                            const struct tm_pipeline *p, size_t first,
                            size_t last)
{
    for (size_t i = 0; i < p->plan->num_outputs; i++) {
        const struct tm_made *made = &p->results->made[i];

        for (size_t k = first; k < last && k < made->output->num_shards; k++)
            if (made->shards[k].is_touched)
                put_made_shard(mark, pack, p, i, k);
    }
    tm_pack_number(pack, 0);
}

/* --- the first step ------------------------------------------------------*/

struct tm_mark_place tm_mark_place_of(const struct tm_plan *plan,
                                      const struct tm_unit *unit)
{
    const struct tm_tile *last = &unit->tiles[unit->num_tiles - 1];
    struct tm_mark_place place = {
        .shard = unit->shard,
        .position = unit->end,
        .bytes_done = unit->end,
    };

    for (size_t s = 0; s < unit->shard; s++)
        place.bytes_done += plan->shards[s].size;
    if (last->tensor == TM_HEADER_TILE) {
        place.tensor = plan->shards[unit->shard].first;
        return place;
    }
    place.is_part =
        last->first + last->count < tm_plan_count(&plan->tensors[last->tensor]);
    place.tensor = last->tensor + !place.is_part;
    return place;
}

static void put_stream(struct tm_mark *mark, const struct tm_plan *plan,
                       const struct tm_stream *stream)
{
    struct tm_pack *pack = &mark->stream;

    put_hasher(pack, &stream->whole);
    put_hasher(pack, &stream->tensor);
    for (size_t i = 0; i < plan->width; i++)
        put_hasher(pack, &stream->sources[i]);
    if (plan->num_outputs > 0)
        tm_pack_bytes(pack, stream->middle, TM_PROBE_BYTES);
    if (plan->product == TM_MODEL)
        tm_pack_bytes(pack, stream->block, mark->place.position % TM_BLOCK);
}

/* What the shard's own file has: but for vectors, which have others. */
static void put_shard_file(struct tm_mark *mark, const struct tm_pipeline *p,
                           const struct tm_stream *stream)
{
    const struct tm_mark_place *place = &mark->place;
    struct tm_digest digest;

    if (place->position == p->plan->shards[place->shard].size) {
        put_file(mark, place->shard, 0, place->position,
                 &p->results->shards[place->shard], NULL, 0);
        return;
    }
    digest = tm_hasher_digest(&stream->whole);
    put_file(mark, place->shard, 0, place->position, &digest, stream->block,
             place->position % TM_BLOCK);
}

void tm_mark_note(struct tm_mark *mark, const struct tm_pipeline *pipeline,
                  const struct tm_stream *stream)
{
    const struct tm_plan *plan = pipeline->plan;

    tm_pack_reset(&mark->files);
    tm_pack_reset(&mark->stream);
    tm_pack_reset(&mark->part);
    mark->num_files = 0;
    put_stream(mark, plan, stream);
    if (plan->product == TM_MODEL)
        put_shard_file(mark, pipeline, stream);
    /* Of a fine-tune all shards may grow in one stream. */
    if (plan->num_outputs > 0)
        put_made_shards(mark, &mark->part, pipeline,
                        plan->product == TM_VECTORS ? 0 : stream->shard,
                        plan->product == TM_VECTORS ? SIZE_MAX
                                                    : stream->shard + 1);
    if (!mark->place.is_part)
        return;
    put_stats(&mark->part, &pipeline->results->stats[mark->place.tensor]);
    for (size_t i = 0; i < plan->num_outputs; i++)
        put_record(&mark->part, pipeline, i, mark->place.tensor);
}

/* --- the second ----------------------------------------------------------*/

/* Of the tensors that were completed since the mark before. */
static void put_tensors(struct tm_pack *pack, const struct tm_pipeline *p,
                        size_t first, size_t end)
{
    const struct tm_results *results = p->results;
    const size_t width = p->plan->width;

    for (size_t t = first; t < end; t++) {
        tm_pack_bytes(pack, &results->tensors[t], sizeof(*results->tensors));
        tm_pack_bytes(pack, &results->sources[t * width],
                      width * sizeof(*results->sources));
        put_stats(pack, &results->stats[t]);
        for (size_t i = 0; i < p->plan->num_outputs; i++)
            put_record(pack, p, i, t);
    }
}

/* The counters of a vector that are used, each with its number. */
static void put_counts(struct tm_pack *pack, const uint64_t *counts)
{
    uint64_t used = 0;

    for (size_t i = 0; i < TM_DRIFT_BINS; i++)
        used += counts[i] != 0;
    tm_pack_number(pack, used);
    for (size_t i = 0; i < TM_DRIFT_BINS; i++) {
        if (counts[i] == 0)
            continue;
        tm_pack_number(pack, i);
        tm_pack_number(pack, counts[i]);
    }
}

static void put_place(struct tm_pack *pack, const struct tm_mark_place *place)
{
    tm_pack_number(pack, place->shard);
    tm_pack_number(pack, place->position);
    tm_pack_number(pack, place->tensor);
    tm_pack_number(pack, place->is_part);
    tm_pack_number(pack, place->bytes_done);
    tm_pack_number(pack, place->bytes_read);
}

/* Shards that other streams have completed since the mark before. */
static void put_shards(struct tm_mark *mark, const struct tm_pipeline *p,
                       const struct tm_mark_place *before)
{
    const struct tm_plan *plan = p->plan;

    if (plan->product == TM_MODEL)
        for (size_t s = before->shard; s < mark->place.shard; s++)
            put_file(mark, s, 0, plan->shards[s].size, &p->results->shards[s],
                     NULL, 0);
}

static void put_text(struct tm_pack *pack, const struct tm_pack *from)
{
    pack->failed = pack->failed || from->failed;
    tm_pack_bytes(pack, from->text.bytes, from->text.length);
}

static void put_results(struct tm_mark *mark, const struct tm_pipeline *p,
                        const struct tm_mark_place *before, struct tm_pack *out)
{
    const struct tm_plan *plan = p->plan;
    const struct tm_mark_place *place = &mark->place;
    const size_t end =
        place->shard + (place->position == plan->shards[place->shard].size);

    for (size_t s = before->shard; s < end; s++)
        tm_pack_bytes(out, &p->results->shards[s], sizeof(*p->results->shards));
    put_tensors(out, p, before->tensor, place->tensor);
    for (size_t i = 0; i < plan->num_outputs; i++)
        put_counts(out, p->results->made[i].counts[mark->generation]);
}

bool tm_mark_put(struct tm_mark *mark, const struct tm_pipeline *pipeline,
                 const struct tm_mark_place *before, struct tm_pack *out)
{
    struct tm_pack made = {0};

    put_shards(mark, pipeline, before);
    if (pipeline->plan->product == TM_MODEL_VECTOR)
        put_made_shards(mark, &made, pipeline, 0, mark->place.shard);
    put_place(out, &mark->place);
    tm_pack_number(out, mark->num_files);
    put_text(out, &mark->files);
    tm_pack_number(out, mark->stream.text.length);
    put_text(out, &mark->stream);
    put_results(mark, pipeline, before, out);
    put_text(out, &made);
    put_text(out, &mark->part);
    tm_pack_free(&made);
    return !out->failed;
}

void tm_mark_free(struct tm_mark *mark)
{
    tm_pack_free(&mark->files);
    tm_pack_free(&mark->stream);
    tm_pack_free(&mark->part);
}
