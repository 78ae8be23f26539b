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
#define STATES     (4 * TM_RANS_LANES)
#define MAX_GROUPS (TM_CHUNK_WORDS / TM_RANS_LANES)

/* For each context its bit, 6 bits of G and 127 masses of 9 + 2 bits. */
#define MAX_TABLES (TM_RANS_CONTEXTS * (7 + TM_RANS_MASSES * 11) / 8 + 1)

/* Three words of the stream for each word, of 2 bytes. */
#define MAX_STREAM (6 * TM_CHUNK_WORDS)

static const struct tm_rans_kernels *const kernels[TM_NUM_ISAS] = {
    [TM_ISA_PORTABLE] = &tm_rans_portable,
};

struct tm_rans {
    const struct tm_rans_kernels *kernels;
    struct tm_rans_costs costs;
    struct tm_rans_choice choice;
    tm_rans_counts counts;
    uint32_t slots[TM_RANS_CONTEXTS][TM_RANS_SCALE];
    uint64_t entries[TM_RANS_CONTEXTS][TM_RANS_TOKENS];
    unsigned char flags[MAX_GROUPS];
    uint16_t index[TM_CHUNK_WORDS];
    unsigned char tables[MAX_TABLES];
    unsigned char stream[MAX_STREAM];
};

_Static_assert(sizeof(struct tm_rans) < TM_RANS_MEMORY, "what rans.h says");

struct tm_rans *tm_rans_new(enum tm_isa isa)
{
    struct tm_rans *rans = calloc(1, sizeof(*rans));

    if (rans == NULL)
        return NULL;
    rans->kernels = kernels[isa] != NULL ? kernels[isa] : &tm_rans_portable;
    tm_rans_costs_init(&rans->costs);
    return rans;
}

void tm_rans_free(struct tm_rans *rans)
{
    free(rans);
}

static const struct tm_rans_alphabet *alphabet_of(enum tm_rans_kind kind)
{
    return kind == TM_RANS_F32 ? &tm_rans_alphabet32 : &tm_rans_alphabet16;
}

static size_t bytes_of(enum tm_rans_kind kind)
{
    return kind == TM_RANS_F32 ? 4 : 2;
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
 * seen from about 4096 words: those above share the first class.
 */
static unsigned top_exponent(enum tm_rans_kind kind, const unsigned char *base,
                             size_t n)
{
    const size_t run = 16; /* words next to each other, for the cache's sake */
    size_t step = n / 4096 * run > run ? n / 4096 * run : run;
    uint32_t counts[256] = {0}, seen = 0, above = 0;
    unsigned e = 256;

    for (size_t at = 0; at < n; at += step)
        for (size_t i = at; i < at + run && i < n; i++, seen++)
            counts[exponent(kind, base + i * bytes_of(kind))]++;
    while (e > 0 && above * 512 < seen)
        above += counts[--e];
    return e;
}

static void scan(struct tm_rans *rans, enum tm_rans_kind kind,
                 const struct tm_rans_scan *s, size_t n)
{
    size_t groups = n / TM_RANS_LANES, whole = groups * TM_RANS_LANES;
    struct tm_rans_scan last = *s;

    rans->kernels->scan[kind](s, groups);
    if (whole == n)
        return;
    last.base += whole * bytes_of(kind);
    last.tuned += whole * bytes_of(kind);
    last.index += whole;
    last.flags += groups;
    tm_rans_scan_part(kind, &last, (unsigned)(n - whole));
}

static void count(struct tm_rans *rans, size_t n)
{
    unsigned zero = 0;

    memset(rans->counts, 0, sizeof(rans->counts));
    for (size_t g = 0; g * TM_RANS_LANES < n; g++) {
        uint32_t *to = rans->counts[zero][0];
        size_t end = (g + 1) * TM_RANS_LANES < n ? (g + 1) * TM_RANS_LANES : n;

        for (size_t i = g * TM_RANS_LANES; i < end; i++)
            to[rans->index[i]]++;
        zero = (rans->flags[g] & TM_RANS_GROUP_ZERO) != 0;
    }
}

static void make_entries(const uint16_t f[TM_RANS_TOKENS], uint64_t *entries)
{
    unsigned cum = 0;

    for (unsigned i = 0; i < TM_RANS_TOKENS; i++) {
        float inverse = f[i] == 0 ? 0 : 1.0f / (float)f[i];
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
        const struct tm_rans_context *c = &choice->contexts[i];

        tm_rans_write_masses(&writer, c->there ? &c->masses : NULL);
        if (c->there)
            make_entries(c->f, rans->entries[i]);
    }
    tm_rans_write_end(&writer);
    return (size_t)(writer.next - rans->tables);
}

/* The stream's words, to the end of rans->stream, and the states. */
static void encode(struct tm_rans *rans, enum tm_rans_kind kind,
                   struct tm_rans_encoder *e, size_t n)
{
    size_t groups = n / TM_RANS_LANES, whole = groups * TM_RANS_LANES;
    struct tm_rans_encoder last;
    bool zero = groups > 0 && (e->flags[groups - 1] & TM_RANS_GROUP_ZERO);

    for (unsigned j = 0; j < TM_RANS_LANES; j++)
        e->x[j] = TM_RANS_LOW;
    if (whole < n) {
        last = *e;
        last.base += whole * bytes_of(kind);
        last.tuned += whole * bytes_of(kind);
        last.index += whole;
        last.flags += groups;
        tm_rans_encode_part(kind, &last, zero, (unsigned)(n - whole));
        memcpy(e->x, last.x, sizeof(e->x));
        e->next = last.next;
    }
    rans->kernels->encode[kind](e, groups);
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
        .entries = (const uint64_t(*)[TM_RANS_TOKENS])rans->entries,
    };
    size_t tables, length;

    scan(rans, kind, &s, n);
    count(rans, n);
    tm_rans_choose(alphabet_of(kind), &rans->costs, rans->counts,
                   &rans->choice);
    tables = write_tables(rans);
    e.classes = rans->choice.classes;
    e.has_zero = rans->choice.has_zero;
    encode(rans, kind, &e, n);
    length = HEADER + tables + STATES + (size_t)(end - e.next);
    if (length > room)
        return 0;
    to[0] = (unsigned char)top;
    to[1] = (unsigned char)(e.classes | (unsigned)e.has_zero << 7);
    to[2] = (unsigned char)tables;
    to[3] = (unsigned char)(tables >> 8);
    memcpy(to + HEADER, rans->tables, tables);
    memcpy(to + HEADER + tables, e.x, STATES);
    memcpy(to + HEADER + tables + STATES, e.next, (size_t)(end - e.next));
    return length;
}

/* --- decoding ------------------------------------------------------------- */

/*
 * The last groups, whose words the kernels' loads could miss the end of: from
 * a copy with zeros behind it. A group that takes of those ends the loop.
 */
static bool decode_end(struct tm_rans *rans, enum tm_rans_kind kind,
                       struct tm_rans_decoder *d, size_t left, size_t n)
{
    unsigned char copy[2 * TM_RANS_AHEAD] = {0}, *end = copy + left;
    size_t groups = n / TM_RANS_LANES;

    memcpy(copy, d->next, left);
    d->next = copy;
    if (rans->kernels->decode[kind](d, groups, end) < groups)
        return false;
    if (d->next <= end && n % TM_RANS_LANES > 0)
        tm_rans_decode_part(kind, d, n % TM_RANS_LANES);
    return d->next == end;
}

static bool is_at_start(const struct tm_rans_decoder *d)
{
    for (unsigned j = 0; j < TM_RANS_LANES; j++)
        if (d->x[j] != TM_RANS_LOW)
            return false;
    return d->worst != TM_RANS_ABSENT;
}

/* States and stream, `length` bytes from `next` on. */
static bool decode(struct tm_rans *rans, enum tm_rans_kind kind,
                   struct tm_rans_decoder *d, size_t length, size_t n)
{
    const unsigned char *end = d->next + length;
    size_t done = 0, left;

    for (unsigned j = 0; j < TM_RANS_LANES; j++)
        if (d->x[j] < TM_RANS_LOW || d->x[j] >> 31 != 0)
            return false;
    if (length >= TM_RANS_AHEAD)
        done = rans->kernels->decode[kind](d, n / TM_RANS_LANES,
                                           end - TM_RANS_AHEAD);
    left = (size_t)(end - d->next);
    if (left > TM_RANS_AHEAD)
        return false; /* more than a part of a group can take */
    return decode_end(rans, kind, d, left, n - done * TM_RANS_LANES) &&
           is_at_start(d);
}

bool tm_rans_decode(struct tm_rans *rans, enum tm_rans_kind kind,
                    const void *base, const void *in, size_t length, size_t n,
                    void *tuned)
{
    const unsigned char *from = in;
    struct tm_rans_decoder d = {
        .base = base,
        .tuned = tuned,
        .slots = (const uint32_t(*)[TM_RANS_SCALE])rans->slots,
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
        !tm_rans_read_tables(alphabet_of(kind), from + HEADER, tables,
                             d.classes << d.has_zero, rans->slots))
        return false;
    memcpy(d.x, from + HEADER + tables, STATES);
    d.next = from + HEADER + tables + STATES;
    return decode(rans, kind, &d, length - HEADER - tables - STATES, n);
}
