/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vote: elections in which weights do not count (kernels/strip.h has the one
 * in which they do: tm_strip_elect).
 */
#ifndef TM_SRC_VOTE_H
#define TM_SRC_VOTE_H

#include <stddef.h>

#include "kernels/cpu.h"

/* Terms at most where there is a vote: their weights are kept on the stack. */
#define TM_VOTE_MOST 1024

/*
 * For each of n places, of those k values whose sign is that of the sum of all
 * (zero counts as positive):
 *
 *     sum[i]    = sum of weights[j] * x[j][i]
 *     weight[i] = sum of weights[j]
 *
 * Arrays are as in kernels/strip.h; `total` is one to work with.
 */
void tm_vote(enum tm_isa isa, const float *const *x, size_t k, size_t n,
             const float *weights, float *total, float *sum, float *weight);

#endif
