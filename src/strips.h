/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strips: a tile goes through a method strip by strip (src/method.h).
 *
 * The inputs of a strip are widened, or taken from the base, into arrays that
 * stay in the cache; the method measures them, counts ties in them, or makes
 * the output of them. The arrays are one worker's.
 */
#ifndef TM_SRC_STRIPS_H
#define TM_SRC_STRIPS_H

#include <stdbool.h>

#include "kernels/sum.h"
#include "src/plan.h"

struct tm_strips {
    enum tm_isa isa;
    float *memory;
    float **x; /* of each term */
    float *base;
    float *out;
    float *spare[2];
    uint32_t *scratch;
    double (*lanes)[TM_LANES]; /* of each sum */
    uint32_t *counts;          /* zero between calls */
};

/* Elements of a tensor and where its inputs have them. */
struct tm_strips_task {
    const struct tm_work *work;
    const struct tm_plan *plan; /* for messages */
    const struct tm_plan_tensor *tensor;
    const struct tm_source *sources; /* for their types */
    const void *const *data;         /* of each column: element `first` on */
    uint64_t first;
    uint64_t count; /* multiple of the tensor's step, or up to its end */
};

bool tm_strips_init(struct tm_strips *strips, const struct tm_plan *plan,
                    enum tm_isa isa);
void tm_strips_free(struct tm_strips *strips);

/* Memory that tm_strips_init takes. */
uint64_t tm_strips_memory(const struct tm_plan *plan);

/*
 * Measures the task's elements. The sums of each block go to `sums`, block
 * after block, as many as the work has; what is counted is left in
 * strips->counts, for tm_strips_add_counts. Errors: TM_BAD_DATA, reported: an
 * element that is not finite.
 */
enum tm_status tm_strips_measure(struct tm_strips *strips,
                                 const struct tm_strips_task *task,
                                 double *sums);

/* Adds strips->counts to the work's and clears them. */
void tm_strips_add_counts(struct tm_strips *strips, struct tm_work *work);

/* Adds the task's ties to ties[select]. */
enum tm_status tm_strips_count(struct tm_strips *strips,
                               const struct tm_strips_task *task,
                               uint64_t *ties);

/*
 * Makes the task's output at `out`. `ties` as struct tm_strip has it; what is
 * met is added.
 */
enum tm_status tm_strips_apply(struct tm_strips *strips,
                               const struct tm_strips_task *task,
                               uint64_t *ties, void *out,
                               struct tm_sum_stats *stats);

#endif
