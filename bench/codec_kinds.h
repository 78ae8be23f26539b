/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_kinds: taumerge's codec and those it is measured against.
 *
 * The peers do what their published sources do, in one thread:
 *
 *   BitX      XOR; the exponent byte and the byte of sign and mantissa as
 *             planes (BF16; byte planes for other types); zstd -3 on 1 MiB of
 *             a plane
 *   TensorX   XOR; byte planes; 2 MiB of a tensor in one zstd -1 frame
 *   zstd -3   on the tuned bytes themselves
 *
 * They are made fast where theirs are not: vectorised loops that stay in the
 * cache, contexts made once, no allocation. Unlike ours they have no
 * checksums, and no headers but the lengths that all have.
 */
#ifndef TM_BENCH_CODEC_KINDS_H
#define TM_BENCH_CODEC_KINDS_H

#include <stdbool.h>

#include "bench/codec_pair.h"
#include "kernels/cpu.h"

enum kind { OURS, OURS_ZSTD, BITX, TENSORX, ZSTD3, MEMCPY, NUM_KINDS };

const char *kind_name(enum kind kind); /* for tables */
const char *kind_key(enum kind kind);  /* for JSON */

/* Contexts and scratch of one thread. */
struct coders;

struct coders *coders_new(enum tm_isa isa); /* ends the program on failure */
void coders_free(struct coders *coders);

/* Most bytes that any of them makes of `bytes`. */
size_t coded_bound(size_t bytes);

/* Returns how many bytes were written to `out`. */
size_t kind_encode(struct coders *coders, enum kind kind,
                   const struct part *part, unsigned char *out);

/* Returns how many bytes of `in` were used; 0 if they are damaged. */
size_t kind_decode(struct coders *coders, enum kind kind,
                   const struct part *part, const unsigned char *in,
                   unsigned char *tuned);

#endif
