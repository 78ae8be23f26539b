/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans: the kernel that codes a chunk of a fine-tune against its base
 * (docs/format.md, rans).
 *
 * Fine-tuning moves every weight by about the same absolute amount, so how
 * many units in the last place it moves follows from the exponent of the base,
 * which the decoder has: the exponent chooses the probability table, word by
 * word, and no side information is stored. Coding is exact for every bit
 * pattern: integers only.
 *
 * The encoder's bytes are the same with every instruction set.
 */
#ifndef TM_KERNELS_RANS_H
#define TM_KERNELS_RANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"

/* Words of a chunk, at most. */
#define TM_CHUNK_WORDS ((size_t)1 << 18)

enum tm_rans_kind { TM_RANS_BF16, TM_RANS_F16, TM_RANS_F32 };

/* Tables and scratch of one thread: about TM_RANS_MEMORY bytes. */
struct tm_rans;

#define TM_RANS_MEMORY ((size_t)8 << 20)

/* NULL: no memory. */
struct tm_rans *tm_rans_new(enum tm_isa isa);
void tm_rans_free(struct tm_rans *rans);

/*
 * Codes `n` words (1 to TM_CHUNK_WORDS) of `tuned` against `base`, both at any
 * address, into `out`, which has `room` bytes. Returns the length, or 0 if it
 * would be more than `room`; then out's contents mean nothing.
 */
size_t tm_rans_encode(struct tm_rans *rans, enum tm_rans_kind kind,
                      const void *base, const void *tuned, size_t n, void *out,
                      size_t room);

/*
 * The other way: `n` words of `tuned` (any address; nothing is written behind
 * them) from the `length` bytes of `in`. False if they are not what an encoder
 * makes for this base: reads nothing outside `in` and `base` whatever they
 * are, and tuned's contents then mean nothing.
 */
bool tm_rans_decode(struct tm_rans *rans, enum tm_rans_kind kind,
                    const void *base, const void *in, size_t length, size_t n,
                    void *tuned);

#endif
