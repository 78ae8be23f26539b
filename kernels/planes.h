/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planes: words as byte planes, for a general compressor behind them
 * (docs/format.md, planes).
 *
 * A word has `size` bytes: 1, 2, 4 or 8. Plane i holds byte i of every word
 * (0 the least), n bytes; the planes lie one after the other. Words may be at
 * any address.
 */
#ifndef TM_KERNELS_PLANES_H
#define TM_KERNELS_PLANES_H

#include <stdbool.h>
#include <stddef.h>

/* The planes of m(d), d the difference of `tuned` against `base`. */
void tm_planes_difference(unsigned size, bool is_float, const void *base,
                          const void *tuned, size_t n, unsigned char *planes);

/* And back. */
void tm_planes_restore(unsigned size, bool is_float, const void *base,
                       const unsigned char *planes, size_t n, void *tuned);

/* The planes of the words themselves, floats rotated left by one bit. */
void tm_planes_split(unsigned size, bool is_float, const void *words, size_t n,
                     unsigned char *planes);

void tm_planes_join(unsigned size, bool is_float, const unsigned char *planes,
                    size_t n, void *words);

#endif
