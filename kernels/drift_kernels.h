/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drift_kernels: what an instruction set provides for drift.c, and nobody
 * else.
 *
 * Every number of elements is a multiple of TM_SUM_STEP. Inputs may be at any
 * address; t is aligned as a cache line.
 */
#ifndef TM_KERNELS_DRIFT_KERNELS_H
#define TM_KERNELS_DRIFT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/sum_kernels.h"

#define TM_DRIFT_LANES 8

/* What a block's elements have added up to, by their number modulo 8. */
struct tm_drift_lanes {
    double sum[TM_DRIFT_LANES];
    double absolute[TM_DRIFT_LANES];
    double squares[TM_DRIFT_LANES];
};

/*
 * t[i] = widen(tuned[i]) - widen(base[i]). Returns the bits of the largest
 * magnitude: those of infinity or more where a t[i] is infinite or NaN.
 */
typedef uint32_t tm_drift_subtract(const void *base, const void *tuned,
                                   size_t n, float *t);

/*
 * Adds the elements of t, all of them finite, to the lanes: t[0] to lane 0.
 * Writes the bits of the magnitudes that are not zero to `changed`, in no
 * particular order, and returns how many they are; `changed` has room for
 * n + TM_SUM_STEP.
 */
typedef size_t tm_drift_add(const float *t, size_t n,
                            struct tm_drift_lanes *lanes, uint32_t *changed);

struct tm_drift_kernels {
    tm_drift_subtract *subtract[TM_NUM_SHORT][TM_NUM_SHORT];
    tm_drift_add *add;
};

extern const struct tm_drift_kernels tm_drift_portable;
extern const struct tm_drift_kernels tm_drift_neon;
extern const struct tm_drift_kernels tm_drift_avx2;
extern const struct tm_drift_kernels tm_drift_avx512;

#endif
