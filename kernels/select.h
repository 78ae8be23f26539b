/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select: the k largest magnitudes of many, exactly, without sorting.
 *
 * The bits of |x| as f32 are 31, and as integers they are in the order of the
 * magnitudes. Two histograms find the k-th: one of the upper 15 bits, then
 * one of the lower 16 among those whose upper bits are the k-th's. Of equal
 * magnitudes those that come first count as larger, so a selection is a
 * threshold and how many of the elements equal to it belong.
 *
 *     tm_select_high(counts, ...)     upper bits of every element
 *     tm_select_find_high(select)     whose lower bits are wanted
 *     tm_select_low(counts, ...)      lower bits of those
 *     tm_select_find_low(select)      done
 *
 * Counting is free of order; so is what is found.
 */
#ifndef TM_KERNELS_SELECT_H
#define TM_KERNELS_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"

#define TM_HIGH_BINS ((size_t)1 << 15)
#define TM_LOW_BINS  ((size_t)1 << 16)

/* Bits of |x| above this belong to infinities and NaNs. */
#define TM_FINITE_BITS UINT32_C(0x7f7fffff)

/*
 * The `wanted` largest. What is selected: magnitudes above `bits`, and the
 * first `quota` of those equal to it. With wanted = 0 nothing is: bits is
 * UINT32_MAX. With as many as there are everything is: bits 0, quota that of
 * all zeros.
 */
struct tm_select {
    uint64_t wanted;
    uint32_t bits;
    uint32_t high;  /* the upper 15 of them */
    uint64_t above; /* elements with larger upper bits */
    uint64_t quota;
    uint64_t equal; /* elements equal to the threshold, 0 <= quota <= equal */
};

/* Adds 1 to counts[|x[i]| >> 16] for each of n finite floats. */
void tm_select_high(enum tm_isa isa, const float *x, size_t n,
                    uint32_t *counts);

/* Adds 1 to counts[|x[i]| & 0xffff] for each whose upper bits are `high`. */
void tm_select_low(enum tm_isa isa, const float *x, size_t n, uint32_t high,
                   uint32_t *counts);

/*
 * Sets high and above for select->wanted, which is at most the sum of
 * `counts` (TM_HIGH_BINS of them).
 */
void tm_select_find_high(const uint64_t *counts, struct tm_select *select);

/* Sets bits, quota and equal; counts has TM_LOW_BINS of select->high. */
void tm_select_find_low(const uint64_t *counts, struct tm_select *select);

/*
 * The magnitude that `select` found, as a float; infinity where nothing is
 * selected.
 */
float tm_select_value(const struct tm_select *select);

/* Elements of x equal to the threshold in magnitude. */
uint64_t tm_select_equal(enum tm_isa isa, const float *x, size_t n,
                         const struct tm_select *select);

/*
 * Sets to +0 what `select` does not select (`keep`), or what it does (not
 * `keep`). *ties: how many elements equal to the threshold came before; what
 * is met is added.
 */
void tm_select_apply(enum tm_isa isa, float *x, size_t n,
                     const struct tm_select *select, bool keep, uint64_t *ties);

/*
 * The same decided by the magnitudes of `key`, of as many elements:
 * x[i] is set to zero by what select says of key[i].
 */
void tm_select_apply_by(enum tm_isa isa, const float *key, float *x, size_t n,
                        const struct tm_select *select, bool keep,
                        uint64_t *ties);

#endif
