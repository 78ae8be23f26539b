/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chance: dropping elements of a row at random, where the chance to be kept
 * rises with the rank of an element's magnitude. Arrays are as in strip.h.
 */
#ifndef TM_KERNELS_CHANCE_H
#define TM_KERNELS_CHANCE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"

/*
 * An element of rank r, from 0 for the smallest of the row (kernels/row.h:
 * tm_row_rank), is kept if its random number is below
 *
 *     (float)(least + step * r)         in double, each operation rounded
 */
struct tm_chance {
    double least; /* above 0 */
    double step;  /* not negative */
};

/*
 * Sets x[i] to +0 unless it is kept; number[i], not negative, is its random
 * number. Ranks are found only where they decide, and only as far as they do.
 * `number` and `rank`, arrays of their own, are written to; `scratch` has
 * TM_ROW_SCRATCH(n) words (kernels/row.h). n < 2^32; x is finite.
 */
void tm_chance_drop(enum tm_isa isa, struct tm_chance chance, float *x,
                    size_t n, float *number, uint32_t *rank, uint32_t *scratch);

#endif
