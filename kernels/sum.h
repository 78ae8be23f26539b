/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum: the kernel of the linear family, a weighted sum of task vectors added
 * to a base in one pass over memory (docs/numerics.md, version 1):
 *
 *     t_i = widen(x_i) - widen(b)        0 where the widened bits are equal
 *     s   = fma(w_K, t_K, ... fma(w_1, t_1, 0))
 *     out = round(widen(b) + s)          b itself where s is zero
 *
 * The working type is double where the base or an input is F64, else float.
 * A weight is rounded once to the working type. A NaN result is the canonical
 * quiet NaN of the output type; overflow is infinity, or NaN in F8_E4M3.
 * Where s is zero and the output type is the base's, out is b's own bits,
 * whatever they are; where the types differ it is round(widen(b)).
 *
 * How it is done: TM_SUM_BLOCK elements at a time. Where base, inputs and
 * output have one type and the inputs are one group, one loop does it all.
 * Otherwise `accumulate` adds up to TM_SUM_GROUP inputs of one type at a time
 * to partial sums that stay in the L1 cache, and `finish` adds the base and
 * rounds. Neither looks at infinities or NaNs: an element that involves one
 * always ends as a non-finite output, the kernel tells that the block has
 * one, and the block is then done again by the exact scalar code, which also
 * counts. So the numbers that matter cost nothing, and the rare ones are
 * right.
 */
#ifndef TM_KERNELS_SUM_H
#define TM_KERNELS_SUM_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"
#include "kernels/dtype.h"

struct tm_sum_input {
    const void *data; /* n elements, at any address */
    enum tm_dtype dtype;
    double weight;
};

struct tm_sum_task {
    const void *base; /* n elements, at any address */
    enum tm_dtype base_dtype;
    const struct tm_sum_input *inputs; /* in recipe order */
    size_t num_inputs;                 /* may be 0: out = round(base) */
    void *out; /* n elements, at any address; overlaps none of the above */
    enum tm_dtype out_dtype;
    size_t n;
};

/* Counts of elements; added to, never reset. */
struct tm_sum_stats {
    uint64_t nonfinite_inputs;  /* NaN or infinite, in base and inputs */
    uint64_t nonfinite_outputs; /* NaN or infinite */
    uint64_t overflows; /* of those, with finite base and inputs throughout */
};

static inline void tm_sum_stats_add(struct tm_sum_stats *all,
                                    const struct tm_sum_stats *stats)
{
    all->nonfinite_inputs += stats->nonfinite_inputs;
    all->nonfinite_outputs += stats->nonfinite_outputs;
    all->overflows += stats->overflows;
}

/* Runs `task` with the instruction set `isa`. All types are floats. */
void tm_sum(enum tm_isa isa, const struct tm_sum_task *task,
            struct tm_sum_stats *stats);

#endif
