/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recorded: what stored vectors have written down about themselves, which
 * spares a method the sweep in which it measures the whole model.
 */
#ifndef TM_SRC_RECORDED_H
#define TM_SRC_RECORDED_H

#include <stdbool.h>

#include "src/plan.h"

/*
 * Whether all terms of all tensors that are measured are stored vectors with
 * statistics that are fine enough, and of nothing else.
 */
bool tm_recorded_is_enough(const struct tm_plan *plan);

/* Gives the work about the model what they recorded; false: no memory. */
bool tm_recorded_recall(const struct tm_plan *plan, struct tm_work *work);

#endif
