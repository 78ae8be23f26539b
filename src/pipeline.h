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
 */
#ifndef TM_SRC_PIPELINE_H
#define TM_SRC_PIPELINE_H

#include <pthread.h>
#include <stdbool.h>

#include "io/digest.h"
#include "src/budget.h"
#include "src/results.h"
#include "src/unit.h"

struct tm_job {
    struct tm_unit unit;
    unsigned char *slot;
    struct tm_transfer *transfers; /* reads, later writes */
    size_t pending;                /* of them */
    struct tm_stream *stream;
    uint64_t sequence; /* of the unit in its shard */
    struct tm_job *next;
};

/* First in, first out. */
struct tm_jobs {
    struct tm_job *first;
    struct tm_job *last;
    size_t count;
};

/* An output shard that is being written. */
struct tm_stream {
    bool open;
    size_t shard;
    struct tm_file file;
    struct tm_transfer sync;
    uint64_t cut;     /* units so far */
    uint64_t written; /* units so far */
    bool all_cut;
    /* Of whoever hashes; under the lock unless `hashing`. */
    bool hashing;
    uint64_t hashed;         /* units so far */
    struct tm_job *computed; /* waiting for their turn, in any order */
    struct tm_hasher whole;
    struct tm_hasher tensor;
    struct tm_hasher *sources; /* width of them */
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
    size_t computing; /* jobs that workers or streams hold */
    bool closed;      /* no more work will come */
    enum tm_status status;
};

void tm_jobs_add(struct tm_jobs *jobs, struct tm_job *job);
struct tm_job *tm_jobs_take(struct tm_jobs *jobs);

/* What a worker does until the pipeline is closed. */
void tm_worker(struct tm_pipeline *pipeline);

/* compute.c: makes the unit's output in its slot from its inputs there. */
enum tm_status tm_compute(struct tm_pipeline *pipeline,
                          const struct tm_job *job,
                          struct tm_sum_input *scratch);

/* hash.c: adds the unit to the digests of its stream, in file order. */
void tm_hash(struct tm_pipeline *pipeline, struct tm_stream *stream,
             const struct tm_job *job);

bool tm_stream_init(struct tm_stream *stream, size_t width);
void tm_stream_free(struct tm_stream *stream, size_t width);
/* Makes the hashers ready for output shard `shard`. */
void tm_stream_reset(struct tm_stream *stream, size_t width, size_t shard);

#endif
