/* SPDX-License-Identifier: Apache-2.0 */
/* made_append: what becomes of a unit's encoded chunks; see made.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "io/checked.h"
#include "src/pipeline.h"

static const struct tm_target *target_of(const struct tm_made *made,
                                         size_t output, size_t tensor)
{
    return &made->plan->targets[tensor * made->plan->num_outputs + output];
}

/* The number of the record that the target is, of all of the vector. */
static size_t record_of(const struct tm_made *made,
                        const struct tm_target *target)
{
    return made->output->shards[target->shard].first + target->record;
}

/* Blocks are added in their order, whoever measured them. */
static void add_drift(struct tm_vector_stats *stats,
                      const struct tm_drift *drift)
{
    const size_t blocks = sizeof(drift->sum) / sizeof(drift->sum[0]);

    stats->changed += drift->changed;
    for (size_t i = 0; i < blocks; i++) {
        stats->sum += drift->sum[i];
        stats->absolute += drift->absolute[i];
        stats->squares += drift->squares[i];
    }
    if (drift->largest > stats->largest)
        stats->largest = drift->largest;
}

/* Notes a chunk whose place is `position` in its shard. */
static void note_piece(struct tm_made *made, size_t number,
                       const struct tm_piece *piece,
                       struct tm_made_shard *shard)
{
    const struct tm_output_record *record = &made->output->records[number];
    struct tm_coded *coded = &made->records[number];
    const enum tm_dtype dtype =
        (enum tm_dtype)made->plan->tensors[piece->tensor].dtype;

    if (piece->chunk == 0) {
        coded->offset = shard->position - shard->header_bytes;
        tm_hasher_reset(&shard->chunks);
    }
    tm_hasher_add(&shard->chunks, &piece->digest, sizeof(piece->digest));
    if (piece->chunk + 1 == record->count) {
        const struct tm_digest chunks = tm_hasher_digest(&shard->chunks);

        memcpy(coded->chunks_digest, chunks.bytes,
               sizeof(coded->chunks_digest));
    }
    coded->bytes += piece->length;
    made->lengths[record->first + piece->chunk] = (uint32_t)piece->length;
    shard->counts.tuned_bytes[piece->coding] +=
        piece->words * tm_word_bytes(dtype);
    shard->counts.stored_bytes[piece->coding] += piece->length;
    add_drift(&made->stats[number], &piece->drift);
    shard->is_touched = true;
}

/*
 * The area's chunks move down to where they lie in the file's blocks; the
 * first block begins with what is already there, the last waits for more.
 */
static void place_bytes(struct tm_made_shard *shard, uint64_t start,
                        uint64_t area, struct tm_job *job)
{
    const uint64_t head = start % TM_BLOCK;
    const uint64_t bytes = shard->position - start;
    const uint64_t begin = start - head;
    const uint64_t whole = tm_round_down(shard->position, TM_BLOCK);
    unsigned char *slot = job->slot + area;

    tm_hasher_add(&shard->data, slot + TM_BLOCK, bytes);
    memmove(slot + head, slot + TM_BLOCK, bytes);
    memcpy(slot, shard->block, head);
    memcpy(shard->block, slot + (whole - begin), shard->position - whole);
    if (whole > begin)
        job->writes[job->num_writes++] = (struct tm_write){
            .file = &shard->file,
            .offset = begin,
            .place = area,
            .len = whole - begin,
        };
}

void tm_made_append(struct tm_made *made, size_t output, struct tm_job *job)
{
    struct tm_made_shard *shard = NULL;
    uint64_t start = 0;

    for (size_t i = 0; i < job->num_pieces; i++) {
        const struct tm_piece *piece = &job->pieces[i];
        const struct tm_target *target;

        if (piece->output != output)
            continue;
        target = target_of(made, output, piece->tensor);
        if (shard == NULL) {
            shard = &made->shards[target->shard]; /* one for the whole unit */
            start = shard->position;
        }
        note_piece(made, record_of(made, target), piece, shard);
        shard->position += piece->length;
    }
    if (shard != NULL && shard->position > start)
        place_bytes(shard, start, job->unit.areas[output], job);
}

void tm_made_complete(struct tm_made *made, size_t output, size_t number,
                      const struct tm_results *results, uint64_t probe)
{
    const struct tm_plan *plan = made->plan;
    const struct tm_target *target = target_of(made, output, number);
    const struct tm_digest *sources = &results->sources[number * plan->width];
    const struct tm_output_record *record;
    struct tm_coded *coded;

    if (target->shard == TM_NO_TARGET)
        return;
    record = &made->output->records[record_of(made, target)];
    coded = &made->records[record_of(made, target)];
    coded->tuned_digest = plan->product == TM_VECTORS
                              ? sources[output + 1]
                              : results->tensors[number];
    coded->state = TM_ALONE;
    if (!record->has_base)
        return;
    coded->state = TM_DELTA;
    coded->base_digest = sources[0];
    coded->base_probe = probe;
    if (record->is_like_base && coded->bytes == 0) {
        coded->state = TM_UNCHANGED;
        coded->count = 0;
        memset(coded->chunks_digest, 0, sizeof(coded->chunks_digest));
    }
}
