/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drift: how far a fine-tune went from its base, measured while both are in
 * the cache (docs/format.md, statistics).
 *
 *     t_i = widen(x_i) - widen(b_i)      as merging computes it: in double
 *                                        where a type is F64, else in float
 */
#ifndef TM_KERNELS_DRIFT_H
#define TM_KERNELS_DRIFT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"
#include "kernels/dtype.h"

/* Sums are made over blocks of so many elements, then added in order. */
#define TM_DRIFT_BLOCK ((size_t)65536)

/* Elements measured at once, at most: four blocks. */
#define TM_DRIFT_MOST (4 * TM_DRIFT_BLOCK)

/*
 * |t| as f32, rounded toward zero, without sign and all but 7 bits of its
 * mantissa: 8 + 7 bits choose the counter.
 */
#define TM_DRIFT_MANTISSA_BITS 7
#define TM_DRIFT_BINS          ((size_t)1 << (8 + TM_DRIFT_MANTISSA_BITS))

struct tm_drift {
    uint64_t changed; /* elements whose t is not zero */
    double largest;   /* |t| */
    /* Of each block; zero where there is none. */
    double sum[4];
    double absolute[4];
    double squares[4];
};

/*
 * Measures `n` elements (at most TM_DRIFT_MOST; any address). Fills in
 * `drift` and adds 1 to counts[bin] for each element that changed. Infinite
 * and NaN values of t count nowhere. Within a block sums are made in double,
 * in 8 lanes: lane k adds the elements k, k + 8, ... of the block, and the
 * block's sum is ((0+4)+(2+6))+((1+5)+(3+7)) of its lanes, so that every
 * instruction set gives the same bits. Both types are floats (dtype.h).
 */
void tm_drift_measure(enum tm_isa isa, enum tm_dtype base_dtype,
                      const void *base, enum tm_dtype dtype, const void *tuned,
                      size_t n, struct tm_drift *drift, uint32_t *counts);

#endif
