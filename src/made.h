/* SPDX-License-Identifier: Apache-2.0 */
/*
 * made: stored vectors in the making (docs/format.md).
 *
 * Chunks are encoded by many threads, each into its unit's slot. When a unit
 * has its turn, its chunks are appended to the vectors' shards: their places
 * in the files are only known then. What stands in front of the data, the
 * header, is written last, into space that was left for it, and the index
 * behind the data just before it.
 *
 *     tm_made_init -> tm_made_append, unit by unit -> tm_made_finish
 */
#ifndef TM_SRC_MADE_H
#define TM_SRC_MADE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/digest.h"
#include "io/vector.h"
#include "kernels/drift.h"
#include "src/plan.h"
#include "src/staging.h"

struct tm_job;
struct tm_results;

/* A chunk that was encoded. */
struct tm_piece {
    size_t tensor;
    size_t output;
    uint64_t chunk; /* of the tensor */
    size_t length;
    enum tm_coding coding;
    uint64_t words;
    uint64_t digest; /* of the words */
    struct tm_drift drift;
};

/* Words and bytes in each coding: for the report. */
struct tm_made_counts {
    uint64_t tuned_bytes[TM_NUM_CODINGS];
    uint64_t stored_bytes[TM_NUM_CODINGS];
    size_t tensors[3]; /* by enum tm_vector_state; of all shards together */
};

/* One stream's: shards are made at the same time. */
struct tm_made_shard {
    const char *path; /* of the file, for messages */
    struct tm_file file;
    uint64_t header_bytes; /* reserved in front */
    uint64_t position;     /* where the next chunk goes */
    unsigned char *block;  /* what the block at the position begins with */
    struct tm_hasher data; /* of what is behind the header */
    struct tm_digest header_digest;
    struct tm_digest data_digest;
    uint64_t bytes;          /* of the finished file */
    struct tm_hasher chunks; /* of the digests of a tensor's chunks so far */
    struct tm_made_counts counts;
    uint64_t marked; /* the position at the last mark (src/mark.h) */
    bool is_touched; /* chunks have come since then, if only empty ones */
    uint64_t synced; /* the position up to which that was made durable */
};

struct tm_made {
    const struct tm_plan *plan;
    const struct tm_output *output;
    struct tm_made_shard *shards;
    struct tm_coded *records; /* as many as output->records */
    struct tm_vector_stats *stats;
    uint32_t *lengths;
    /*
     * Histograms, TM_DRIFT_BINS counters each; under the run's lock. Units add
     * to that of their generation, which changes at each mark: so the one of
     * the mark's has nothing of the units behind it.
     */
    uint64_t *counts[2];
};

/* Adds the counts of one generation to the other's, where all then are. */
void tm_made_settle(struct tm_made *made, unsigned generation);

/* The counts of all shards together. */
struct tm_made_counts tm_made_count(const struct tm_made *made);

/* Memory that tm_made_init takes for all of the plan's vectors. */
uint64_t tm_made_memory(const struct tm_plan *plan);

/* The vector `output` of the plan, before its first chunk. TM_SYSTEM. */
enum tm_status tm_made_init(struct tm_made *made, const struct tm_plan *plan,
                            const struct tm_output *output);
void tm_made_free(struct tm_made *made);

/* Creates the files; the staging directory must be there. */
enum tm_status tm_made_create(struct tm_made *made, struct tm_disk *disk,
                              struct tm_staging *staging,
                              enum tm_direct direct);

/*
 * Appends what the job's unit has for this vector, number `output` of the
 * plan: notes the chunks and adds to job->writes what is to be written. Units
 * come in order.
 */
void tm_made_append(struct tm_made *made, size_t output, struct tm_job *job);

/* Notes that tensor `number` of the plan is complete, with its digests. */
void tm_made_complete(struct tm_made *made, size_t output, size_t number,
                      const struct tm_results *results, uint64_t probe);

/* Writes indexes and headers and syncs; all writes are done. */
enum tm_status tm_made_finish(struct tm_made *made, struct tm_disk *disk);

/* Closes what a failure left open. */
void tm_made_close(struct tm_made *made, struct tm_disk *disk);

#endif
