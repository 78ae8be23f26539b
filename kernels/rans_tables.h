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
 * 1 + 2 x 119 and 1 + 2 x 123. Two masses for each of at most 63 groups of
 * buckets, and one for token 0.
 */
#define TM_RANS_TOKENS 256
#define TM_RANS_MASSES 127

/* In the slots of a context that is not stored. No token of any word. */
#define TM_RANS_ABSENT 255

/*
 * Magnitudes below 2^direct have a bucket each; above, an octave has 2^sub.
 * `groups` is the number of groups of buckets: half octaves, but for the first.
 */
struct tm_rans_alphabet {
    unsigned direct, sub, groups;
};

extern const struct tm_rans_alphabet tm_rans_alphabet16, tm_rans_alphabet32;

/* Masses of a context: of token 0, then for each group of both signs. */
struct tm_rans_masses {
    unsigned groups;
    uint16_t q[TM_RANS_MASSES];
};

/*
 * A slot of a decoding table: token in bits 0 to 7, slot - cum from 8 on, f
 * from 20 on.
 */
#define TM_RANS_SLOT(token, offset, f)                                         \
    ((uint32_t)(token) | (uint32_t)(offset) << 8 | (uint32_t)(f) << 20)

/*
 * The slots of `contexts` contexts from the `length` bytes of `in`. False if
 * they are not tables. Slots of contexts that are absent are made so that
 * decoding goes on, with token TM_RANS_ABSENT.
 */
bool tm_rans_read_tables(const struct tm_rans_alphabet *alphabet,
                         const unsigned char *in, size_t length,
                         unsigned contexts, uint32_t slots[][TM_RANS_SCALE]);

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
