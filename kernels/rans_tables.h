/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_tables: the probability tables of rans, as they are stored and as they
 * are used (docs/format.md, rans).
 *
 * A table says how often each token comes, as a frequency f: T = 2048 in all.
 * Stored are masses, one for a group of tokens, coarsely. Both sides make the
 * frequencies from these in the same way:
 *
 *     encoder   counts -> tm_rans_masses -> tm_rans_frequencies -> entries
 *                                 | tm_rans_write_masses
 *     decoder   stored --- tm_rans_read_tables ---> slots
 */
#ifndef TM_KERNELS_RANS_TABLES_H
#define TM_KERNELS_RANS_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TM_RANS_SCALE_BITS 11
#define TM_RANS_SCALE      (1u << TM_RANS_SCALE_BITS)

/* Classes of exponents, and contexts: each class after zeros and otherwise. */
#define TM_RANS_CLASSES  16
#define TM_RANS_CONTEXTS 32

/*
 * Tokens are below 239 for words of 16 bits, below 247 for 32: there are
 * 1 + 2 x 119 and 1 + 2 x 123. Groups of buckets have two masses each, of
 * negative and positive tokens, and token 0 has one.
 */
#define TM_RANS_TOKENS 256
#define TM_RANS_GROUPS 63
#define TM_RANS_MASSES (1 + 2 * TM_RANS_GROUPS)

/* In the slots of a context that is not stored. No token of any word. */
#define TM_RANS_ABSENT 255

/* Buckets next to each other: half an octave, but for the first. */
struct tm_rans_group {
    uint8_t first, width;
    bool upper; /* half of its octave */
};

struct tm_rans_alphabet {
    unsigned num_groups;
    struct tm_rans_group groups[TM_RANS_GROUPS];
    uint8_t widths[TM_RANS_MASSES]; /* tokens of each mass */
};

/*
 * Magnitudes of `bits` bits: those below 2^direct have a bucket each, above
 * that an octave has 2^sub.
 */
void tm_rans_alphabet_init(struct tm_rans_alphabet *alphabet, unsigned bits,
                           unsigned direct, unsigned sub);

/* Masses of a context: of token 0, then for each group of both signs. */
struct tm_rans_masses {
    unsigned groups;
    uint16_t q[TM_RANS_MASSES];
};

/*
 * A slot of a decoding table. Its halves can be multiplied as they are but for
 * the token, which has what they leave over.
 *
 *     bits 0 to 10    slot - cum          16 to 27    f
 *     bits 11 to 15   token, low bits     28 to 30    token, high bits
 */
static inline uint32_t tm_rans_slot(unsigned token, unsigned offset, unsigned f)
{
    return offset | (token & 31) << 11 | f << 16 | (token >> 5) << 28;
}

static inline unsigned tm_rans_slot_token(uint32_t slot)
{
    return (slot >> 11 & 31) | (slot >> 28) << 5;
}

static inline unsigned tm_rans_slot_offset(uint32_t slot)
{
    return slot & 2047;
}

static inline unsigned tm_rans_slot_f(uint32_t slot)
{
    return slot >> 16 & 4095;
}

/* Slots are written in runs of this many, also behind the last context's. */
#define TM_RANS_RUN 8

/* The tables of a decoder. */
struct tm_rans_slots {
    uint32_t of[TM_RANS_CONTEXTS][TM_RANS_SCALE];
    uint32_t behind[TM_RANS_RUN];
};

/*
 * The slots of `contexts` contexts from the `length` bytes of `in`. False if
 * they are not tables. Slots of contexts that are absent are made so that
 * decoding goes on, with token TM_RANS_ABSENT.
 */
bool tm_rans_read_tables(const struct tm_rans_alphabet *alphabet,
                         const unsigned char *in, size_t length,
                         unsigned contexts, struct tm_rans_slots *slots);

/* The masses that describe these counts best. Their sum must not be 0. */
void tm_rans_masses(const struct tm_rans_alphabet *alphabet,
                    const uint32_t counts[TM_RANS_TOKENS],
                    struct tm_rans_masses *masses);

/* What both sides make of masses, whose sum is not 0. */
void tm_rans_frequencies(const struct tm_rans_alphabet *alphabet,
                         const struct tm_rans_masses *masses,
                         uint16_t f[TM_RANS_TOKENS]);

/* Bits that the masses take, less the one that says that they are there. */
unsigned tm_rans_mass_bits(const struct tm_rans_masses *masses);

/* Bits, from the lowest of each byte up. */
struct tm_rans_writer {
    unsigned char *next;
    uint64_t bits;
    unsigned count;
};

/* A context's masses; NULL for one that is absent. */
void tm_rans_write_masses(struct tm_rans_writer *writer,
                          const struct tm_rans_masses *masses);

/* The bits that are left; `next` is then the end. */
void tm_rans_write_end(struct tm_rans_writer *writer);

#endif
