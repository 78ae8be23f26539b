/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipeline: what the I/O thread (run.c) and the workers (workers.c) share.
 *
 * A job is a unit in flight. It belongs to one party at a time, and passes on
 * under the lock:
 *
 *     I/O thread -> ready -> worker -> stream's computed list -> hashing
 *         ^                                                     worker
 *         +---------------------- hashed <--------------------------+
 *
 * What is of a group (src/group.h) goes through the workers once for each
 * phase, before its output is computed.
 *
 * Within a worker, a tile goes through up to five files:
 *
 *     sources.c   what the inputs of a chunk are: as they were read, decoded,
 *                 converted
 *     compute.c   the output of a tile
 *     strips.c    of a method that works on strips
 *     encode.c    chunks of vectors that are made
 *     hash.c      the ordered stage: digests, the block that two units share,
 *                 the place of encoded chunks in their files
 */
#ifndef TM_SRC_PIPELINE_H
#define TM_SRC_PIPELINE_H

#include <pthread.h>
#include <stdbool.h>

#include "io/chunk.h"
#include "io/digest.h"
#include "kernels/drift.h"
#include "src/budget.h"
#include "src/group.h"
#include "src/made.h"
#include "src/mark.h"
#include "src/results.h"
#include "src/strips.h"
#include "src/unit.h"

/* Bytes of the slot that are to be written, whole blocks. */
struct tm_write {
    struct tm_file *file;
    uint64_t offset;
    uint64_t place; /* in the slot */
    uint64_t len;
};

struct tm_job {
    struct tm_unit unit;
    unsigned char *slot;
    struct tm_transfer *transfers; /* reads, later writes */
    size_t pending;                /* of them */
    struct tm_piece *pieces;       /* what was encoded */
    size_t num_pieces;
    uint64_t *checks; /* digests of the chunks that were decoded, in order */
    size_t num_checks;
    struct tm_write *writes; /* filled in by the ordered stage */
    size_t num_writes;
    struct tm_stream *stream;   /* NULL: nothing of it is written */
    uint64_t sequence;          /* of the unit in its shard */
    uint64_t order;             /* of the unit among all that are written */
    unsigned generation;        /* of counts (src/made.h) */
    bool is_busy;               /* it has a unit that is not written yet */
    bool is_marked;             /* a mark comes behind it (src/mark.h) */
    struct tm_sum_stats *stats; /* of its tiles */
    struct tm_group *group;     /* NULL: it is of none */
    unsigned phase;             /* of it, that the job is in or waits for */
    double *sums;               /* that measuring it gave, block by block */
    uint64_t *ties;             /* of each select, before the unit */
    bool is_counted;            /* ties are known */
    bool is_decoded;            /* coded sources are in the slot (unit.h) */
    struct tm_job *next;
};

/* First in, first out. */
struct tm_jobs {
    struct tm_job *first;
    struct tm_job *last;
    size_t count;
};

/* An output shard that is being made. */
struct tm_stream {
    bool open;
    size_t shard;
    struct tm_file file; /* closed while vectors are made */
    struct tm_transfer sync;
    uint64_t cut;     /* units so far */
    uint64_t written; /* units so far */
    bool all_cut;
    bool finishing; /* all is written: it is being synced and closed */
    /* Of whoever hashes; under the lock unless `hashing`. */
    bool hashing;
    uint64_t hashed;         /* units so far */
    struct tm_job *computed; /* waiting for their turn, in any order */
    struct tm_hasher whole;
    struct tm_hasher tensor;
    struct tm_hasher *sources; /* width of them */
    unsigned char *block;      /* that the next unit goes on with */
    unsigned char *middle;     /* of the base tensor: of its probe */
};

struct tm_pipeline {
    const struct tm_plan *plan;
    struct tm_disk *disk; /* workers only wake it */
    struct tm_results *results;
    enum tm_isa isa;

    pthread_mutex_t lock;
    pthread_cond_t work; /* `ready` has one, or `closed` */
    struct tm_jobs ready;
    struct tm_jobs hashed;
    struct tm_groups groups;
    struct tm_mark mark; /* of the unit that is marked; whose turn it is */
    size_t parked;       /* jobs in groups */
    bool closed;         /* no more work will come */
    enum tm_status status;
};

/* What one worker works with. */
struct tm_tools {
    struct tm_sum_input *inputs; /* width */
    const void **data;           /* width: of the chunk at hand */
    unsigned char *decoded;      /* the plan's budget.decoded bytes */
    unsigned char *converted;    /* base words of one chunk */
    struct tm_coder *coder;
    uint32_t *bins;   /* TM_DRIFT_BINS, all zero between chunks */
    uint64_t *filled; /* of each area so far */
    struct tm_strips strips;
    struct tm_work work; /* of a tensor that lies in one unit */
    double *sums;        /* of the blocks of such a one */
    uint64_t *ties;      /* of each select of it */
};

void tm_jobs_add(struct tm_jobs *jobs, struct tm_job *job);
struct tm_job *tm_jobs_take(struct tm_jobs *jobs);

/* What a worker does until the pipeline is closed. */
void tm_worker(struct tm_pipeline *pipeline);

/* A tile, or a chunk of one, with all that is the same for its elements. */
struct tm_part {
    struct tm_job *job;
    const struct tm_plan_tensor *tensor;
    const struct tm_source *sources;
    size_t tile;
    size_t number;  /* of the tensor */
    uint64_t first; /* element of the tensor */
    uint64_t count;
};

/*
 * sources.c: points tools->data at the part's elements of every source that
 * it has; NULL for the others. A part with a coded source is one chunk.
 * `place` (may be NULL) is where source 1 goes if it has to be decoded.
 * Errors: TM_BAD_DATA, reported: damage, or another base.
 */
enum tm_status tm_sources_get(struct tm_pipeline *pipeline,
                              struct tm_tools *tools,
                              const struct tm_part *part, void *place);

/*
 * The same for a tile as a whole, whose coded sources are decoded into their
 * places in the slot if they are not there yet.
 */
enum tm_status tm_sources_get_tile(struct tm_pipeline *pipeline,
                                   struct tm_tools *tools,
                                   const struct tm_part *tile);

/*
 * The words of the base that `dtype` words are coded against: `count` words
 * of source 0, converted and continued with zeros as docs/format.md has it.
 * NULL where there is no base.
 */
const void *tm_sources_base(struct tm_pipeline *pipeline,
                            struct tm_tools *tools, const struct tm_part *part,
                            enum tm_dtype dtype, uint64_t words);

/* compute.c: makes what the unit's slot has to hold beside its inputs. */
enum tm_status tm_compute(struct tm_pipeline *pipeline, struct tm_job *job,
                          struct tm_tools *tools);

/* Measures the unit's tile number `tile`; as tm_strips_measure. */
enum tm_status tm_tile_measure(struct tm_pipeline *pipeline,
                               struct tm_tools *tools, struct tm_job *job,
                               size_t tile, const struct tm_work *work,
                               double *sums);

/* Counts its ties; as tm_strips_count. */
enum tm_status tm_tile_count_ties(struct tm_pipeline *pipeline,
                                  struct tm_tools *tools, struct tm_job *job,
                                  size_t tile, const struct tm_work *work,
                                  uint64_t *ties);

/*
 * encode.c: encodes the chunk `part`, whose sources tools->data has, for every
 * vector that is to have it; `out` is what was computed, if anything.
 */
enum tm_status tm_encode(struct tm_pipeline *pipeline, struct tm_tools *tools,
                         const struct tm_part *part, const void *out);

/* hash.c: the unit's turn in its stream, in file order. */
enum tm_status tm_hash(struct tm_pipeline *pipeline, struct tm_stream *stream,
                       struct tm_job *job);

bool tm_stream_init(struct tm_stream *stream, size_t width);
void tm_stream_free(struct tm_stream *stream, size_t width);
/* Makes the hashers ready for output shard `shard`. */
void tm_stream_reset(struct tm_stream *stream, size_t width, size_t shard);

#endif
