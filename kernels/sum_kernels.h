/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum_kernels: what an instruction set provides for sum.c, and nobody else.
 *
 * Every function takes a number of elements that is a multiple of
 * TM_SUM_STEP; what is left is for tm_sum_exact(). None looks at alignment.
 */
#ifndef TM_KERNELS_SUM_KERNELS_H
#define TM_KERNELS_SUM_KERNELS_H

#include <float.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernels/sum.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checkpoints are little-endian, and this program reads them as they are"
#endif
#if FLT_EVAL_METHOD != 0
#error "float must be computed as float: on 32-bit x86 use -msse2 -mfpmath=sse"
#endif

/*
 * A block's partial sums are 8 KiB: with as much of base, an input and the
 * output they stay in an L1 cache of 32 KiB.
 */
#define TM_SUM_BLOCK 2048

/* Streams a core's prefetchers follow at once, less base and output. */
#define TM_SUM_GROUP 8

/* Four of the widest vectors (16 floats). */
#define TM_SUM_STEP 64

/* The floating-point types up to F32: those computed in float. */
#define TM_NUM_SHORT TM_F64

/*
 * s[i] += w[0] * (x[0][i] - base[i]), then the same for x[1] ... x[count - 1];
 * s counts as zero if `first`.
 */
typedef void tm_sum_accumulate(const void *base, const void *const *x,
                               const float *w, size_t count, size_t n, float *s,
                               bool first);

/*
 * out[i] = round(base[i] + s[i]). Returns whether an out[i] is not finite;
 * then the contents of out mean nothing.
 */
typedef bool tm_sum_finish(const void *base, const float *s, void *out,
                           size_t n);

/* Both at once, for a base, inputs and output of one type. */
typedef bool tm_sum_fused(const void *base, const void *const *x,
                          const float *w, size_t count, size_t n, void *out);

typedef void tm_sum_widen(const void *src, size_t n, double *dst);
typedef bool tm_sum_narrow(const double *src, size_t n, void *out);

struct tm_sum_kernels {
    /* float: [base][input] and [base][output] */
    tm_sum_accumulate *accumulate[TM_NUM_SHORT][TM_NUM_SHORT];
    tm_sum_finish *finish[TM_NUM_SHORT][TM_NUM_FLOATS];
    tm_sum_fused *fused[TM_NUM_SHORT];

    /* double: by way of buffers of doubles, since it is rare */
    tm_sum_widen *widen[TM_NUM_FLOATS];
    void (*accumulate64)(const double *base, const double *x, double w,
                         size_t n, double *s);
    void (*finish64)(const double *base, size_t n, double *s);
    tm_sum_narrow *narrow[TM_NUM_FLOATS];
};

extern const struct tm_sum_kernels tm_sum_portable;
extern const struct tm_sum_kernels tm_sum_neon;
extern const struct tm_sum_kernels tm_sum_avx2;
extern const struct tm_sum_kernels tm_sum_avx512;

/*
 * The elements [start, start + n) of `task` by the book, one by one, with
 * counts; `wide` says that the working type is double.
 */
void tm_sum_exact(const struct tm_sum_task *task, bool wide, size_t start,
                  size_t n, struct tm_sum_stats *stats);

/*
 * The same for sums that are there already: out[i] = round(widen(base[i]) +
 * s[i]), with double as the working type where the base is F64.
 */
void tm_sum_exact_add(enum tm_dtype base_dtype, const void *base,
                      const float *s, size_t n, enum tm_dtype out_dtype,
                      void *out, struct tm_sum_stats *stats);

/* The bits of the double that element i of `data` widens to. */
uint64_t tm_sum_exact_widen(enum tm_dtype dtype, const void *data, size_t i);

#endif
