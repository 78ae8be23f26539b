/* SPDX-License-Identifier: Apache-2.0 */
/*
 * row: what merge methods need of a row of a matrix as a whole. Arrays are as
 * in strip.h.
 */
#ifndef TM_KERNELS_ROW_H
#define TM_KERNELS_ROW_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"

/* Words of scratch for n elements: for ranks, and for a divergence. */
#define TM_ROW_SCRATCH(n) (4 * (n) + 32)

/*
 * rank[i] = the place of |x[i]| among the n in ascending order, from 0; of
 * equal magnitudes the one with the lower index comes first. `scratch` has
 * TM_ROW_SCRATCH(n) words. n < 2^32; x is finite.
 */
void tm_row_rank(enum tm_isa isa, const float *x, size_t n, uint32_t *rank,
                 uint32_t *scratch);

/*
 * The divergence of two rows as Arcee Fusion has it: with p = softmax(x) +
 * 1e-8 and q = softmax(base) + 1e-8, the sum of p * log(p / q), in double.
 * The exponential and the logarithm are its own and the order of the sums is
 * fixed, so that the result depends neither on the C library nor on the CPU.
 * `scratch` has TM_ROW_SCRATCH(n) words, aligned to 8 bytes.
 */
double tm_row_divergence(enum tm_isa isa, const float *x, const float *base,
                         size_t n, double *scratch);

/* out[i] = (float)(factor * |x[i] - base[i]|), the difference in float */
void tm_row_weigh(enum tm_isa isa, const float *x, const float *base, size_t n,
                  double factor, float *out);

#endif
