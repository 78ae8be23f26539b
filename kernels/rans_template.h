/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_template: the kernels of rans_kernels.h, once for all instruction sets
 * with vectors.
 *
 * rans_<isa>.c defines a vector layer, includes this, and makes its tables
 * with RANS_TABLE. The functions that do the work take the kind of words as an
 * argument and are inlined where it is a constant.
 *
 * The 32 states of a group are lanes of 16 bits, the high and the low halves
 * apart, in VECS vectors each. Lanes are in the order of the states. Words of
 * 16 bits are in the same order; of words of 32 bits the even states have the
 * first 16 and the odd ones the others, so that two vectors of 32-bit lanes,
 * one of even and one of odd states, become one of 16 by a shift and a blend.
 *
 * Decoding waits: from a state by way of its slot to the next state are some
 * 70 cycles. What helps is what lets a processor have the next group under
 * way, too: two sets of states by turns, and jumps that are predicted in place
 * of choices that are waited for.
 *
 * The layer has (vec is a vector of lanes of 16 or of 32 bits; all numbers are
 * unsigned; of those with 16 and 32 in their names one is described):
 *
 *     v_load, v_store                from and to any address
 *     v_set16                        the same number in each lane
 *     v_or, v_xor, v_and
 *     v_and_or(a, m, b)              (a & m) | b
 *     v_xor_and(a, b, m)             a ^ (b & m)
 *     v_add16, v_sub16, v_less16     modulo 2^16; not below 0
 *     v_min16, v_max16, v_abs16
 *     v_half16                       (a + 1) / 2
 *     V_SHL16(a, n), V_SHR16(a, n)   by a constant
 *     v_sign16                       the top bit in all bits
 *     v_shift16(a, by)               to the left, 0 to 15; v_back32 to the
 *                                    right, 0 to 31
 *     v_low_bits(a, m)               the low m bits of lanes of 16, m to 15
 *     v_even, v_odd                  16-bit lanes to 32-bit lanes
 *     v_join_low(a, b)               32-bit lanes to 16-bit lanes: the low
 *                                    halves of a in the even lanes, of b in
 *                                    the odd ones; v_join_high: the high ones
 *     v_ge16(a, b), v_is_zero16(a)   a >= b, a == 0: masks of lanes
 *     v_choose16(m, yes, no)
 *     v_octave16(a), v_octave32      the bucket of a from 32 on; from 8 on
 *
 * struct lanes and struct masks have VECS vectors and masks. Of states:
 *
 *     load_states, store_states
 *     v_double_high(high, low)       the high half of 2 x
 *     v_advance(&high, &low, f, o)   x = f (x >> 11) + o
 *     v_shift_out(&high, &low, m)    x >>= m
 *     v_shift_in(&high, &low, m)     x <<= m
 *     any_lane(masks), any_bit(lanes)
 *     next_words(shuffles, &next, masks, others)
 *                                    words of the stream for those lanes
 *     put_words(shuffles, &next, masks, words)
 *     load_slots(gather, slots, index, f, offset)
 *                                    the halves of slots: lanes of 16 bits
 *     load_entries(gather, entries, index, e)
 *     v_entry_f(e), v_push(&high, &low, e)
 *
 * and QUIET, see is_quiet().
 */
#include "kernels/rans_kernels.h"

/* Bytes to ask for before they are needed, as in sum_template.h. */
#define AHEAD 1024

struct states {
    struct lanes high, low;
};

/* The words of vector number i; those of odd states of 32 bits 64 bytes on. */
#define AT(p, i) ((p) + 64 / VECS * (i))

ALWAYS_INLINE size_t group_bytes(enum tm_rans_kind kind)
{
    return TM_RANS_LANES * (kind == TM_RANS_F32 ? 4 : 2);
}

/*
 * Whether raw bits need not be looked for. Where they are cheap a jump around
 * them costs more than they do if some groups have them and some have not, so
 * it is only taken when they have been missing for QUIET groups.
 */
ALWAYS_INLINE bool is_quiet(unsigned *quiet, bool has_raw)
{
    if (QUIET == 0)
        return !has_raw;
    *quiet = has_raw ? 0 : *quiet + 1;
    __asm__("" : "+r"(*quiet)); /* else has_raw is what is jumped upon */
    return *quiet > QUIET;
}

/* --- words ---------------------------------------------------------------- */

ALWAYS_INLINE vec exponents(enum tm_rans_kind kind, const char *words)
{
    vec w = v_load(words);

    if (kind == TM_RANS_F16)
        return v_and(V_SHR16(w, 10), v_set16(31));
    if (kind == TM_RANS_F32)
        w = v_join_high(w, v_load(words + 64));
    return v_and(V_SHR16(w, 7), v_set16(255));
}

ALWAYS_INLINE vec classes_of(enum tm_rans_kind kind, const char *base, vec top,
                             vec last)
{
    return v_min16(v_less16(top, exponents(kind, base)), last);
}

/* Between sign and magnitude and the order on the number line, both ways. */
ALWAYS_INLINE vec order16(vec a)
{
    return v_xor_and(a, v_sign16(a), v_set16(0x7fff));
}

ALWAYS_INLINE vec order32(vec a)
{
    return v_xor_and(a, v_sign32(a), v_set32(0x7fffffff));
}

/* Differences of the tuned words, away from zero where the base points. */
ALWAYS_INLINE vec differences16(const char *base, const char *tuned)
{
    vec b = v_load(base), sign = v_sign16(b);
    vec d = v_sub16(order16(v_load(tuned)), order16(b));

    return v_sub16(v_xor(d, sign), sign);
}

ALWAYS_INLINE vec differences32(const char *base, const char *tuned)
{
    vec b = v_load(base), sign = v_sign32(b);
    vec d = v_sub32(order32(v_load(tuned)), order32(b));

    return v_sub32(v_xor(d, sign), sign);
}

/* And back: magnitudes, negative where `minus` is -1 and not 0. */
ALWAYS_INLINE void apply16(const char *base, char *tuned, vec a, vec minus)
{
    vec b = v_load(base);

    minus = v_xor(minus, v_sign16(b));
    a = v_sub16(v_xor(a, minus), minus);
    v_store(tuned, order16(v_add16(order16(b), a)));
}

ALWAYS_INLINE void apply32(const char *base, char *tuned, vec a, vec minus)
{
    vec b = v_load(base);

    minus = v_xor(minus, v_sign32(b));
    a = v_sub32(v_xor(a, minus), minus);
    v_store(tuned, order32(v_add32(order32(b), a)));
}

/* --- tokens --------------------------------------------------------------- */

/* Those above have raw bits: the negative one of bucket 32 or 8 and so on. */
ALWAYS_INLINE vec last_plain_token(enum tm_rans_kind kind)
{
    return v_set16(kind == TM_RANS_F32 ? 14 : 62);
}

ALWAYS_INLINE struct masks raw_tokens(enum tm_rans_kind kind,
                                      struct lanes token)
{
    struct masks m;

    UNROLL
    for (unsigned i = 0; i < VECS; i++)
        m.v[i] = v_above16(token.v[i], last_plain_token(kind));
    return m;
}

/*
 * How many raw bits tokens have. Words of 16 bits: none below bucket 32, then
 * two, and one more for each eight buckets. 32: none below 8, then one, and
 * one more for each four.
 */
ALWAYS_INLINE vec raw_bits_of(enum tm_rans_kind kind, vec token)
{
    vec bucket = v_half16(token), zero = v_set16(0);

    if (kind == TM_RANS_F32)
        return v_less16(V_SHR16(bucket, 2), v_set16(1));
    return v_choose16(v_above16(token, last_plain_token(kind)),
                      v_sub16(V_SHR16(bucket, 3), v_set16(2)), zero);
}

/* Those with raw bits: 8 | 3 bits of the bucket, and then m raw bits. */
ALWAYS_INLINE vec magnitudes16(enum tm_rans_kind kind, vec token, vec m,
                               vec raw)
{
    vec bucket = v_half16(token);
    vec first = v_and_or(bucket, v_set16(7), v_set16(8));

    return v_choose16(v_above16(token, last_plain_token(kind)),
                      v_or(v_shift16(first, m), raw), bucket);
}

/* From 4 on 4 | 2 bits and then raw bits: the high ones, and 16 others. */
ALWAYS_INLINE vec magnitudes32(vec bucket, vec bits, vec high, vec low)
{
    vec first = v_and_or(bucket, v_set32(3), v_set32(4));
    vec raw = v_or(v_shift32(high, v_and(bits, v_set32(16))), low);

    return v_choose32(v_above32(bucket, v_set32(3)),
                      v_or(v_shift32(first, bits), raw), bucket);
}

/* --- decoding ------------------------------------------------------------- */

/* What all groups have in common. */
struct decoding {
    const unsigned char *next;
    const uint32_t *slots, *own_slots, *zero_slots;
    const struct tm_rans_shuffles *shuffles;
    vec top, last;
    vec worst;      /* the largest tokens */
    unsigned quiet; /* see is_quiet() */
    bool has_zero;
};

ALWAYS_INLINE void refill(struct decoding *d, struct states *s)
{
    struct lanes low = s->low;
    struct masks few;

    UNROLL
    for (unsigned i = 0; i < VECS; i++)
        few.v[i] = v_is_zero16(v_double_high(s->high.v[i], s->low.v[i]));
    s->low = next_words(d->shuffles, &d->next, few, low);
    UNROLL
    for (unsigned i = 0; i < VECS; i++)
        s->high.v[i] = v_choose16(few.v[i], low.v[i], s->high.v[i]);
}

/* The tokens of a group; moves its states on. */
ALWAYS_INLINE struct lanes decode_tokens(enum tm_rans_kind kind, bool gather,
                                         struct decoding *d, struct states *s,
                                         const char *base)
{
    struct lanes index, f, offset, token;

    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        vec class = classes_of(kind, AT(base, i), d->top, d->last);

        index.v[i] = v_and_or(s->low.v[i], v_set16(0x7ff), V_SHL16(class, 11));
    }
    load_slots(gather, d->slots, index, &f, &offset);
    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        token.v[i] = v_and_or(V_SHR16(f.v[i], 7), v_set16(0xe0),
                              V_SHR16(offset.v[i], 11));
        d->worst = v_max16(d->worst, token.v[i]);
        v_advance(&s->high.v[i], &s->low.v[i], v_and(f.v[i], v_set16(0xfff)),
                  v_and(offset.v[i], v_set16(0x7ff)));
    }
    refill(d, s);
    d->slots = d->own_slots;
    if (d->has_zero && !any_bit(token)) {
        d->slots = d->zero_slots;
        /* A jump, which is predicted: a choice would have to be waited for. */
        __asm__ volatile("" : "+r"(d->slots));
    }
    return token;
}

/* The low m bits of the states, which they lose. */
ALWAYS_INLINE struct lanes take_bits(struct decoding *d, struct states *s,
                                     struct lanes m)
{
    struct lanes raw;

    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        raw.v[i] = v_low_bits(s->low.v[i], m.v[i]);
        v_shift_out(&s->high.v[i], &s->low.v[i], m.v[i]);
    }
    refill(d, s);
    return raw;
}

ALWAYS_INLINE void decode_words16(enum tm_rans_kind kind, struct decoding *d,
                                  struct states *s, const char *base,
                                  char *tuned, struct lanes token)
{
    struct lanes a, m;

    UNROLL
    for (unsigned i = 0; i < VECS; i++)
        a.v[i] = v_half16(token.v[i]);
    if (!is_quiet(&d->quiet, any_lane(raw_tokens(kind, token)))) {
        UNROLL
        for (unsigned i = 0; i < VECS; i++)
            m.v[i] = raw_bits_of(kind, token.v[i]);
        a = take_bits(d, s, m);
        UNROLL
        for (unsigned i = 0; i < VECS; i++)
            a.v[i] = magnitudes16(kind, token.v[i], m.v[i], a.v[i]);
    }
    UNROLL
    for (unsigned i = 0; i < VECS; i++)
        apply16(AT(base, i), AT(tuned, i), a.v[i],
                v_sign16(V_SHL16(token.v[i], 15)));
}

ALWAYS_INLINE void decode_words32(enum tm_rans_kind kind, struct decoding *d,
                                  struct states *s, const char *base,
                                  char *tuned, struct lanes token)
{
    struct lanes bits, high, low, m;
    struct masks has_low;

    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        bits.v[i] = raw_bits_of(kind, token.v[i]);
        m.v[i] = v_and(bits.v[i], v_set16(15));
        has_low.v[i] = v_above16(bits.v[i], v_set16(15));
        high.v[i] = low.v[i] = v_set16(0);
    }
    if (!is_quiet(&d->quiet, any_lane(raw_tokens(kind, token)))) {
        high = take_bits(d, s, m);
        low = next_words(d->shuffles, &d->next, has_low, low);
    }
    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        vec t = token.v[i], bucket = v_half16(t);
        vec a = magnitudes32(v_even(bucket), v_even(bits.v[i]),
                             v_even(high.v[i]), v_even(low.v[i]));
        vec b = magnitudes32(v_odd(bucket), v_odd(bits.v[i]), v_odd(high.v[i]),
                             v_odd(low.v[i]));

        apply32(AT(base, i), AT(tuned, i), a, v_sign32(V_SHL32(t, 31)));
        apply32(AT(base, i) + 64, AT(tuned, i) + 64, b,
                v_sign32(V_SHL32(t, 15)));
    }
}

ALWAYS_INLINE void decode_group(enum tm_rans_kind kind, bool gather,
                                struct decoding *d, struct states *s,
                                const void *base, void *tuned)
{
    struct lanes token = decode_tokens(kind, gather, d, s, base);

    if (kind == TM_RANS_F32)
        decode_words32(kind, d, s, base, tuned, token);
    else
        decode_words16(kind, d, s, base, tuned, token);
}

ALWAYS_INLINE size_t decode(enum tm_rans_kind kind, bool gather,
                            struct tm_rans_decoder *out, size_t pairs,
                            const unsigned char *limit)
{
    const size_t bytes = group_bytes(kind);
    const uint32_t *own = out->slots->of[0];
    const uint32_t *zero = out->slots->of[out->has_zero ? out->classes : 0];
    struct decoding d = {
        .next = out->next,
        .slots = out->after_zero ? zero : own,
        .own_slots = own,
        .zero_slots = zero,
        .shuffles = out->shuffles,
        .top = v_set16(out->top),
        .last = v_set16(out->classes - 1),
        .worst = v_set16(0),
        .has_zero = out->has_zero,
    };
    struct states s, t;
    struct masks absent;
    size_t done = 0;

    load_states(out->x[0], &s.high, &s.low);
    load_states(out->x[1], &t.high, &t.low);
    for (; done < pairs && d.next <= limit; done++) {
        decode_group(kind, gather, &d, &s, out->base, out->tuned);
        decode_group(kind, gather, &d, &t, out->base + bytes,
                     out->tuned + bytes);
        out->base += 2 * bytes;
        out->tuned += 2 * bytes;
    }
    store_states(out->x[0], s.high, s.low);
    store_states(out->x[1], t.high, t.low);
    out->next = d.next;
    out->after_zero = d.slots != own;
    UNROLL
    for (unsigned i = 0; i < VECS; i++)
        absent.v[i] = v_ge16(d.worst, v_set16(TM_RANS_ABSENT));
    out->absent |= any_lane(absent);
    return done;
}

/* --- scanning ------------------------------------------------------------- */

/* Buckets and differences to tokens: 2 x, or 2 x - 1 below zero. */
ALWAYS_INLINE vec tokens16(const char *base, const char *tuned)
{
    vec d = differences16(base, tuned), a = v_abs16(d);

    a = v_choose16(v_ge16(a, v_set16(32)), v_octave16(a), a);
    return v_add16(v_add16(a, a), v_sign16(d));
}

ALWAYS_INLINE vec tokens32(const char *base, const char *tuned)
{
    vec d = differences32(base, tuned), a = v_abs32(d);

    a = v_choose32(v_ge32(a, v_set32(8)), v_octave32(a), a);
    return v_add32(v_add32(a, a), v_sign32(d));
}

ALWAYS_INLINE vec tokens_of(enum tm_rans_kind kind, const char *base,
                            const char *tuned)
{
    if (kind != TM_RANS_F32)
        return tokens16(base, tuned);
    return v_join_low(tokens32(base, tuned), tokens32(base + 64, tuned + 64));
}

ALWAYS_INLINE void scan_group(enum tm_rans_kind kind,
                              const struct tm_rans_scan *s, size_t g,
                              const char *base, const char *tuned)
{
    vec top = v_set16(s->top), last = v_set16(TM_RANS_CLASSES - 1);
    uint16_t *index = s->index + g * TM_RANS_LANES;
    struct lanes token;
    bool raw;

    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        vec class = classes_of(kind, AT(base, i), top, last);

        token.v[i] = tokens_of(kind, AT(base, i), AT(tuned, i));
        v_store(AT((char *)index, i), v_or(V_SHL16(class, 8), token.v[i]));
    }
    raw = any_lane(raw_tokens(kind, token));
    s->flags[g] = (unsigned char)((raw ? TM_RANS_GROUP_RAW : 0) |
                                  (any_bit(token) ? 0 : TM_RANS_GROUP_ZERO));
}

ALWAYS_INLINE void scan(enum tm_rans_kind kind, const struct tm_rans_scan *s,
                        size_t pairs)
{
    const size_t bytes = group_bytes(kind);
    const char *base = (const char *)s->base, *tuned = (const char *)s->tuned;

    for (size_t g = 0; g < 2 * pairs; g++) {
        for (size_t i = 0; i < bytes; i += 64) {
            __builtin_prefetch(base + AHEAD + i);
            __builtin_prefetch(tuned + AHEAD + i);
        }
        scan_group(kind, s, g, base, tuned);
        base += bytes;
        tuned += bytes;
    }
}

/* --- encoding ------------------------------------------------------------- */

struct encoding {
    unsigned char *next;
    const struct tm_rans_shuffles *shuffles;
    unsigned quiet; /* see is_quiet() */
};

/* Makes room in states from limit x 2^16 on. */
ALWAYS_INLINE void spill(struct encoding *e, struct states *s,
                         struct lanes limit)
{
    struct masks full;

    UNROLL
    for (unsigned i = 0; i < VECS; i++)
        full.v[i] = v_ge16(s->high.v[i], limit.v[i]);
    put_words(e->shuffles, &e->next, full, s->low);
    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        s->low.v[i] = v_choose16(full.v[i], s->high.v[i], s->low.v[i]);
        s->high.v[i] = v_choose16(full.v[i], v_set16(0), s->high.v[i]);
    }
}

/* Gives the states m bits each, the low ones of `bits`. */
ALWAYS_INLINE void give_bits(struct encoding *e, struct states *s,
                             struct lanes m, struct lanes bits)
{
    struct lanes limit;

    UNROLL
    for (unsigned i = 0; i < VECS; i++)
        limit.v[i] = v_limit(m.v[i]);
    spill(e, s, limit);
    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        v_shift_in(&s->high.v[i], &s->low.v[i], m.v[i]);
        s->low.v[i] = v_or(s->low.v[i], v_low_bits(bits.v[i], m.v[i]));
    }
}

ALWAYS_INLINE void encode_raw16(enum tm_rans_kind kind, struct encoding *e,
                                struct states *s, const char *base,
                                const char *tuned, struct lanes token)
{
    struct lanes m, a;

    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        m.v[i] = raw_bits_of(kind, token.v[i]);
        a.v[i] = v_abs16(differences16(AT(base, i), AT(tuned, i)));
    }
    give_bits(e, s, m, a);
}

ALWAYS_INLINE void encode_raw32(enum tm_rans_kind kind, struct encoding *e,
                                struct states *s, const char *base,
                                const char *tuned, struct lanes token)
{
    struct lanes m, high, low;
    struct masks has_low;

    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        const char *p = AT(base, i), *q = AT(tuned, i);
        vec bits = raw_bits_of(kind, token.v[i]);
        vec shift = v_and(bits, v_set16(16));
        vec a = v_abs32(differences32(p, q));
        vec b = v_abs32(differences32(p + 64, q + 64));

        m.v[i] = v_and(bits, v_set16(15));
        has_low.v[i] = v_above16(bits, v_set16(15));
        low.v[i] = v_join_low(a, b);
        high.v[i] =
            v_join_low(v_back32(a, v_even(shift)), v_back32(b, v_odd(shift)));
    }
    put_words(e->shuffles, &e->next, has_low, low);
    give_bits(e, s, m, high);
}

ALWAYS_INLINE void encode_tokens(bool gather, struct encoding *e,
                                 struct states *s, const uint64_t *entries,
                                 struct lanes index)
{
    struct entries found[VECS];
    struct lanes limit;

    load_entries(gather, entries, index, found);
    UNROLL
    for (unsigned i = 0; i < VECS; i++)
        limit.v[i] = V_SHL16(v_entry_f(found[i]), 4);
    spill(e, s, limit);
    UNROLL
    for (unsigned i = 0; i < VECS; i++)
        v_push(&s->high.v[i], &s->low.v[i], found[i]);
}

/* The index, with the classes that share the last table made one. */
ALWAYS_INLINE vec merge_classes(vec index, unsigned classes)
{
    vec most = v_set16(TM_RANS_INDEX(classes - 1, 255)), token = v_set16(255);

    return v_and_or(index, token, v_and(v_min16(index, most), v_set16(0xff00)));
}

ALWAYS_INLINE void encode_group(enum tm_rans_kind kind, bool gather,
                                const struct tm_rans_encoder *from,
                                struct encoding *e, struct states *s, size_t g)
{
    const char *base = (const char *)from->base + g * group_bytes(kind);
    const char *tuned = (const char *)from->tuned + g * group_bytes(kind);
    const char *at = (const char *)(from->index + g * TM_RANS_LANES);
    bool zero = from->has_zero && g > 0 &&
                (from->flags[g - 1] & TM_RANS_GROUP_ZERO) != 0;
    struct lanes index, token;

    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        index.v[i] = v_load(AT(at, i));
        token.v[i] = v_and(index.v[i], v_set16(255));
        index.v[i] = merge_classes(index.v[i], from->classes);
    }
    if (!is_quiet(&e->quiet, from->flags[g] & TM_RANS_GROUP_RAW)) {
        if (kind == TM_RANS_F32)
            encode_raw32(kind, e, s, base, tuned, token);
        else
            encode_raw16(kind, e, s, base, tuned, token);
    }
    encode_tokens(gather, e, s, from->entries->of[zero ? from->classes : 0],
                  index);
}

ALWAYS_INLINE void encode(enum tm_rans_kind kind, bool gather,
                          struct tm_rans_encoder *from, size_t pairs)
{
    struct encoding e = {from->next, from->shuffles, 0};
    struct states s, t;

    load_states(from->x[0], &s.high, &s.low);
    load_states(from->x[1], &t.high, &t.low);
    while (pairs-- > 0) {
        encode_group(kind, gather, from, &e, &t, 2 * pairs + 1);
        encode_group(kind, gather, from, &e, &s, 2 * pairs);
    }
    store_states(from->x[0], s.high, s.low);
    store_states(from->x[1], t.high, t.low);
    from->next = e.next;
}

/* --- for each kind of words ----------------------------------------------- */

#define RANS_KIND(kind, table, gather)                                         \
    static size_t decode_##table##_##kind(                                     \
        struct tm_rans_decoder *d, size_t pairs, const unsigned char *limit)   \
    {                                                                          \
        return decode(TM_RANS_##kind, gather, d, pairs, limit);                \
    }                                                                          \
    static void scan_##table##_##kind(const struct tm_rans_scan *s,            \
                                      size_t pairs)                            \
    {                                                                          \
        scan(TM_RANS_##kind, s, pairs);                                        \
    }                                                                          \
    static void encode_##table##_##kind(struct tm_rans_encoder *e,             \
                                        size_t pairs)                          \
    {                                                                          \
        encode(TM_RANS_##kind, gather, e, pairs);                              \
    }

#define RANS_TABLE(table, gather)                                              \
    RANS_KIND(BF16, table, gather)                                             \
    RANS_KIND(F16, table, gather)                                              \
    RANS_KIND(F32, table, gather)                                              \
                                                                               \
    const struct tm_rans_kernels table = {                                     \
        .decode = {decode_##table##_BF16, decode_##table##_F16,                \
                   decode_##table##_F32},                                      \
        .scan = {scan_##table##_BF16, scan_##table##_F16, scan_##table##_F32}, \
        .encode = {encode_##table##_BF16, encode_##table##_F16,                \
                   encode_##table##_F32},                                      \
    };
