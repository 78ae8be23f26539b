/* SPDX-License-Identifier: Apache-2.0 */
/*
 * results: what a run found out, for the manifest and the report.
 *
 * Filled in by the run: digests by the thread that hashes a shard, statistics
 * under the run's lock.
 */
#ifndef TM_SRC_RESULTS_H
#define TM_SRC_RESULTS_H

#include <stddef.h>
#include <stdint.h>

#include "io/digest.h"
#include "kernels/sum.h"
#include "src/made.h"
#include "src/plan.h"
#include "src/progress.h"

struct tm_results {
    struct tm_digest *shards;  /* one for each output shard */
    struct tm_digest *tensors; /* one for each output tensor */
    /* sources[t * plan->width + i]: of the input tensor, where there is one */
    struct tm_digest *sources;
    struct tm_sum_stats *stats; /* one for each output tensor */
    struct tm_made *made;       /* the plan's num_outputs vectors */
    size_t num_made;
    uint64_t bytes_read; /* of tensors, each byte once */
    uint64_t bytes_written;
    double seconds;
    enum tm_stage limit; /* what the run mostly waited for */
    size_t files_direct; /* openings of inputs past the page cache */
    size_t files_buffered;
};

enum tm_status tm_results_init(struct tm_results *results,
                               const struct tm_plan *plan);
void tm_results_free(struct tm_results *results);

/* Memory that tm_results_init takes. */
uint64_t tm_results_memory(const struct tm_plan *plan);

#endif
