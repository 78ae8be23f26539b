/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper: sees to it, while a run goes on, that it could be resumed.
 *
 * Now and then, at the end of a unit, it makes a mark (src/mark.h). A mark
 * counts from the moment that everything before it is durable and then the
 * mark itself, in the journal:
 *
 *     a unit is marked when it is cut      TM_KEEPER_UNITS
 *     all units up to it are written
 *     sync what they were written to       TM_KEEPER_FILES
 *     write the mark, sync the journal     TM_KEEPER_MARK, TM_KEEPER_JOURNAL
 *     it counts                            TM_KEEPER_IDLE
 *
 * All this goes on beside reading, computing and writing. If it takes longer
 * than the interval between marks, no further units are started meanwhile:
 * so what is not kept is never more than two intervals of work.
 *
 * All by the I/O thread.
 */
#ifndef TM_SRC_KEEPER_H
#define TM_SRC_KEEPER_H

#include "io/journal.h"
#include "src/mark.h"
#include "src/staging.h"

struct tm_pipeline;

enum tm_keeper_stage {
    TM_KEEPER_IDLE,
    TM_KEEPER_UNITS,
    TM_KEEPER_FILES,
    TM_KEEPER_MARK,
    TM_KEEPER_JOURNAL,
};

struct tm_keeper {
    struct tm_pipeline *pipeline;
    struct tm_staging *staging;
    enum tm_keeper_stage stage;
    double interval;     /* seconds between marks; negative: none are made */
    double asked;        /* when the last one was begun */
    uint64_t order;      /* of the unit that the mark is behind */
    unsigned generation; /* of counts: of units that are cut now */
    bool is_settled;     /* the directories are durable */
    struct tm_mark_place before; /* of the last mark that counts */
    struct tm_mark_place last;   /* behind the last unit that was cut */
    uint64_t last_order;
    bool last_is_markable;
    bool is_cached;             /* the output goes through the page cache */
    const struct tm_file *file; /* that is synced, of the marked shard */
    struct tm_pack pack;
    struct tm_transfer *transfers;
    size_t capacity;
    size_t pending; /* of the transfers */
};

/* Marks are made in staging->journal; `before` is where the run begins. */
void tm_keeper_init(struct tm_keeper *keeper, struct tm_pipeline *pipeline,
                    struct tm_staging *staging,
                    const struct tm_mark_place *before, double interval);
void tm_keeper_free(struct tm_keeper *keeper);

/* Memory that marks of the plan take, about. */
uint64_t tm_keeper_memory(const struct tm_plan *plan);

/*
 * The job, whose unit was just cut, is on its way, as number `order` of those
 * that are written: decides whether it is marked.
 */
void tm_keeper_cut(struct tm_keeper *keeper, struct tm_job *job,
                   uint64_t order);

/* Whether no unit may be started now, since the mark comes first. */
bool tm_keeper_holds(const struct tm_keeper *keeper);

/*
 * All that was cut is written: makes a mark behind the last unit of `stream`,
 * its shard's, if there is none yet and can be one. False: there is none to
 * be made.
 */
bool tm_keeper_mark_last(struct tm_keeper *keeper,
                         const struct tm_stream *stream);

/*
 * All units up to keeper->order are written; `file` is the one of the marked
 * shard (closed, if that is complete). Begins with TM_KEEPER_FILES.
 */
enum tm_status tm_keeper_sync(struct tm_keeper *keeper, struct tm_file *file);

/* Whether the file is being synced for a mark: it must not be closed. */
bool tm_keeper_syncs(const struct tm_keeper *keeper,
                     const struct tm_file *file);

/* One of keeper->transfers is done. */
enum tm_status tm_keeper_complete(struct tm_keeper *keeper,
                                  const struct tm_transfer *transfer);

#endif
