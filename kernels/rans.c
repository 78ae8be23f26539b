/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans: the order of things, once for all instruction sets.
 *
 * Encoding looks at the words three times: scan() makes tokens and classes of
 * them, count() counts these, and when the tables are made encode() goes
 * through them from the last to the first, as rANS wants it.
 */
#include "kernels/rans.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/rans_choice.h"
#include "kernels/rans_kernels.h"
#include "kernels/rans_tables.h"

#define HEADER     4
#define STATES     (2 * 4 * TM_RANS_LANES)
#define MAX_GROUPS (TM_CHUNK_WORDS / TM_RANS_LANES)

/* For each context its bit, 6 bits of G and 127 masses of 9 + 2 bits. */
#define MAX_TABLES (TM_RANS_CONTEXTS * (7 + TM_RANS_MASSES * 11) / 8 + 1)

/* 48 bits for each word, see tm_rans_encode_pairs. */
#define MAX_STREAM (6 * TM_CHUNK_WORDS)

/* See count_group(). */
struct tm_rans_turns {
    uint32_t of[4][2][TM_RANS_CLASSES * TM_RANS_TOKENS];
};

struct tm_rans {
    const struct tm_rans_kernels *kernels;
    struct tm_rans_alphabet narrow, wide;
    _Alignas(16) struct tm_rans_shuffles shuffles;
    struct tm_rans_costs costs;
    struct tm_rans_choice choice;
    tm_rans_counts counts[2]; /* after other groups, after zeros */
    struct tm_rans_turns turns;
    struct tm_rans_slots slots;
    struct tm_rans_entries entries;
    unsigned char flags[MAX_GROUPS];
    uint16_t index[TM_CHUNK_WORDS];
    unsigned char tables[MAX_TABLES];
    unsigned char stream[MAX_STREAM];
};

_Static_assert(sizeof(struct tm_rans) < TM_RANS_MEMORY, "what rans.h says");

struct tm_rans *tm_rans_new_with(const struct tm_rans_kernels *with)
{
    struct tm_rans *rans = calloc(1, sizeof(*rans));

    if (rans == NULL)
        return NULL;
    rans->kernels = with;
    tm_rans_alphabet_init(&rans->narrow, 16, 5, 3);
    tm_rans_alphabet_init(&rans->wide, 32, 3, 2);
    tm_rans_shuffles_init(&rans->shuffles);
    tm_rans_costs_init(&rans->costs);
    return rans;
}

static const struct tm_rans_kernels *kernels_of(enum tm_isa isa)
{
    switch (isa) {
#if defined(__aarch64__)
    case TM_ISA_NEON:
        return &tm_rans_neon;
#endif
#if defined(__x86_64__)
    case TM_ISA_AVX2:
        return &tm_rans_avx2;
    case TM_ISA_AVX512:
        return tm_rans_avx512_fastest();
#endif
    default:
        return &tm_rans_portable;
    }
}

struct tm_rans *tm_rans_new(enum tm_isa isa)
{
    return tm_rans_new_with(kernels_of(isa));
}

void tm_rans_free(struct tm_rans *rans)
{
    free(rans);
}

static const struct tm_rans_alphabet *alphabet_of(const struct tm_rans *rans,
                                                  enum tm_rans_kind kind)
{
    return kind == TM_RANS_F32 ? &rans->wide : &rans->narrow;
}

static size_t bytes_of(enum tm_rans_kind kind)
{
    return kind == TM_RANS_F32 ? 4 : 2;
}

/* Words of the group, the last of which may have fewer than others. */
static unsigned group_size(size_t group, size_t n)
{
    size_t left = n - group * TM_RANS_LANES;

    return left < TM_RANS_LANES ? (unsigned)left : TM_RANS_LANES;
}

/* --- encoding ------------------------------------------------------------- */

static unsigned exponent(enum tm_rans_kind kind, const unsigned char *word)
{
    if (kind == TM_RANS_F16)
        return word[1] >> 2 & 31;
    word += bytes_of(kind) - 2;
    return (word[1] << 1 | word[0] >> 7) & 255;
}

/*
 * The largest exponent such that one word in 512 has that or a larger one,
 * seen from 4096 words: those above share the first class. The words are in
 * 32 places, because what takes time is to get there.
 */
static unsigned top_exponent(enum tm_rans_kind kind, const unsigned char *base,
                             size_t n)
{
    const size_t places = 32, run = 128, bytes = bytes_of(kind);
    size_t step = n > places * run ? n / places : run;
    uint32_t counts[256] = {0}, seen = 0, above = 0;
    unsigned e = 256;

    for (size_t at = 0; at < n; at += step)
        for (size_t i = 0; i < run * bytes; i += 64)
            __builtin_prefetch(base + at * bytes + i);
    for (size_t at = 0; at < n; at += step)
        for (size_t i = at; i < at + run && i < n; i++, seen++)
            counts[exponent(kind, base + i * bytes)]++;
    while (e > 0 && above * 512 < seen)
        above += counts[--e];
    return e;
}

static void scan(const struct tm_rans *rans, enum tm_rans_kind kind,
                 const struct tm_rans_scan *s, size_t n)
{
    size_t pairs = n / TM_RANS_PAIR;

    rans->kernels->scan[kind](s, pairs);
    for (size_t g = 2 * pairs; g * TM_RANS_LANES < n; g++)
        tm_rans_scan_group(kind, s, g, group_size(g, n));
}

/*
 * Four tables by turns, so that a word need not wait for the one before it,
 * which often counts the same.
 */
static void count_group(struct tm_rans_turns *turns, unsigned zero,
                        const uint16_t *index)
{
    for (unsigned i = 0; i < TM_RANS_LANES; i += 4) {
        uint64_t four;

        memcpy(&four, index + i, sizeof(four));
        turns->of[0][zero][four & 0xffff]++;
        turns->of[1][zero][four >> 16 & 0xffff]++;
        turns->of[2][zero][four >> 32 & 0xffff]++;
        turns->of[3][zero][four >> 48]++;
    }
}

/* Returns the number of groups of zeros that others follow. */
static size_t count(struct tm_rans *rans, size_t n)
{
    struct tm_rans_turns *turns = &rans->turns;
    size_t zeros = 0;
    unsigned zero = 0;

    memset(turns, 0, sizeof(*turns));
    for (size_t g = 0; g * TM_RANS_LANES < n; g++) {
        count_group(turns, zero, rans->index + g * TM_RANS_LANES);
        zeros += zero;
        zero = (rans->flags[g] & TM_RANS_GROUP_ZERO) != 0;
    }
    for (unsigned z = 0; z < 2; z++) {
        uint32_t *to = rans->counts[z][0];

        for (unsigned i = 0; i < TM_RANS_CLASSES * TM_RANS_TOKENS; i++)
            to[i] = turns->of[0][z][i] + turns->of[1][z][i] +
                    turns->of[2][z][i] + turns->of[3][z][i];
        /* Lanes without a word, in the last group. */
        to[TM_RANS_ABSENT] = 0;
    }
    return zeros;
}

static void make_entries(const uint16_t f[TM_RANS_TOKENS], uint64_t *entries)
{
    unsigned cum = 0;

    for (unsigned i = 0; i < TM_RANS_TOKENS; i++) {
        float inverse = f[i] == 0 ? 0 : (1 - 0x1p-21f) / (float)f[i];
        uint32_t bits;

        memcpy(&bits, &inverse, sizeof(bits));
        entries[i] = f[i] | (uint64_t)cum << 16 | (uint64_t)bits << 32;
        cum += f[i];
    }
}

/* The tables' bytes; also makes the entries for encoding. */
static size_t write_tables(struct tm_rans *rans)
{
    const struct tm_rans_choice *choice = &rans->choice;
    unsigned contexts = choice->classes << choice->has_zero;
    struct tm_rans_writer writer = {rans->tables, 0, 0};

    for (unsigned i = 0; i < contexts; i++) {
        const struct tm_rans_context *c =
            &choice->contexts[i / choice->classes][i % choice->classes];

        tm_rans_write_masses(&writer, c->there ? &c->masses : NULL);
        if (c->there)
            make_entries(c->f, rans->entries.of[i]);
    }
    tm_rans_write_end(&writer);
    return (size_t)(writer.next - rans->tables);
}

/* The states, and the stream's words below e->next. */
static void encode(const struct tm_rans *rans, enum tm_rans_kind kind,
                   struct tm_rans_encoder *e, size_t n)
{
    size_t pairs = n / TM_RANS_PAIR;

    for (unsigned i = 0; i < 2; i++)
        for (unsigned j = 0; j < TM_RANS_LANES; j++)
            e->x[i][j] = TM_RANS_LOW;
    for (size_t g = (n + TM_RANS_LANES - 1) / TM_RANS_LANES; g-- > 2 * pairs;)
        tm_rans_encode_group(kind, e, g, group_size(g, n));
    rans->kernels->encode[kind](e, pairs);
}

size_t tm_rans_encode(struct tm_rans *rans, enum tm_rans_kind kind,
                      const void *base, const void *tuned, size_t n, void *out,
                      size_t room)
{
    unsigned top = top_exponent(kind, base, n);
    struct tm_rans_scan s = {base, tuned, top, rans->index, rans->flags};
    unsigned char *end = rans->stream + MAX_STREAM, *to = out;
    struct tm_rans_encoder e = {
        .next = end,
        .base = base,
        .tuned = tuned,
        .index = rans->index,
        .flags = rans->flags,
        .entries = &rans->entries,
        .shuffles = &rans->shuffles,
    };
    size_t tables, stream, zeros;

    scan(rans, kind, &s, n);
    zeros = count(rans, n);
    tm_rans_choose(alphabet_of(rans, kind), &rans->costs, rans->counts, zeros,
                   &rans->choice);
    tables = write_tables(rans);
    e.classes = rans->choice.classes;
    e.has_zero = rans->choice.has_zero;
    encode(rans, kind, &e, n);
    stream = (size_t)(end - e.next);
    if (HEADER + tables + STATES + stream > room)
        return 0;
    to[0] = (unsigned char)top;
    to[1] = (unsigned char)(e.classes | (unsigned)e.has_zero << 7);
    to[2] = (unsigned char)tables;
    to[3] = (unsigned char)(tables >> 8);
    memcpy(to + HEADER, rans->tables, tables);
    memcpy(to + HEADER + tables, e.x, STATES);
    memcpy(to + HEADER + tables + STATES, e.next, stream);
    return HEADER + tables + STATES + stream;
}

/* --- decoding ------------------------------------------------------------- */

/*
 * The last pairs, behind whose words of the stream the kernels could read: from
 * a copy with zeros behind it. A pair that takes of those is the last one.
 */
static bool decode_end(const struct tm_rans *rans, enum tm_rans_kind kind,
                       struct tm_rans_decoder *d, size_t left, size_t n)
{
    unsigned char copy[2 * TM_RANS_AHEAD] = {0}, *end = copy + left;
    size_t pairs = n / TM_RANS_PAIR;

    memcpy(copy, d->next, left);
    d->next = copy;
    if (rans->kernels->decode[kind](d, pairs, end) < pairs)
        return false;
    for (size_t g = 2 * pairs; g * TM_RANS_LANES < n && d->next <= end; g++)
        tm_rans_decode_group(kind, d, g, group_size(g, n));
    return d->next == end;
}

static bool states_are(const struct tm_rans_decoder *d, uint32_t least,
                       uint32_t most)
{
    for (unsigned i = 0; i < 2; i++)
        for (unsigned j = 0; j < TM_RANS_LANES; j++)
            if (d->x[i][j] < least || d->x[i][j] > most)
                return false;
    return true;
}

/* All words, from a stream of `length` bytes. */
static bool decode(const struct tm_rans *rans, enum tm_rans_kind kind,
                   struct tm_rans_decoder *d, size_t length, size_t n)
{
    const unsigned char *end = d->next + length;
    size_t done = 0, left;

    if (!states_are(d, TM_RANS_LOW, (TM_RANS_LOW << 16) - 1))
        return false;
    if (length >= TM_RANS_AHEAD)
        done = rans->kernels->decode[kind](d, n / TM_RANS_PAIR,
                                           end - TM_RANS_AHEAD);
    left = (size_t)(end - d->next);
    if (left > TM_RANS_AHEAD)
        return false; /* more than what is left of the words can take */
    return decode_end(rans, kind, d, left, n - done * TM_RANS_PAIR) &&
           states_are(d, TM_RANS_LOW, TM_RANS_LOW) && !d->absent;
}

bool tm_rans_decode(struct tm_rans *rans, enum tm_rans_kind kind,
                    const void *base, const void *in, size_t length, size_t n,
                    void *tuned)
{
    const unsigned char *from = in;
    struct tm_rans_decoder d = {
        .base = base,
        .tuned = tuned,
        .slots = &rans->slots,
        .shuffles = &rans->shuffles,
    };
    size_t tables;

    if (length < HEADER + STATES)
        return false;
    d.top = from[0];
    d.classes = from[1] & 127;
    d.has_zero = from[1] >> 7;
    tables = from[2] | (size_t)from[3] << 8;
    if (d.classes == 0 || d.classes > TM_RANS_CLASSES ||
        tables > length - HEADER - STATES ||
        !tm_rans_read_tables(alphabet_of(rans, kind), from + HEADER, tables,
                             d.classes << d.has_zero, &rans->slots))
        return false;
    from += HEADER + tables;
    memcpy(d.x, from, STATES);
    d.next = from + STATES;
    return decode(rans, kind, &d, length - HEADER - tables - STATES, n);
}
