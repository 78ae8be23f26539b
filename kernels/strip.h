/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strip: operations on short arrays of floats that stay in the cache, which
 * merge methods are put together from (src/method.h).
 *
 * Arrays are aligned to 64 bytes and end on a multiple of 64 elements; what
 * is behind the n-th may be read and written, but never counts. Arrays may be
 * the same one where the result is written, element for element. Products and
 * sums are rounded one by one (nothing is fused), so every instruction set
 * gives the same bits; sums over elements are made in double, in 8 lanes:
 * element i is added to lane i % 8, in order of i, and n elements begin with
 * lane 0. Elements are finite, except where something else is said: the bits
 * of a NaN that is computed differ between processors.
 */
#ifndef TM_KERNELS_STRIP_H
#define TM_KERNELS_STRIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"
#include "kernels/dtype.h"
#include "kernels/sum.h"

/* --- from and to elements of a tensor ------------------------------------*/

/*
 * out[i] = widen(x[i]), rounded to float where x is F64 (docs/numerics.md: so
 * a NaN keeps its payload, or is the canonical one if it was F64). Returns
 * whether all of them are finite. `x` at any address.
 */
bool tm_strip_widen(enum tm_isa isa, enum tm_dtype dtype, const void *x,
                    size_t n, float *out);

/*
 * out[i] = widen(x[i]) - widen(base[i]): computed in float, or in double and
 * then rounded where one of them is F64; +0 where the widened bits are equal,
 * whatever they are. A NaN is the canonical one. Returns whether all of them
 * are finite. `base` and `x` at any address.
 */
bool tm_strip_differ(enum tm_isa isa, enum tm_dtype base_dtype,
                     const void *base, enum tm_dtype dtype, const void *x,
                     size_t n, float *out);

/*
 * out[i] = round(widen(base[i]) + s[i]) as sum.h has it, in double where
 * base is F64: base's own bits where s[i] is zero and the types are one.
 * `base` NULL: out[i] = round(s[i]). s is finite. Counts as sum.h does, but
 * for nonfinite inputs only the base's. `base` and `out` at any address; they
 * do not overlap.
 */
void tm_strip_finish(enum tm_isa isa, enum tm_dtype base_dtype,
                     const void *base, const float *s, size_t n,
                     enum tm_dtype out_dtype, void *out,
                     struct tm_sum_stats *stats);

/* --- reductions ----------------------------------------------------------*/

/* The pair (i, j), i <= j, of k arrays, among all k * (k + 1) / 2. */
static inline size_t tm_pair(size_t k, size_t i, size_t j)
{
    return i * k - i * (i + 1) / 2 + j;
}

/* sums[tm_pair(k, i, j)] += x[i] . x[j] for all i <= j < k. */
void tm_strip_dots(enum tm_isa isa, const float *const *x, size_t k, size_t n,
                   double (*sums)[8]);

/* *sum += sum of |x[i]|, and of x[i]^2. */
void tm_strip_sum_magnitudes(enum tm_isa isa, const float *x, size_t n,
                             double *sum);
void tm_strip_sum_squares(enum tm_isa isa, const float *x, size_t n,
                          double *sum);

/* *sum += sum of |x[i]| of those whose bits >> 16, sign aside, exceed high. */
void tm_strip_sum_above(enum tm_isa isa, const float *x, size_t n,
                        uint32_t high, double *sum);

/*
 * by[i] is not negative. *above += sum of x[i]^2 where by[i] is above `least`,
 * *equal += the same where it is equal to it.
 */
void tm_strip_sum_squares_by(enum tm_isa isa, const float *x, const float *by,
                             size_t n, float least, double *above,
                             double *equal);

/* Elements that are not zero. */
uint64_t tm_strip_count_nonzero(enum tm_isa isa, const float *x, size_t n);

/* --- element by element --------------------------------------------------*/

/* x[i] = x[i] * c */
void tm_strip_scale(enum tm_isa isa, float *x, size_t n, float c);

/* s[i] = s[i] + c * x[i]; with `first`, s[i] = c * x[i] */
void tm_strip_add(enum tm_isa isa, float *s, const float *x, size_t n, float c,
                  bool first);

/* x[i] = 0 unless by[i] >= least */
void tm_strip_mask_least(enum tm_isa isa, float *x, const float *by, size_t n,
                         float least);

/* s[i] = by[i] >= least ? x[i] : other[i] */
void tm_strip_choose(enum tm_isa isa, float *s, const float *x,
                     const float *other, const float *by, size_t n,
                     float least);

/* s[i] = s[i] / max(by[i], least); none of these is negative, least > 0. */
void tm_strip_divide_least(enum tm_isa isa, float *s, const float *by, size_t n,
                           float least);

/* s[i] = s[i] / by[i], or s[i] where that is zero. */
void tm_strip_divide(enum tm_isa isa, float *s, const float *by, size_t n);

/*
 * The consensus of TIES as mergekit has it (Yadav et al., NeurIPS 2023,
 * section 3): with d_k = x[k], which come weighted,
 *
 *     major  = +1 if sum d_k >= 0 else -1
 *     s      = sum over k with sign(d_k) = major of d_k
 *     v      = sum over the same k of w[k], 1 where that is 0
 *     s      = normalize ? s / v : s
 *
 * Sums in order of k, in float.
 */
void tm_strip_elect(enum tm_isa isa, const float *const *x, const float *w,
                    size_t k, size_t n, bool normalize, float *s);

/*
 * An election in which weights do not count: of those x[k] whose sign is that
 * of the sum of all, as in tm_strip_elect,
 *
 *     s      = sum of w[k] * x[k]
 *     v      = sum of w[k]
 */
void tm_strip_vote(enum tm_isa isa, const float *const *x, const float *w,
                   size_t k, size_t n, float *s, float *v);

/*
 * EMR: s[i] = of the k values with the sign of their sum (zero counts as
 * negative) the largest in magnitude, +0 where there is none.
 */
void tm_strip_largest(enum tm_isa isa, const float *const *x, size_t k,
                      size_t n, float *s);

/*
 * The variance of the k values at each place, over k (population), as a
 * float of what double gives: with d_j = x[j] - x[0],
 *
 *     (k * sum d_j^2 - (sum d_j)^2) * (1 / k^2)
 *
 * whose difference is at least a k-th of the first product, so that little is
 * lost. Zero exactly where all values are equal.
 */
void tm_strip_variance(enum tm_isa isa, const float *const *x, size_t k,
                       size_t n, float *out);

/* count[i] = how many of |x[k][i]| > epsilon, as a float. */
void tm_strip_count_active(enum tm_isa isa, const float *const *x, size_t k,
                           size_t n, float epsilon, float *count);

/*
 * Of the elements |x[i]| > epsilon: *alone += those with count[i] < 2, *shared
 * += the others. `count` is not negative; n < 2^32.
 */
void tm_strip_count_shared(enum tm_isa isa, const float *x, const float *count,
                           size_t n, float epsilon, uint32_t *alone,
                           uint32_t *shared);

/*
 * RAM: where |x[i]| > epsilon, s[i] = s[i] + x[i] * factor if count[i] < 2,
 * else s[i] + x[i] / count[i].
 */
void tm_strip_add_active(enum tm_isa isa, float *s, const float *x,
                         const float *count, size_t n, float epsilon,
                         float factor);

/* count[i] = count[i] + 1 where |x[i]| > share * |total[i] - x[i]| */
void tm_strip_count_needed(enum tm_isa isa, float *count, const float *x,
                           const float *total, size_t n, float share);

/*
 * NearSwap: x[i] = x[i] * clamp(t / max(|x[i]|, 1e-6), 0, 1).
 */
void tm_strip_near(enum tm_isa isa, float *x, size_t n, float t);

#endif
