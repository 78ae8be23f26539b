/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_sizes: sizes that no program here reaches, to measure codecs by.
 *
 * Both are entropies, without the tables a decoder would need.
 */
#ifndef TM_BENCH_CODEC_SIZES_H
#define TM_BENCH_CODEC_SIZES_H

#include "bench/codec_pair.h"

/*
 * FM-Delta: the ordered-integer difference as one symbol of its sign and the
 * place of its top bit, of order 0 and counted by tensor, and the bits below
 * that one as they are.
 */
double fm_delta_bytes(const struct pair *pair);

/*
 * The yardstick, H(d | e): d of docs/format.md given the exponent of the base,
 * counted by chunk. For words of 16 bits d is one symbol. For words of 32 bits
 * most values of d occur once, and their entropy would measure the chunk:
 * there the symbols are the tokens of docs/format.md, the other bits raw.
 */
double conditional_bytes(const struct pair *pair);

#endif
