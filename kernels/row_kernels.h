/* SPDX-License-Identifier: Apache-2.0 */
/* row_kernels: what an instruction set provides for row.c, and nobody else. */
#ifndef TM_KERNELS_ROW_KERNELS_H
#define TM_KERNELS_ROW_KERNELS_H

#include <stddef.h>

#include "kernels/row.h"

/* Sums are made in so many lanes: element i is added to lane i % 8. */
#define TM_ROW_LANES 8

/* What Arcee Fusion adds to every probability. */
#define TM_ROW_FLOOR 1e-8

/* The softmax of a row. */
struct tm_row_softmax {
    double *power; /* exp(x - most), most the largest of x */
    double scale;  /* 1 over the sum of these */
};

/* Every number of elements is a multiple of TM_ROW_LANES. */
struct tm_row_kernels {
    /* The bits, of all 32, in which an element differs from `first`. */
    uint32_t (*differ)(const float *x, size_t n, float first);
    /* The largest of x and `most`; of zeros any. */
    float (*most)(const float *x, size_t n, float most);
    /* power[i] = exp(x[i] - most), which is added to the lanes. */
    void (*add_exp)(const float *x, size_t n, double most, double *power,
                    double *lanes);
    /* Adds p * log(p / q) to the lanes. */
    void (*add_terms)(const struct tm_row_softmax *x,
                      const struct tm_row_softmax *base, size_t n,
                      double *lanes);
    /* out[i] = (float)(factor * |x[i] - base[i]|) */
    void (*weigh)(const float *x, const float *base, size_t n, double factor,
                  float *out);
};

extern const struct tm_row_kernels tm_row_portable;
extern const struct tm_row_kernels tm_row_neon;
extern const struct tm_row_kernels tm_row_avx2;
extern const struct tm_row_kernels tm_row_avx512;

#endif
