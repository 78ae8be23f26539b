/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_portable: the kernels in plain C, and the last groups of a chunk for
 * all instruction sets. The functions that do the work take the kind of words
 * as an argument and are inlined where it is a constant.
 */
#include <string.h>

#include "kernels/rans_kernels.h"

/* Of the raw bits, the lowest WHOLE go into the stream as they are. */
#define WHOLE 16

/* --- words ---------------------------------------------------------------- */

ALWAYS_INLINE unsigned word_bits(enum tm_rans_kind kind)
{
    return kind == TM_RANS_F32 ? 32 : 16;
}

ALWAYS_INLINE unsigned direct_bits(enum tm_rans_kind kind)
{
    return kind == TM_RANS_F32 ? 3 : 5;
}

ALWAYS_INLINE unsigned sub_bits(enum tm_rans_kind kind)
{
    return kind == TM_RANS_F32 ? 2 : 3;
}

ALWAYS_INLINE uint32_t load_word(enum tm_rans_kind kind, const void *p,
                                 size_t i)
{
    uint32_t wide;
    uint16_t narrow;

    if (kind == TM_RANS_F32) {
        memcpy(&wide, (const char *)p + 4 * i, 4);
        return wide;
    }
    memcpy(&narrow, (const char *)p + 2 * i, 2);
    return narrow;
}

ALWAYS_INLINE void store_word(enum tm_rans_kind kind, void *p, size_t i,
                              uint32_t word)
{
    uint16_t narrow = (uint16_t)word;

    if (kind == TM_RANS_F32)
        memcpy((char *)p + 4 * i, &word, 4);
    else
        memcpy((char *)p + 2 * i, &narrow, 2);
}

ALWAYS_INLINE unsigned exponent(enum tm_rans_kind kind, uint32_t word)
{
    if (kind == TM_RANS_F32)
        return word >> 23 & 255;
    return kind == TM_RANS_BF16 ? word >> 7 & 255 : word >> 10 & 31;
}

/* Between sign and magnitude and the order on the number line, both ways. */
ALWAYS_INLINE uint32_t order(enum tm_rans_kind kind, uint32_t word)
{
    uint32_t sign = word >> (word_bits(kind) - 1);

    return word ^ ((0u - sign) & ((1u << (word_bits(kind) - 1)) - 1));
}

ALWAYS_INLINE unsigned class_of(enum tm_rans_kind kind, uint32_t base,
                                unsigned top, unsigned classes)
{
    unsigned e = exponent(kind, base);
    unsigned below = top > e ? top - e : 0;

    return below < classes ? below : classes - 1;
}

/* The word of a group that state j codes. */
ALWAYS_INLINE unsigned word_of(enum tm_rans_kind kind, unsigned j)
{
    return kind == TM_RANS_F32 ? j / 2 + j % 2 * 16 : j;
}

/* --- tokens --------------------------------------------------------------- */

struct token {
    unsigned token, raw_bits;
    uint32_t magnitude; /* has the raw bits at its end */
};

ALWAYS_INLINE struct token token_of(enum tm_rans_kind kind, uint32_t base,
                                    uint32_t tuned)
{
    unsigned n = word_bits(kind), b = sub_bits(kind), bucket, k;
    uint32_t d = order(kind, tuned) - order(kind, base), negative;
    struct token r;

    d = base >> (n - 1) ? 0 - d : d;
    negative = d >> (n - 1) & 1;
    d = negative ? 0 - d : d;
    r.magnitude = n == 16 ? d & 0xffff : d;
    bucket = r.magnitude;
    r.raw_bits = 0;
    if (bucket >> direct_bits(kind) != 0) {
        k = 31 - (unsigned)__builtin_clz(r.magnitude);
        r.raw_bits = k - b;
        bucket = (1u << direct_bits(kind)) + ((k - direct_bits(kind)) << b) +
                 (r.magnitude >> r.raw_bits & ((1u << b) - 1));
    }
    r.token = bucket == 0 ? 0 : 2 * bucket - negative;
    return r;
}

ALWAYS_INLINE unsigned raw_bits_of(enum tm_rans_kind kind, unsigned token)
{
    unsigned b = sub_bits(kind), bucket = (token + 1) / 2;

    if (bucket >> direct_bits(kind) == 0)
        return 0;
    return ((bucket - (1u << direct_bits(kind))) >> b) + direct_bits(kind) - b;
}

/* The tuned word. */
ALWAYS_INLINE uint32_t apply(enum tm_rans_kind kind, uint32_t base,
                             unsigned token, unsigned raw_bits, uint32_t raw)
{
    unsigned n = word_bits(kind), b = sub_bits(kind), bucket = (token + 1) / 2;
    uint32_t d = bucket;

    if (raw_bits > 0)
        d = (1u << b | (bucket & ((1u << b) - 1))) << raw_bits | raw;
    if ((token & 1) != base >> (n - 1))
        d = 0 - d;
    d += order(kind, base);
    return order(kind, n == 16 ? d & 0xffff : d);
}

/* --- decoding ------------------------------------------------------------- */

ALWAYS_INLINE uint16_t next_word(struct tm_rans_decoder *d)
{
    uint16_t word;

    memcpy(&word, d->next, 2);
    d->next += 2;
    return word;
}

ALWAYS_INLINE uint32_t refill(struct tm_rans_decoder *d, uint32_t x)
{
    return x < TM_RANS_LOW ? x << 16 | next_word(d) : x;
}

/* The words of a group on their way. */
struct words {
    uint8_t token[TM_RANS_LANES], raw_bits[TM_RANS_LANES];
    uint32_t raw[TM_RANS_LANES];
};

/* Returns whether there are raw bits. */
ALWAYS_INLINE bool decode_tokens(enum tm_rans_kind kind,
                                 struct tm_rans_decoder *d, uint32_t *x,
                                 unsigned count, struct words *w)
{
    unsigned first = d->has_zero && d->after_zero ? d->classes : 0;
    unsigned any = 0, any_raw = 0;

    for (unsigned j = 0; j < TM_RANS_LANES; j++) {
        unsigned i = word_of(kind, j), class;
        uint32_t slot;

        w->raw_bits[i] = 0;
        if (i >= count)
            continue;
        class = class_of(kind, load_word(kind, d->base, i), d->top, d->classes);
        slot = d->slots->of[first + class][x[j] % TM_RANS_SCALE];
        w->token[i] = (uint8_t)tm_rans_slot_token(slot);
        w->raw_bits[i] = (uint8_t)raw_bits_of(kind, w->token[i]);
        any |= w->token[i];
        any_raw |= w->raw_bits[i];
        d->absent |= w->token[i] == TM_RANS_ABSENT;
        x[j] = refill(d, tm_rans_slot_f(slot) * (x[j] >> TM_RANS_SCALE_BITS) +
                             tm_rans_slot_offset(slot));
    }
    d->after_zero = any == 0;
    return any_raw != 0;
}

/* The raw bits of all words: those in the states, then those that are not. */
ALWAYS_INLINE void decode_raw(enum tm_rans_kind kind, struct tm_rans_decoder *d,
                              uint32_t *x, struct words *w)
{
    for (unsigned j = 0; j < TM_RANS_LANES; j++) {
        unsigned i = word_of(kind, j), m = w->raw_bits[i] % WHOLE;

        w->raw[i] = x[j] & ((1u << m) - 1);
        if (m > 0)
            x[j] = refill(d, x[j] >> m);
    }
    for (unsigned j = 0; j < TM_RANS_LANES && kind == TM_RANS_F32; j++) {
        unsigned i = word_of(kind, j);

        if (w->raw_bits[i] >= WHOLE)
            w->raw[i] = w->raw[i] << WHOLE | next_word(d);
    }
}

ALWAYS_INLINE void decode_group(enum tm_rans_kind kind,
                                struct tm_rans_decoder *d, uint32_t *x,
                                unsigned count)
{
    struct words w;

    if (decode_tokens(kind, d, x, count, &w))
        decode_raw(kind, d, x, &w);
    for (unsigned i = 0; i < count; i++)
        store_word(kind, d->tuned, i,
                   apply(kind, load_word(kind, d->base, i), w.token[i],
                         w.raw_bits[i], w.raw[i]));
    d->base += count * word_bits(kind) / 8;
    d->tuned += count * word_bits(kind) / 8;
}

ALWAYS_INLINE size_t decode(enum tm_rans_kind kind, struct tm_rans_decoder *d,
                            size_t pairs, const unsigned char *limit)
{
    size_t done = 0;

    for (; done < pairs && d->next <= limit; done++) {
        decode_group(kind, d, d->x[0], TM_RANS_LANES);
        decode_group(kind, d, d->x[1], TM_RANS_LANES);
    }
    return done;
}

/* --- encoding ------------------------------------------------------------- */

ALWAYS_INLINE void scan_group(enum tm_rans_kind kind,
                              const struct tm_rans_scan *s, size_t group,
                              unsigned count)
{
    size_t at = group * TM_RANS_LANES;
    unsigned any = 0, any_raw = 0;

    for (unsigned j = 0; j < TM_RANS_LANES; j++) {
        unsigned i = word_of(kind, j), class;
        struct token t;
        uint32_t base;

        s->index[at + j] = TM_RANS_INDEX(0, TM_RANS_ABSENT);
        if (i >= count)
            continue;
        base = load_word(kind, s->base, at + i);
        t = token_of(kind, base, load_word(kind, s->tuned, at + i));
        class = class_of(kind, base, s->top, TM_RANS_CLASSES);
        s->index[at + j] = (uint16_t)TM_RANS_INDEX(class, t.token);
        any |= t.token;
        any_raw |= t.raw_bits;
    }
    s->flags[group] = (unsigned char)((any == 0 ? TM_RANS_GROUP_ZERO : 0) |
                                      (any_raw ? TM_RANS_GROUP_RAW : 0));
}

ALWAYS_INLINE void put_word(struct tm_rans_encoder *e, uint32_t word)
{
    uint16_t low = (uint16_t)word;

    e->next -= 2;
    memcpy(e->next, &low, 2);
}

/* Makes room in a state: `x` from `limit` on would become too large. */
ALWAYS_INLINE uint32_t spill(struct tm_rans_encoder *e, uint32_t x,
                             uint32_t limit)
{
    if (x < limit)
        return x;
    put_word(e, x);
    return x >> 16;
}

/* The token of the word of state j, of the `count` words from number `at` on.
 */
ALWAYS_INLINE struct token token_at(enum tm_rans_kind kind,
                                    const struct tm_rans_encoder *e, size_t at,
                                    unsigned j, unsigned count)
{
    unsigned i = word_of(kind, j);

    if (i >= count)
        return (struct token){0, 0, 0};
    return token_of(kind, load_word(kind, e->base, at + i),
                    load_word(kind, e->tuned, at + i));
}

/* The other way round than decode_raw(). */
ALWAYS_INLINE void encode_raw(enum tm_rans_kind kind, struct tm_rans_encoder *e,
                              uint32_t *x, size_t at, unsigned count)
{
    for (unsigned j = TM_RANS_LANES; j-- > 0 && kind == TM_RANS_F32;) {
        struct token t = token_at(kind, e, at, j, count);

        if (t.raw_bits >= WHOLE)
            put_word(e, t.magnitude);
    }
    for (unsigned j = TM_RANS_LANES; j-- > 0;) {
        struct token t = token_at(kind, e, at, j, count);
        unsigned m = t.raw_bits % WHOLE;
        uint32_t raw = t.magnitude >> (t.raw_bits - m) & ((1u << m) - 1);

        if (m > 0)
            x[j] = spill(e, x[j], 1u << (31 - m)) << m | raw;
    }
}

ALWAYS_INLINE void encode_tokens(enum tm_rans_kind kind,
                                 struct tm_rans_encoder *e, uint32_t *x,
                                 size_t at, unsigned count, unsigned first)
{
    for (unsigned j = TM_RANS_LANES; j-- > 0;) {
        unsigned class, f, cum;
        uint64_t entry;

        if (word_of(kind, j) >= count)
            continue;
        class = e->index[at + j] >> 8;
        class = class < e->classes ? class : e->classes - 1;
        entry = e->entries->of[first + class][e->index[at + j] & 255];
        f = entry & 0xffff;
        cum = entry >> 16 & 0xffff;
        x[j] = spill(e, x[j], f << 20);
        x[j] = (x[j] / f << TM_RANS_SCALE_BITS) + x[j] % f + cum;
    }
}

ALWAYS_INLINE void encode_group(enum tm_rans_kind kind,
                                struct tm_rans_encoder *e, size_t group,
                                unsigned count)
{
    size_t at = group * TM_RANS_LANES;
    bool zero = e->has_zero && group > 0 &&
                (e->flags[group - 1] & TM_RANS_GROUP_ZERO) != 0;

    if (e->flags[group] & TM_RANS_GROUP_RAW)
        encode_raw(kind, e, e->x[group % 2], at, count);
    encode_tokens(kind, e, e->x[group % 2], at, count, zero ? e->classes : 0);
}

/* --- for each kind of words ----------------------------------------------- */

#define DEFINE(kind)                                                           \
    static size_t decode_##kind(struct tm_rans_decoder *d, size_t pairs,       \
                                const unsigned char *limit)                    \
    {                                                                          \
        return decode(TM_RANS_##kind, d, pairs, limit);                        \
    }                                                                          \
    static void scan_##kind(const struct tm_rans_scan *s, size_t pairs)        \
    {                                                                          \
        for (size_t g = 0; g < 2 * pairs; g++)                                 \
            scan_group(TM_RANS_##kind, s, g, TM_RANS_LANES);                   \
    }                                                                          \
    static void encode_##kind(struct tm_rans_encoder *e, size_t pairs)         \
    {                                                                          \
        for (size_t g = 2 * pairs; g-- > 0;)                                   \
            encode_group(TM_RANS_##kind, e, g, TM_RANS_LANES);                 \
    }

DEFINE(BF16)
DEFINE(F16)
DEFINE(F32)

const struct tm_rans_kernels tm_rans_portable = {
    .decode = {decode_BF16, decode_F16, decode_F32},
    .scan = {scan_BF16, scan_F16, scan_F32},
    .encode = {encode_BF16, encode_F16, encode_F32},
};

void tm_rans_decode_group(enum tm_rans_kind kind, struct tm_rans_decoder *d,
                          size_t group, unsigned count)
{
    decode_group(kind, d, d->x[group % 2], count);
}

void tm_rans_scan_group(enum tm_rans_kind kind, const struct tm_rans_scan *s,
                        size_t group, unsigned count)
{
    scan_group(kind, s, group, count);
}

void tm_rans_encode_group(enum tm_rans_kind kind, struct tm_rans_encoder *e,
                          size_t group, unsigned count)
{
    encode_group(kind, e, group, count);
}
