/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_kernels: what an instruction set provides for rans.c, and nobody else.
 *
 * All but the portable kernels work on whole groups of 32 words. None looks
 * at alignment.
 */
#ifndef TM_KERNELS_RANS_KERNELS_H
#define TM_KERNELS_RANS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/rans.h"
#include "kernels/rans_tables.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are little-endian, and this program reads them as they are"
#endif

/* States, and words of a group. */
#define TM_RANS_LANES 32

/* A state is from here to 2^16 times this less one. */
#define TM_RANS_LOW (1u << 15)

#define TM_NUM_RANS_KINDS (TM_RANS_F32 + 1)

/*
 * Bytes of the stream that lie behind `next` when a group is decoded: a word
 * of 32 bits takes at most 3 words of the stream, so a group at most 192
 * bytes, and the last load of those may be of 64.
 */
#define TM_RANS_AHEAD 256

struct tm_rans_decoder {
    uint32_t x[TM_RANS_LANES];
    const unsigned char *next; /* word of the stream */
    const unsigned char *base;
    unsigned char *tuned;
    const uint32_t (*slots)[TM_RANS_SCALE];
    unsigned top, classes;
    bool has_zero;   /* there are zero contexts */
    bool after_zero; /* all tokens of the group before were 0 */
    unsigned worst;  /* the largest token, if it is TM_RANS_ABSENT */
};

/*
 * Decodes `groups` groups, but begins none with `next` beyond `limit`. Returns
 * how many it has done, and has moved `next`, `base` and `tuned` on.
 */
typedef size_t tm_rans_decode_groups(struct tm_rans_decoder *d, size_t groups,
                                     const unsigned char *limit);

/*
 * What the encoder knows of a word before it has tables: its token, and
 * above that its class of all 16.
 */
#define TM_RANS_INDEX(class, token) ((class) << 8 | (token))

/* All tokens of the group are 0; it has tokens with raw bits. */
#define TM_RANS_GROUP_ZERO 1
#define TM_RANS_GROUP_RAW  2

struct tm_rans_scan {
    const unsigned char *base, *tuned;
    unsigned top;
    uint16_t *index;      /* for each word */
    unsigned char *flags; /* for each group */
};

typedef void tm_rans_scan_groups(const struct tm_rans_scan *s, size_t groups);

/*
 * An encoder's entry: f in bits 0 to 15, cum from 16 on, and from 32 on the
 * float nearest to 1 / f: with it, x / f for x < 2^20 f is off by less than 1.
 */
struct tm_rans_encoder {
    uint32_t x[TM_RANS_LANES];
    unsigned char *next; /* the stream's words go below */
    const unsigned char *base, *tuned;
    const uint16_t *index;
    const unsigned char *flags;
    const uint64_t (*entries)[TM_RANS_TOKENS]; /* by context */
    unsigned classes;
    bool has_zero;
};

/*
 * Encodes the groups from `groups` - 1 down to 0; the pointers are those of
 * group 0. Each word takes at most 3 words of the stream.
 */
typedef void tm_rans_encode_groups(struct tm_rans_encoder *e, size_t groups);

struct tm_rans_kernels {
    tm_rans_decode_groups *decode[TM_NUM_RANS_KINDS];
    tm_rans_scan_groups *scan[TM_NUM_RANS_KINDS];
    tm_rans_encode_groups *encode[TM_NUM_RANS_KINDS];
};

extern const struct tm_rans_kernels tm_rans_portable;
extern const struct tm_rans_kernels tm_rans_neon;
extern const struct tm_rans_kernels tm_rans_avx2;
extern const struct tm_rans_kernels tm_rans_avx512;

/* The same for the last group, of `count` words, which may be fewer than 32. */
void tm_rans_decode_part(enum tm_rans_kind kind, struct tm_rans_decoder *d,
                         unsigned count);
void tm_rans_scan_part(enum tm_rans_kind kind, const struct tm_rans_scan *s,
                       unsigned count);

/* The pointers are those of this group, `after_zero` the flag of the last. */
void tm_rans_encode_part(enum tm_rans_kind kind, struct tm_rans_encoder *e,
                         bool after_zero, unsigned count);

#endif
