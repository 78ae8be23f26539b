/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strip_kernels: what an instruction set provides for strip.c, and nobody
 * else.
 *
 * Every number of elements is a multiple of TM_STRIP_STEP. Arrays of floats
 * are as in strip.h; elements of a tensor may be at any address.
 */
#ifndef TM_KERNELS_STRIP_KERNELS_H
#define TM_KERNELS_STRIP_KERNELS_H

#include "kernels/strip.h"
#include "kernels/sum_kernels.h"

/* The longest vector, in floats: less is for strip.c to add up. */
#define TM_STRIP_STEP 16

/* Element i is added to lane i % 8. */
#define TM_STRIP_LANES 8

/* out[i] = widen(x[i]). Returns whether all of them are finite. */
typedef bool tm_strip_load(const void *x, size_t n, float *out);

struct tm_strip_kernels {
    tm_strip_load *widen[TM_NUM_SHORT];

    /* Of fewer than 2^32 elements. */
    uint32_t (*count_nonzero)(const float *x, size_t n);
    void (*dots)(const float *const *x, size_t k, size_t n,
                 double (*sums)[TM_STRIP_LANES]);
    void (*sum_magnitudes)(const float *x, size_t n, double *sum);
    void (*sum_squares)(const float *x, size_t n, double *sum);
    void (*sum_above)(const float *x, size_t n, uint32_t high, double *sum);

    void (*sum_squares_by)(const float *x, const float *by, size_t n,
                           float least, double *above, double *equal);
    /* counts[0] and counts[1] are set. */
    void (*count_shared)(const float *x, const float *count, size_t n,
                         float epsilon, uint32_t *counts);

    void (*scale)(float *x, size_t n, float c);
    void (*add)(float *s, const float *x, size_t n, float c);
    void (*add_first)(float *s, const float *x, size_t n, float c);
    void (*elect)(const float *const *x, const float *w, size_t k, size_t n,
                  float *s);
    void (*elect_normalized)(const float *const *x, const float *w, size_t k,
                             size_t n, float *s);
    void (*mask_least)(float *x, const float *by, size_t n, float least);
    void (*choose)(float *s, const float *x, const float *other,
                   const float *by, size_t n, float least);
    void (*divide_least)(float *s, const float *by, size_t n, float least);
    void (*divide)(float *s, const float *by, size_t n);
    void (*vote)(const float *const *x, const float *w, size_t k, size_t n,
                 float *s, float *v);
    void (*largest)(const float *const *x, size_t k, size_t n, float *s);
    void (*add_active)(float *s, const float *x, const float *count, size_t n,
                       float epsilon, float factor);
    void (*count_needed)(float *count, const float *x, const float *total,
                         size_t n, float share);
    void (*variance)(const float *const *x, size_t k, size_t n, float *out);
    void (*count_active)(const float *const *x, size_t k, size_t n,
                         float epsilon, float *count);
    /* t is not negative. */
    void (*near)(float *x, size_t n, float t);
};

extern const struct tm_strip_kernels tm_strip_portable;
extern const struct tm_strip_kernels tm_strip_neon;
extern const struct tm_strip_kernels tm_strip_avx2;
extern const struct tm_strip_kernels tm_strip_avx512;

#endif
