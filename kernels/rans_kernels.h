/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_kernels: what an instruction set provides for rans.c, and nobody else.
 *
 * A group is 32 words and has 32 states; the groups of a chunk use one set of
 * states and another by turns, so kernels work on pairs of groups. What is
 * left at the end of a chunk, less than a pair, is done in plain C. Nothing
 * looks at alignment.
 */
#ifndef TM_KERNELS_RANS_KERNELS_H
#define TM_KERNELS_RANS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/rans.h"
#include "kernels/rans_shuffles.h"
#include "kernels/rans_tables.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are little-endian, and this program reads them as they are"
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* So that what is indexed by a loop's variable stays in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

#define TM_RANS_LANES 32
#define TM_RANS_PAIR  (2 * TM_RANS_LANES)

/* A state is from here to 2^16 times this less one. */
#define TM_RANS_LOW (1u << 15)

#define TM_NUM_RANS_KINDS (TM_RANS_F32 + 1)

/*
 * Bytes that may be read behind `next` while it does not exceed the limit: a
 * group takes words of the stream up to three times (F32: for tokens, for raw
 * bits in the states, for others), each time one for each state at most, and
 * no more than these are read.
 */
#define TM_RANS_AHEAD (2 * 3 * 2 * TM_RANS_LANES)

struct tm_rans_decoder {
    uint32_t x[2][TM_RANS_LANES]; /* of even groups, of odd ones */
    const unsigned char *next;    /* word of the stream */
    const unsigned char *base;
    unsigned char *tuned;
    const struct tm_rans_slots *slots;
    const struct tm_rans_shuffles *shuffles;
    unsigned top, classes;
    bool has_zero;   /* there are zero contexts */
    bool after_zero; /* all tokens of the group before were 0 */
    bool absent;     /* a word had a context that is absent */
};

/*
 * Decodes `pairs` pairs of groups, but begins none with `next` beyond `limit`.
 * Returns how many it has done; moves `next`, `base` and `tuned` on.
 */
typedef size_t tm_rans_decode_pairs(struct tm_rans_decoder *d, size_t pairs,
                                    const unsigned char *limit);

/*
 * What the encoder knows of a word before it has tables: its token, and above
 * that its class of all 16. TM_RANS_ABSENT for a state without a word.
 */
#define TM_RANS_INDEX(class, token) ((class) << 8 | (token))

/* Of a group: all its tokens are 0; some have raw bits. */
#define TM_RANS_GROUP_ZERO 1
#define TM_RANS_GROUP_RAW  2

struct tm_rans_scan {
    const unsigned char *base, *tuned;
    unsigned top;
    uint16_t *index;      /* of each word, in the order of the states */
    unsigned char *flags; /* of each group */
};

typedef void tm_rans_scan_pairs(const struct tm_rans_scan *s, size_t pairs);

/*
 * An encoder's entry: f in bits 0 to 15, cum from 16 on, and from 32 on a
 * float a little below 1 / f: (1 - 2^-21) / f, rounded.
 *
 * With it a state x < 2^20 f is divided in floats: the quotient is below 2^20,
 * x, the inverse and the product are rounded by 2^-24 of them each, and so the
 * result is too small by 2^-22 to 2^-20 of it, which is less than 1: cut off
 * it is right or too small by 1.
 */
struct tm_rans_entries {
    uint64_t of[TM_RANS_CONTEXTS][TM_RANS_TOKENS];
};

struct tm_rans_encoder {
    uint32_t x[2][TM_RANS_LANES];
    unsigned char *next; /* the stream's words go below */
    const unsigned char *base, *tuned;
    const uint16_t *index;
    const unsigned char *flags;
    const struct tm_rans_entries *entries;
    const struct tm_rans_shuffles *shuffles;
    unsigned classes;
    bool has_zero;
};

/*
 * Encodes the pairs from number `pairs` - 1 down to 0. There is room for 48
 * bits a word of a whole chunk, and words take 40 at most (11 for a token, 29
 * raw), so that stores may begin below what is kept.
 */
typedef void tm_rans_encode_pairs(struct tm_rans_encoder *e, size_t pairs);

/* By kind. */
struct tm_rans_kernels {
    tm_rans_decode_pairs *decode[TM_NUM_RANS_KINDS];
    tm_rans_scan_pairs *scan[TM_NUM_RANS_KINDS];
    tm_rans_encode_pairs *encode[TM_NUM_RANS_KINDS];
};

extern const struct tm_rans_kernels tm_rans_portable;
extern const struct tm_rans_kernels tm_rans_neon;
extern const struct tm_rans_kernels tm_rans_avx2;
extern const struct tm_rans_kernels tm_rans_avx512;
extern const struct tm_rans_kernels tm_rans_avx512_gather;

/* The one of these two that is faster on this machine: by trying. */
const struct tm_rans_kernels *tm_rans_avx512_fastest(void);

/* What tm_rans_new() does when it has chosen. */
struct tm_rans *tm_rans_new_with(const struct tm_rans_kernels *kernels);

/* A group in plain C, the last of a chunk: of `count` words, 32 or fewer. */
void tm_rans_decode_group(enum tm_rans_kind kind, struct tm_rans_decoder *d,
                          size_t group, unsigned count);
void tm_rans_scan_group(enum tm_rans_kind kind, const struct tm_rans_scan *s,
                        size_t group, unsigned count);
void tm_rans_encode_group(enum tm_rans_kind kind, struct tm_rans_encoder *e,
                          size_t group, unsigned count);

#endif
