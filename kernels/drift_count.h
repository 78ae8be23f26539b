/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drift_count: the counters of drift.h, faster than one at a time.
 *
 * A fine-tune moves many weights by one unit in the last place, so a few
 * counters take most of the increments, and an increment has to wait for the
 * one before it of the same counter: 8 cycles on an Intel server, where those
 * of different counters take 1. So three of four magnitudes are counted
 * elsewhere, each in a place of its own, and added up at the end.
 *
 * Order of calls: begin; add ...; end.
 */
#ifndef TM_KERNELS_DRIFT_COUNT_H
#define TM_KERNELS_DRIFT_COUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TM_DRIFT_SPARES 3

/* The bins of magnitudes below 2. Larger ones hardly occur and go directly. */
#define TM_DRIFT_SPARE_BINS ((size_t)0x4000)

/*
 * Processors take a load for one of what was just stored where only the lowest
 * 12 bits of the address are the same: so a bin's counters must not be a
 * multiple of 4096 bytes apart. 64 bytes beside a multiple of 256 keeps apart
 * the powers of two as well.
 */
#define TM_DRIFT_SPARE_STRIDE (TM_DRIFT_SPARE_BINS + (1024 + 64) / 2)

/* 99 KiB, for the stack: some C libraries give a thread only 128 KiB. */
struct tm_drift_counters {
    uint32_t *counts; /* the caller's */
    bool spread;      /* whether the others are used, and have been cleared */
    uint16_t spare[TM_DRIFT_SPARES][TM_DRIFT_SPARE_STRIDE];
};

/* For at most `n` magnitudes in all; `n` is TM_DRIFT_MOST at most. */
void tm_drift_counters_begin(struct tm_drift_counters *c, uint32_t *counts,
                             size_t n);

/* Counts magnitudes, given as the bits of an f32; `peak` is the largest. */
void tm_drift_counters_add(struct tm_drift_counters *c,
                           const uint32_t *magnitudes, size_t n, uint32_t peak);

void tm_drift_counters_end(struct tm_drift_counters *c);

#endif
