/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dither: which random numbers a vector's elements get (kernels/mask.h), a
 * function of the recipe's seed, the name of the output tensor and the
 * vector's place in the recipe, so of nothing that changes from run to run:
 *
 *     seed = XXH3-64 of 16 bytes: the recipe's seed and the vector's column
 *            (1 for the first beside the base), 64 bits little-endian each
 *     key  = XXH3-64, with that seed, of the bytes of the tensor's name
 */
#ifndef TM_SRC_METHODS_DITHER_H
#define TM_SRC_METHODS_DITHER_H

#include "kernels/mask.h"
#include "src/method.h"

/* The mask of a term of the tensor that is worked on. */
struct tm_mask tm_mask_for(const struct tm_work *work, size_t term);

#endif
