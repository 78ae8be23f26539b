/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select_kernels: what an instruction set provides for select.c, and nobody
 * else. Arrays are as in strip.h; every number of elements is a multiple of
 * TM_SUM_STEP.
 */
#ifndef TM_KERNELS_SELECT_KERNELS_H
#define TM_KERNELS_SELECT_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/sum_kernels.h"

/* A selection while it is applied. */
struct tm_select_cut {
    uint32_t bits; /* the threshold, below 0x7fffffff */
    uint64_t left; /* how many of those equal to it are still selected */
    uint64_t met;  /* how many have been met */
};

/*
 * Counters of upper bits. Those of the bins [start, start + TM_SELECT_WINDOW)
 * come four times, so that increments of one do not wait for each other; see
 * select.c.
 */
#define TM_SELECT_WINDOW 2048u
#define TM_SELECT_SPARES 3

/*
 * Beside a multiple of 4096 bytes and of smaller powers of two, for which see
 * drift_count.h.
 */
#define TM_SELECT_STRIDE (TM_SELECT_WINDOW + (1024 + 64) / 2)

struct tm_select_window {
    uint32_t *counts; /* the caller's, of all bins */
    uint32_t start;
    uint16_t spare[TM_SELECT_SPARES][TM_SELECT_STRIDE];
};

/* What is counted at once, at most. */
#define TM_SELECT_SLAB ((size_t)1024)

/* The bits of the largest magnitude. */
typedef uint32_t tm_select_find_peak(const float *x, size_t n);

/*
 * Counts the upper bits of at most TM_SELECT_SLAB elements. Returns how many
 * of them are neither zero nor in the window.
 */
typedef size_t tm_select_count_high(struct tm_select_window *window,
                                    const float *x, size_t n);

/* Adds the spare counters to window->counts. */
typedef void tm_select_add_spares(struct tm_select_window *window);

/* As tm_select_low(); high < TM_HIGH_BINS. */
typedef void tm_select_count_low(const float *x, size_t n, uint32_t high,
                                 uint32_t *counts);

/* How many have a magnitude of these bits. */
typedef uint64_t tm_select_count_equal(const float *x, size_t n, uint32_t bits);

/* As tm_select_apply_by(), for cut->left and cut->met. */
typedef void tm_select_cut_by(const float *key, float *x, size_t n,
                              struct tm_select_cut *cut, bool keep);

struct tm_select_kernels {
    tm_select_find_peak *peak;
    tm_select_count_high *high;
    tm_select_add_spares *add_spares;
    tm_select_count_low *low;
    tm_select_count_equal *equal;
    tm_select_cut_by *cut;
};

extern const struct tm_select_kernels tm_select_portable;
extern const struct tm_select_kernels tm_select_neon;
extern const struct tm_select_kernels tm_select_avx2;
extern const struct tm_select_kernels tm_select_avx512;

/* The same one by one, for any number of elements. */
void tm_select_cut_exact(const float *key, float *x, size_t n,
                         struct tm_select_cut *cut, bool keep);

#endif
