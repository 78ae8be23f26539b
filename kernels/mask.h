/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mask: random numbers that depend on nothing but a key and an element's
 * number, so that they are the same for every tile, thread and machine.
 *
 * The number of element e is word e % 4 of Philox4x32-10 (Salmon et al.,
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011) with the counter
 * {lower, upper word of e / 4, 0, 0}, as a float in [0, 1): (word >> 8) times
 * 2^-24. Arrays are as in strip.h.
 */
#ifndef TM_KERNELS_MASK_H
#define TM_KERNELS_MASK_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"

struct tm_mask {
    uint32_t key[2];
};

/* The mask of a hash of all that it is to depend on (docs/numerics.md). */
static inline struct tm_mask tm_mask_of(uint64_t hash)
{
    return (struct tm_mask){{(uint32_t)hash, (uint32_t)(hash >> 32)}};
}

/* out[i] = the number of element first + i. */
void tm_mask_uniform(enum tm_isa isa, struct tm_mask mask, uint64_t first,
                     size_t n, float *out);

/* Sets x[i] to +0 unless the number of element first + i is below `density`.
 */
void tm_mask_drop(enum tm_isa isa, struct tm_mask mask, uint64_t first,
                  size_t n, float density, float *x);

#endif
