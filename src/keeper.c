/* SPDX-License-Identifier: Apache-2.0 */
/* keeper: see keeper.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/keeper.h"

#include <stdlib.h>

#include "src/kept.h"
#include "src/pipeline.h"
#include "src/progress.h"

/*
 * Results that one mark brings to the journal, at most, and some: they are
 * put together in memory. A mark comes early if there are more.
 */
#define RESULTS_MOST ((uint64_t)2 << 20)

/* Bytes of the results of one tensor, about. */
static uint64_t result_bytes(const struct tm_plan *plan)
{
    return sizeof(struct tm_digest) * (1 + plan->width) +
           sizeof(struct tm_sum_stats) +
           plan->num_outputs *
               (sizeof(struct tm_coded) + sizeof(struct tm_vector_stats));
}

uint64_t tm_keeper_memory(const struct tm_plan *plan)
{
    const uint64_t hasher = tm_hasher_saved();
    const uint64_t stream = (plan->width + 2) * hasher + 2 * TM_BLOCK;
    const uint64_t made = tm_mark_num_files(plan) * (2 * hasher + TM_BLOCK);
    const uint64_t results =
        RESULTS_MOST < plan->num_tensors * result_bytes(plan)
            ? RESULTS_MOST
            : plan->num_tensors * result_bytes(plan);

    /* As they are noted, as a whole, and as a record of the journal. */
    return 3 * (stream + (plan->num_outputs > 0 ? made : 0)) + 2 * results;
}

void tm_keeper_init(struct tm_keeper *keeper, struct tm_pipeline *pipeline,
                    struct tm_staging *staging,
                    const struct tm_mark_place *before, double interval)
{
    *keeper = (struct tm_keeper){
        .pipeline = pipeline,
        .staging = staging,
        .interval = interval,
        .before = *before,
        .asked = tm_clock(),
    };
}

void tm_keeper_free(struct tm_keeper *keeper)
{
    tm_pack_free(&keeper->pack);
    free(keeper->transfers);
    keeper->transfers = NULL;
}

/* --- when ----------------------------------------------------------------*/

/* A group is kept whole: its units cannot be measured one by one. */
static bool is_markable(const struct tm_unit *unit)
{
    return unit->group == TM_NO_GROUP || unit->is_last;
}

/*
 * Output that the page cache may hold back, through which it is written where
 * there is no direct I/O, before a mark comes early; and as much again while
 * it is made durable. A slow disk (500 MB/s) takes a second for all of it,
 * which is what can be asked of somebody who has pressed Ctrl-C.
 */
#define CACHED_MOST ((uint64_t)256 << 20)

/* Whether there is that much between two places. */
static bool is_held_back(const struct tm_keeper *keeper,
                         const struct tm_mark_place *from)
{
    return keeper->is_cached &&
           keeper->last.bytes_done - from->bytes_done >= CACHED_MOST;
}

static bool is_due(const struct tm_keeper *keeper)
{
    const struct tm_plan *plan = keeper->pipeline->plan;

    if (tm_clock() - keeper->asked >= keeper->interval ||
        is_held_back(keeper, &keeper->before))
        return true;
    return (keeper->last.tensor - keeper->before.tensor) * result_bytes(plan) >=
           RESULTS_MOST;
}

/* Begins a mark at keeper->last. */
static void begin(struct tm_keeper *keeper)
{
    struct tm_mark *mark = &keeper->pipeline->mark;

    mark->place = keeper->last;
    mark->generation = keeper->generation;
    keeper->generation = 1 - keeper->generation;
    keeper->order = keeper->last_order;
    keeper->asked = tm_clock();
    keeper->stage = TM_KEEPER_UNITS;
}

/* Whether what the stream has goes through the page cache. */
static bool is_cached(const struct tm_pipeline *p,
                      const struct tm_stream *stream)
{
    return p->plan->num_outputs > 0 ? !p->results->made[0].shards[0].file.direct
                                    : !stream->file.direct;
}

void tm_keeper_cut(struct tm_keeper *keeper, struct tm_job *job, uint64_t order)
{
    job->order = order;
    job->generation = keeper->generation;
    job->is_marked = false;
    if (keeper->interval < 0)
        return;
    keeper->last = tm_mark_place_of(keeper->pipeline->plan, &job->unit);
    keeper->last_order = order;
    keeper->last_is_markable = is_markable(&job->unit);
    keeper->is_cached = is_cached(keeper->pipeline, job->stream);
    if (keeper->stage != TM_KEEPER_IDLE || !keeper->last_is_markable ||
        !is_due(keeper))
        return;
    job->is_marked = true;
    begin(keeper);
}

bool tm_keeper_holds(const struct tm_keeper *keeper)
{
    return keeper->stage != TM_KEEPER_IDLE &&
           (tm_clock() - keeper->asked >= keeper->interval ||
            is_held_back(keeper, &keeper->pipeline->mark.place));
}

bool tm_keeper_mark_last(struct tm_keeper *keeper,
                         const struct tm_stream *stream)
{
    if (keeper->interval < 0 || keeper->last_order <= keeper->order ||
        !keeper->last_is_markable)
        return false;
    begin(keeper);
    tm_mark_note(&keeper->pipeline->mark, keeper->pipeline, stream);
    return true;
}

/* --- how -----------------------------------------------------------------*/

static struct tm_journal *journal(struct tm_keeper *keeper)
{
    return &keeper->staging->journal;
}

/* Room for so many transfers; false: no memory. */
static bool reserve(struct tm_keeper *keeper, size_t count)
{
    struct tm_transfer *transfers;

    if (count <= keeper->capacity)
        return true;
    transfers = realloc(keeper->transfers, count * sizeof(*transfers));
    if (transfers == NULL)
        return false;
    keeper->transfers = transfers;
    keeper->capacity = count;
    return true;
}

static void start(struct tm_keeper *keeper, const struct tm_transfer *transfer)
{
    struct tm_transfer *own = &keeper->transfers[keeper->pending++];

    *own = *transfer;
    own->owner = keeper;
    tm_transfer_start(keeper->staging->disk, own);
}

/*
 * How far shard `number` of a vector had got at the mark at hand. That of the
 * marked stream was noted with it; those of others are complete before the
 * mark's shard, and nobody's business behind it.
 */
static uint64_t position_at_mark(const struct tm_pipeline *p,
                                 const struct tm_made_shard *shard,
                                 size_t number)
{
    if (p->plan->product == TM_MODEL_VECTOR && number < p->mark.place.shard)
        return shard->position;
    return shard->marked;
}

/* Syncs the shards of a vector that have grown since they last were. */
static void sync_made(struct tm_keeper *keeper, struct tm_made *made)
{
    for (size_t i = 0; i < made->output->num_shards; i++) {
        struct tm_made_shard *shard = &made->shards[i];
        const uint64_t position = position_at_mark(keeper->pipeline, shard, i);

        if (shard->file.fd < 0 || position == shard->synced)
            continue;
        shard->synced = position;
        start(keeper,
              &(struct tm_transfer){.kind = TM_OP_SYNC, .file = &shard->file});
    }
}

/* Packs the mark and writes it behind the others. */
static enum tm_status write_mark(struct tm_keeper *keeper)
{
    struct tm_pipeline *p = keeper->pipeline;
    struct tm_journal *j = journal(keeper);
    enum tm_status status;

    tm_pack_reset(&keeper->pack);
    if (!tm_mark_put(&p->mark, p, &keeper->before, &keeper->pack))
        return tm_no_memory();
    tm_journal_begin(j, TM_JOURNAL_MARK);
    tm_journal_put(j, keeper->pack.text.bytes, keeper->pack.text.length);
    status = tm_journal_end(j);
    if (status != TM_OK)
        return status;
    keeper->stage = TM_KEEPER_MARK;
    if (!reserve(keeper, j->length / TM_REQUEST + 1))
        return tm_no_memory();
    for (size_t at = 0; at < j->length; at += TM_REQUEST)
        start(keeper, &(struct tm_transfer){
                          .kind = TM_OP_WRITE,
                          .file = &j->file,
                          .offset = tm_journal_place(j) + at,
                          .buf = j->buffer + at,
                          .len = j->length - at < TM_REQUEST ? j->length - at
                                                             : TM_REQUEST,
                      });
    return TM_OK;
}

enum tm_status tm_keeper_sync(struct tm_keeper *keeper, struct tm_file *file)
{
    const struct tm_pipeline *p = keeper->pipeline;
    enum tm_status status = TM_OK;

    if (!keeper->is_settled)
        status = tm_staging_settle(keeper->staging);
    if (status != TM_OK)
        return status;
    keeper->is_settled = true;
    if (!reserve(keeper, tm_mark_num_files(p->plan) + 1))
        return tm_no_memory();
    keeper->stage = TM_KEEPER_FILES;
    keeper->file = file;
    if (file->fd >= 0)
        start(keeper, &(struct tm_transfer){.kind = TM_OP_SYNC, .file = file});
    for (size_t i = 0; i < p->plan->num_outputs; i++)
        sync_made(keeper, &p->results->made[i]);
    return keeper->pending == 0 ? write_mark(keeper) : TM_OK;
}

bool tm_keeper_syncs(const struct tm_keeper *keeper, const struct tm_file *file)
{
    return keeper->stage == TM_KEEPER_FILES && keeper->file == file;
}

/* The mark counts. */
static void finish(struct tm_keeper *keeper)
{
    struct tm_pipeline *p = keeper->pipeline;

    keeper->stage = TM_KEEPER_IDLE;
    keeper->before = p->mark.place;
    keeper->staging->num_marks++;
    keeper->staging->bytes_kept = p->mark.place.bytes_done;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->plan->num_outputs; i++)
        tm_made_settle(&p->results->made[i], p->mark.generation);
    pthread_mutex_unlock(&p->lock);
}

enum tm_status tm_keeper_complete(struct tm_keeper *keeper,
                                  const struct tm_transfer *transfer)
{
    keeper->pending--;
    if (transfer->status != TM_OK || keeper->pending > 0)
        return transfer->status;
    switch (keeper->stage) {
    case TM_KEEPER_FILES:
        return write_mark(keeper);
    case TM_KEEPER_MARK:
        keeper->stage = TM_KEEPER_JOURNAL;
        start(keeper, &(struct tm_transfer){.kind = TM_OP_SYNC,
                                            .file = &journal(keeper)->file});
        return TM_OK;
    default:
        finish(keeper);
        return TM_OK;
    }
}
