/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "bench/codec_sizes.h"
#include "io/chunk.h"

#define MAX_EXPONENTS 256
#define MAX_SYMBOLS   ((size_t)1 << 16)

struct words {
    unsigned bits, mantissa; /* of a word */
};

static struct words words_of(enum tm_dtype dtype)
{
    if (dtype == TM_F32)
        return (struct words){32, 23};
    return (struct words){16, dtype == TM_BF16 ? 7 : 10};
}

static uint32_t word_at(const unsigned char *words, size_t i, unsigned bits)
{
    uint16_t half;
    uint32_t whole;

    if (bits == 16) {
        memcpy(&half, words + 2 * i, 2);
        return half;
    }
    memcpy(&whole, words + 4 * i, 4);
    return whole;
}

/* Its place among the floats: neighbours differ by 1. */
static int64_t ordered(uint32_t u, unsigned bits)
{
    int64_t magnitude = u & ((UINT64_C(1) << (bits - 1)) - 1);

    return u >> (bits - 1) != 0 ? -1 - magnitude : magnitude;
}

static int64_t difference(const struct part *part, size_t i, unsigned bits)
{
    return ordered(word_at(part->tuned, i, bits), bits) -
           ordered(word_at(part->base, i, bits), bits);
}

static unsigned top_bit(uint64_t a)
{
    return 63 - (unsigned)__builtin_clzll(a);
}

/* Bits of symbols that occur `count` times each, among `all`. */
static double entropy(double count, double all)
{
    return count > 0 ? count * log2(all / count) : 0;
}

/* --- FM-Delta -----------------------------------------------------------*/

/* Zero, and each sign with each place of the top bit. */
#define FM_SYMBOLS (1 + 2 * 33)

struct fm {
    double counts[FM_SYMBOLS];
    double raw, all;
};

static void fm_count(struct fm *fm, const struct part *part)
{
    unsigned bits = words_of(part->dtype).bits;
    size_t n = part->bytes / (bits / 8);

    for (size_t i = 0; i < n; i++) {
        int64_t d = difference(part, i, bits);
        unsigned k = d != 0 ? top_bit((uint64_t)(d < 0 ? -d : d)) : 0;

        fm->counts[d == 0 ? 0 : 1 + 2 * k + (d < 0)]++;
        fm->raw += k;
    }
    fm->all += (double)n;
}

static double fm_bits(const struct fm *fm)
{
    double sum = fm->raw;

    for (int i = 0; i < FM_SYMBOLS; i++)
        sum += entropy(fm->counts[i], fm->all);
    return sum;
}

double fm_delta_bytes(const struct pair *pair)
{
    double sum = 0;

    for (size_t i = 0; i < pair->num_parts;) {
        size_t tensor = pair->parts[i].tensor;
        struct fm fm = {.all = 0};

        for (; i < pair->num_parts && pair->parts[i].tensor == tensor; i++)
            fm_count(&fm, &pair->parts[i]);
        sum += fm_bits(&fm);
    }
    return sum / 8;
}

/* --- the yardstick ------------------------------------------------------*/

struct symbol {
    unsigned exponent, value, raw;
};

/* docs/format.md, tokens of 32 bits: 2^K buckets, then 2^B an octave. */
#define K 3
#define B 2

static struct symbol token(int64_t d)
{
    uint64_t a = (uint64_t)(d < 0 ? -d : d);
    unsigned bucket = (unsigned)a, raw = 0;

    if (a >= 1 << K) {
        unsigned k = top_bit(a);

        raw = k - B;
        bucket = (1 << K) + ((k - K) << B) + (a >> raw & ((1 << B) - 1));
    }
    return (struct symbol){.value = 2 * bucket + (d < 0), .raw = raw};
}

static struct symbol symbol_at(const struct part *part, size_t i)
{
    struct words w = words_of(part->dtype);
    uint32_t base = word_at(part->base, i, w.bits);
    int64_t d = difference(part, i, w.bits);
    struct symbol s = {.raw = 0};

    if (base >> (w.bits - 1) != 0)
        d = -d;
    if (w.bits == 32)
        s = token((int32_t)(uint32_t)d);
    else
        s.value = (uint16_t)d;
    s.exponent = (base & ((UINT32_C(1) << (w.bits - 1)) - 1)) >> w.mantissa;
    return s;
}

static double chunk_bits(const struct part *part, size_t first, size_t last)
{
    static uint32_t counts[MAX_EXPONENTS][MAX_SYMBOLS];
    double of_exponent[MAX_EXPONENTS] = {0}, sum = 0;

    for (size_t i = first; i < last; i++) {
        struct symbol s = symbol_at(part, i);

        counts[s.exponent][s.value]++;
        of_exponent[s.exponent]++;
        sum += s.raw;
    }
    for (size_t i = first; i < last; i++) {
        struct symbol s = symbol_at(part, i);
        uint32_t *count = &counts[s.exponent][s.value];

        sum += entropy(*count, of_exponent[s.exponent]);
        *count = 0; /* each once, and all zero again */
    }
    return sum;
}

double conditional_bytes(const struct pair *pair)
{
    double sum = 0;

    for (size_t i = 0; i < pair->num_parts; i++) {
        const struct part *part = &pair->parts[i];
        size_t n = part->bytes / (words_of(part->dtype).bits / 8);

        for (size_t at = 0; at < n; at += TM_CHUNK_WORDS)
            sum += chunk_bits(
                part, at, n - at < TM_CHUNK_WORDS ? n : at + TM_CHUNK_WORDS);
    }
    return sum / 8;
}
