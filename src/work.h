/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work: the state of a method while it makes one tensor (struct tm_work of
 * src/method.h), in memory that serves one tensor after the other.
 *
 *     init; { begin; { clear; ... add; ... conclude } ... } ...; free
 */
#ifndef TM_SRC_WORK_H
#define TM_SRC_WORK_H

#include <stdbool.h>

#include "src/plan.h"

/* Allocates for any tensor of the plan; false: no memory. */
bool tm_work_init(struct tm_work *work, const struct tm_plan *plan);
void tm_work_free(struct tm_work *work);

/* Memory that tm_work_init takes. */
uint64_t tm_work_memory(const struct tm_plan *plan);

/* Begins with tensor number `tensor`, which is merged, in its first phase. */
void tm_work_begin(struct tm_work *work, const struct tm_plan *plan,
                   size_t tensor);

/* Sums and counts are zero again. */
void tm_work_clear(struct tm_work *work);

/* Adds the sums of `blocks` blocks, as many each as the work has, in order. */
void tm_work_add(struct tm_work *work, const double *sums, uint64_t blocks);

/* How many sums, counts and selects the tensor of the work has. */
struct tm_work_sizes tm_work_sizes(const struct tm_work *work);

/*
 * The phase is over: draws the conclusions and goes on to the next. Errors:
 * TM_BAD_DATA, reported.
 */
enum tm_status tm_work_conclude(struct tm_work *work);

/*
 * Draws the conclusions from a phase about the whole model, whose sums and
 * counts `model` has.
 */
enum tm_status tm_work_conclude_model(struct tm_work *work,
                                      const struct tm_work *model);

/* Whether it matters which of equal magnitudes come first. */
bool tm_work_has_ties(const struct tm_work *work);

#endif
