/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planes_reference: docs/format.md, planes and the difference, word by word
 * and by arithmetic where the kernels use bits.
 */
#ifndef TM_TESTS_PLANES_REFERENCE_H
#define TM_TESTS_PLANES_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for 2^64 and a sign. */
typedef __int128 wide;

static inline uint64_t reference_word(const void *words, unsigned size,
                                      size_t i)
{
    const unsigned char *bytes = (const unsigned char *)words + i * size;
    uint64_t word = 0;

    for (unsigned k = size; k-- > 0;)
        word = word * 256 + bytes[k];
    return word;
}

static inline void reference_set(void *words, unsigned size, size_t i,
                                 uint64_t word)
{
    unsigned char *bytes = (unsigned char *)words + i * size;

    for (unsigned k = 0; k < size; k++, word /= 256)
        bytes[k] = (unsigned char)(word % 256);
}

static inline wide reference_half(unsigned size)
{
    return (wide)1 << (8 * size - 1);
}

/* Its place on the number line; -0 comes just before 0. */
static inline wide reference_place(uint64_t word, unsigned size, bool is_float)
{
    const wide half = reference_half(size);

    if (word < half)
        return word;
    return is_float ? half - 1 - (wide)word : (wide)word - 2 * half;
}

/* d of docs/format.md as a number, -half to half - 1. */
static inline wide reference_d(uint64_t base, uint64_t tuned, unsigned size,
                               bool is_float)
{
    const wide half = reference_half(size);
    wide d = reference_place(tuned, size, is_float) -
             reference_place(base, size, is_float);

    if (is_float && base >= half)
        d = -d;
    while (d >= half)
        d -= 2 * half;
    while (d < -half)
        d += 2 * half;
    return d;
}

/* m of docs/format.md; of the least d nothing is left but the sign. */
static inline uint64_t reference_m(wide d, unsigned size)
{
    const wide m = d >= 0 ? 2 * d : -2 * d + 1;

    return (uint64_t)(m % (2 * reference_half(size)));
}

/* r of docs/format.md. */
static inline uint64_t reference_turned(uint64_t word, unsigned size,
                                        bool is_float)
{
    const wide half = reference_half(size);

    if (!is_float)
        return word;
    return (uint64_t)(word < half ? 2 * (wide)word
                                  : 2 * ((wide)word - half) + 1);
}

#endif
