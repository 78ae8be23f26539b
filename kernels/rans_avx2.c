/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_avx2: the kernels for x86-64 with AVX2. As in rans_avx512, the states
 * of a group are lanes of 16 bits, high and low halves apart: here two vectors
 * of 16 states each. What AVX2 lacks is made up for by shuffles that are
 * looked up by mask, eight lanes at a time, and by multiplying with powers of
 * two where lanes are shifted differently.
 *
 * Slots are loaded one by one. Gathers take several times as long where they
 * are made safe against Gather Data Sampling, and processors with neither
 * AVX-512 nor that flaw are slow at them, too.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/rans_kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,popcnt"))),           \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,popcnt")
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* So that what is indexed by the loop's variable stays in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 4")
#endif

/* Bytes to ask for before they are needed, as in sum_template.h. */
#define AHEAD 1024

/* --- lanes ---------------------------------------------------------------- */

ALWAYS_INLINE __m256i set16(unsigned value)
{
    return _mm256_set1_epi16((short)value);
}

ALWAYS_INLINE __m256i set32(unsigned value)
{
    return _mm256_set1_epi32((int)value);
}

ALWAYS_INLINE __m256i load(const void *p)
{
    return _mm256_loadu_si256(p);
}

ALWAYS_INLINE void store(void *p, __m256i a)
{
    _mm256_storeu_si256(p, a);
}

/* (a & mask) | b */
ALWAYS_INLINE __m256i and_or(__m256i a, __m256i mask, __m256i b)
{
    return _mm256_or_si256(_mm256_and_si256(a, mask), b);
}

/* a ^ (b & mask) */
ALWAYS_INLINE __m256i xor_and(__m256i a, __m256i b, __m256i mask)
{
    return _mm256_xor_si256(a, _mm256_and_si256(b, mask));
}

/* Of lanes of 32 bits: the low or the high halves of a's and b's by turns. */
ALWAYS_INLINE __m256i join_low(__m256i a, __m256i b)
{
    return _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xaa);
}

ALWAYS_INLINE __m256i join_high(__m256i a, __m256i b)
{
    return _mm256_blend_epi16(_mm256_srli_epi32(a, 16), b, 0xaa);
}

/* And back: what became of a and b. */
ALWAYS_INLINE __m256i even(__m256i a)
{
    return _mm256_blend_epi16(a, _mm256_setzero_si256(), 0xaa);
}

ALWAYS_INLINE __m256i odd(__m256i a)
{
    return _mm256_srli_epi32(a, 16);
}

ALWAYS_INLINE bool is_zero(__m256i a)
{
    return _mm256_testz_si256(a, a) != 0;
}

/* For a mask of lanes. */
ALWAYS_INLINE __m256i choose(__m256i mask, __m256i yes, __m256i no)
{
    return _mm256_blendv_epi8(no, yes, mask);
}

/* In each lane, the byte of a table of 16 that the lane's number says. */
ALWAYS_INLINE __m256i look_up(__m128i table, __m256i at)
{
    at = _mm256_or_si256(at, set16(0x8000)); /* zero for the high byte */
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), at);
}

/* 2^m and 2^(15 - m), for m from 0 to 15. */
struct powers {
    __m256i up, down;
};

ALWAYS_INLINE struct powers powers_of(__m256i m)
{
    const __m128i rising =
        _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m128i falling =
        _mm_setr_epi8(-128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    __m256i up = look_up(rising, m), down = look_up(falling, m);
    __m256i late_up = look_up(_mm_slli_si128(rising, 8), m);
    __m256i late_down = look_up(_mm_slli_si128(falling, 8), m);
    struct powers p;

    p.up = _mm256_or_si256(up, _mm256_slli_epi16(late_up, 8));
    p.down = _mm256_or_si256(_mm256_slli_epi16(down, 8), late_down);
    return p;
}

/* --- 32 lanes of 16 bits: words, states --------------------------------- */

struct pair {
    __m256i v[2];
};

/* The bits of the lanes of two masks: lanes 0 to 7, 8 to 15 and so on. */
struct mask {
    unsigned bits[4];
    unsigned before[5]; /* how many are set in those before */
};

ALWAYS_INLINE unsigned count_bits(unsigned bits)
{
    return (unsigned)_mm_popcnt_u32(bits);
}

ALWAYS_INLINE struct mask mask_of(struct pair lanes)
{
    /* Packing takes eight lanes of one and eight of the other by turns. */
    unsigned bits = (unsigned)_mm256_movemask_epi8(
        _mm256_packs_epi16(lanes.v[0], lanes.v[1]));
    struct mask m;

    m.bits[0] = bits & 255;
    m.bits[1] = bits >> 16 & 255;
    m.bits[2] = bits >> 8 & 255;
    m.bits[3] = bits >> 24;
    m.before[0] = 0;
    m.before[1] = count_bits(bits & 0xff);
    m.before[2] = count_bits(bits & 0xff00ff);
    m.before[3] = count_bits(bits & 0xffffff);
    m.before[4] = count_bits(bits);
    return m;
}

/* What all groups have in common. */
struct decoding {
    const unsigned char *next;
    const uint32_t *slots, *own_slots, *zero_slots;
    const struct tm_rans_shuffles *shuffles;
    __m256i top, last;
    __m256i worst; /* the largest tokens */
    bool has_zero;
};

ALWAYS_INLINE __m128i eight_words(const struct decoding *d,
                                  const struct mask *m, unsigned i)
{
    __m128i words = _mm_loadu_si128((const void *)(d->next + 2 * m->before[i]));

    return _mm_shuffle_epi8(
        words, _mm_load_si128((const void *)d->shuffles->expand[m->bits[i]]));
}

/* Words of the stream for the lanes of the mask, zero for the others. */
ALWAYS_INLINE struct pair next_words(struct decoding *d, struct pair lanes)
{
    struct mask m = mask_of(lanes);
    struct pair words;

    UNROLL
    for (unsigned i = 0; i < 2; i++)
        words.v[i] = _mm256_inserti128_si256(
            _mm256_castsi128_si256(eight_words(d, &m, 2 * i)),
            eight_words(d, &m, 2 * i + 1), 1);
    d->next += 2 * m.before[4];
    return words;
}

struct states {
    struct pair high, low;
};

ALWAYS_INLINE struct states load_states(const uint32_t x[TM_RANS_LANES])
{
    struct states s;

    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        __m256i a = load(x + 16 * i), b = load(x + 16 * i + 8);
        __m256i low = _mm256_packus_epi32(even(a), even(b));
        __m256i high = _mm256_packus_epi32(odd(a), odd(b));

        s.low.v[i] = _mm256_permute4x64_epi64(low, 0xd8);
        s.high.v[i] = _mm256_permute4x64_epi64(high, 0xd8);
    }
    return s;
}

ALWAYS_INLINE void store_states(uint32_t x[TM_RANS_LANES], struct states s)
{
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        __m256i low = _mm256_permute4x64_epi64(s.low.v[i], 0xd8);
        __m256i high = _mm256_permute4x64_epi64(s.high.v[i], 0xd8);

        store(x + 16 * i, _mm256_unpacklo_epi16(low, high));
        store(x + 16 * i + 8, _mm256_unpackhi_epi16(low, high));
    }
}

/* --- words ---------------------------------------------------------------- */

/*
 * The addresses of the words of states 16 i on: of 16 words, or of eight for
 * the even states and eight for the odd ones.
 */
ALWAYS_INLINE const char *words_at(enum tm_rans_kind kind, const void *words,
                                   unsigned i, unsigned is_odd)
{
    (void)kind;
    return (const char *)words + 32 * i + 64 * is_odd;
}

/* The exponents of 16 words; in the order of their states, as everything. */
ALWAYS_INLINE __m256i exponents(enum tm_rans_kind kind, const void *words,
                                unsigned i)
{
    __m256i w = load(words_at(kind, words, i, 0));

    if (kind == TM_RANS_F16)
        return _mm256_and_si256(_mm256_srli_epi16(w, 10), set16(31));
    if (kind == TM_RANS_F32)
        w = join_high(w, load(words_at(kind, words, i, 1)));
    return _mm256_and_si256(_mm256_srli_epi16(w, 7), set16(255));
}

ALWAYS_INLINE __m256i classes_of(enum tm_rans_kind kind, const void *base,
                                 unsigned i, __m256i top, __m256i last)
{
    return _mm256_min_epu16(_mm256_subs_epu16(top, exponents(kind, base, i)),
                            last);
}

/* Base words and magnitudes to tuned words; `minus` is 0 or -1. */
ALWAYS_INLINE __m256i apply16(__m256i base, __m256i magnitude, __m256i minus)
{
    __m256i low = set16(0x7fff), sign = _mm256_srai_epi16(base, 15), o;

    minus = _mm256_xor_si256(minus, sign);
    o = _mm256_sub_epi16(_mm256_xor_si256(magnitude, minus), minus);
    o = _mm256_add_epi16(o, xor_and(base, sign, low));
    return xor_and(o, _mm256_srai_epi16(o, 15), low);
}

ALWAYS_INLINE __m256i apply32(__m256i base, __m256i magnitude, __m256i minus)
{
    __m256i low = set32(0x7fffffff), sign = _mm256_srai_epi32(base, 31), o;

    minus = _mm256_xor_si256(minus, sign);
    o = _mm256_sub_epi32(_mm256_xor_si256(magnitude, minus), minus);
    o = _mm256_add_epi32(o, xor_and(base, sign, low));
    return xor_and(o, _mm256_srai_epi32(o, 31), low);
}

/* --- decoding ------------------------------------------------------------- */

/* The high halves of 2 x; 0 if x < L. */
ALWAYS_INLINE __m256i doubled_high(const struct states *s, unsigned i)
{
    return _mm256_or_si256(_mm256_slli_epi16(s->high.v[i], 1),
                           _mm256_srli_epi16(s->low.v[i], 15));
}

/* A state without high bits is below 2^16: its low half becomes the high. */
ALWAYS_INLINE void refill(struct decoding *d, struct states *s)
{
    struct pair few, words;

    UNROLL
    for (unsigned i = 0; i < 2; i++)
        few.v[i] =
            _mm256_cmpeq_epi16(doubled_high(s, i), _mm256_setzero_si256());
    words = next_words(d, few);
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        s->high.v[i] = and_or(s->low.v[i], few.v[i], s->high.v[i]);
        s->low.v[i] = _mm256_or_si256(
            _mm256_andnot_si256(few.v[i], s->low.v[i]), words.v[i]);
    }
}

/* x = f (x >> 11) + offset */
ALWAYS_INLINE void advance(__m256i *high, __m256i *low, __m256i f,
                           __m256i offset)
{
    __m256i middle = _mm256_or_si256(_mm256_slli_epi16(*high, 5),
                                     _mm256_srli_epi16(*low, 11));
    __m256i top = _mm256_mullo_epi16(_mm256_srli_epi16(*high, 11), f);
    __m256i sum = _mm256_add_epi16(_mm256_mullo_epi16(middle, f), offset);
    /* -1 where there is no carry */
    __m256i none = _mm256_cmpeq_epi16(_mm256_max_epu16(sum, offset), sum);

    top = _mm256_add_epi16(top, _mm256_mulhi_epu16(middle, f));
    *high = _mm256_add_epi16(_mm256_add_epi16(top, set16(1)), none);
    *low = sum;
}

/* Four of the slots, at every other index. */
ALWAYS_INLINE __m128i four_slots(const uint32_t *slots, const uint16_t *at)
{
    __m128i r = _mm_cvtsi32_si128((int)slots[at[0]]);

    r = _mm_insert_epi32(r, (int)slots[at[2]], 1);
    r = _mm_insert_epi32(r, (int)slots[at[4]], 2);
    return _mm_insert_epi32(r, (int)slots[at[6]], 3);
}

ALWAYS_INLINE __m256i eight_slots(const uint32_t *slots, const uint16_t *at)
{
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(four_slots(slots, at)),
        four_slots(slots, at + 8), 1);
}

/* The tokens of a group; moves its states on. */
ALWAYS_INLINE struct pair decode_tokens(enum tm_rans_kind kind,
                                        struct decoding *d, struct states *s,
                                        const void *base)
{
    _Alignas(32) uint16_t at[TM_RANS_LANES];
    struct pair token;

    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        __m256i class = classes_of(kind, base, i, d->top, d->last);

        store(at + 16 * i,
              and_or(s->low.v[i], set16(0x7ff), _mm256_slli_epi16(class, 11)));
    }
    __asm__("" : "+m"(at)); /* else they are extracted one by one */
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        __m256i a = eight_slots(d->slots, at + 16 * i);
        __m256i b = eight_slots(d->slots, at + 16 * i + 1);
        __m256i f = join_high(a, b), offset = join_low(a, b);

        token.v[i] = and_or(_mm256_srli_epi16(f, 7), set16(0xe0),
                            _mm256_srli_epi16(offset, 11));
        advance(&s->high.v[i], &s->low.v[i], _mm256_and_si256(f, set16(0xfff)),
                _mm256_and_si256(offset, set16(0x7ff)));
        d->worst = _mm256_max_epu16(d->worst, token.v[i]);
    }
    refill(d, s);
    d->slots = d->own_slots;
    if (d->has_zero && is_zero(_mm256_or_si256(token.v[0], token.v[1]))) {
        d->slots = d->zero_slots;
        /* A jump, which is predicted: a choice would have to be waited for. */
        __asm__ volatile("" : "+r"(d->slots));
    }
    return token;
}

/*
 * The low m bits of the states, which they lose; in place of m itself. Shifted
 * by 1 to the left, which they have room for, states are then shifted by m + 1
 * to the right: a product with 2^(15 - m) less its low half.
 */
ALWAYS_INLINE void take_bits(struct decoding *d, struct states *s,
                             struct pair *m, struct powers p[2])
{
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        __m256i high = doubled_high(s, i), low = s->low.v[i], down;

        p[i] = powers_of(m->v[i]);
        down = p[i].down;
        m->v[i] = _mm256_and_si256(low, _mm256_sub_epi16(p[i].up, set16(1)));
        low = _mm256_mulhi_epu16(_mm256_add_epi16(low, low), down);
        s->low.v[i] = _mm256_or_si256(low, _mm256_mullo_epi16(high, down));
        s->high.v[i] = _mm256_mulhi_epu16(high, down);
    }
    refill(d, s);
}

/*
 * Magnitudes from 32 on are buckets of octaves: 8 | 3 bits, and raw bits. All
 * that depends on is a bucket's number of eight, up to 15: 0 to 3 are those
 * without raw bits.
 */
ALWAYS_INLINE void magnitudes16(struct decoding *d, struct states *s,
                                struct pair *bucket)
{
    const __m128i raw_bits =
        _mm_setr_epi8(0, 0, 0, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13);
    const __m128i first_bits =
        _mm_setr_epi8(0, 8, 16, 24, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8);
    struct pair raw, eights;
    struct powers p[2];

    if (is_zero(_mm256_cmpgt_epi16(_mm256_max_epu16(bucket->v[0], bucket->v[1]),
                                   set16(31))))
        return;
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        eights.v[i] = _mm256_srli_epi16(bucket->v[i], 3);
        raw.v[i] = look_up(raw_bits, eights.v[i]);
    }
    take_bits(d, s, &raw, p);
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        __m256i first =
            and_or(bucket->v[i], set16(7), look_up(first_bits, eights.v[i]));

        bucket->v[i] =
            _mm256_or_si256(_mm256_mullo_epi16(first, p[i].up), raw.v[i]);
    }
}

/* 0 or -1, by the sign of tokens; a token's bucket. */
ALWAYS_INLINE __m256i minus_of(__m256i token)
{
    return _mm256_sub_epi16(_mm256_setzero_si256(),
                            _mm256_and_si256(token, set16(1)));
}

ALWAYS_INLINE __m256i bucket_of(__m256i token)
{
    return _mm256_avg_epu16(token, _mm256_setzero_si256());
}

ALWAYS_INLINE void store_words16(struct decoding *d, struct states *s,
                                 const char *base, char *tuned,
                                 struct pair token)
{
    struct pair a = {{bucket_of(token.v[0]), bucket_of(token.v[1])}};

    magnitudes16(d, s, &a);
    UNROLL
    for (unsigned i = 0; i < 2; i++)
        store(tuned + 32 * i,
              apply16(load(base + 32 * i), a.v[i], minus_of(token.v[i])));
}

/* How many raw bits buckets have: those of 4 to 7 none, then one more for 4. */
ALWAYS_INLINE __m256i raw_bits32(__m256i bucket)
{
    return _mm256_subs_epu16(_mm256_srli_epi16(bucket, 2), set16(1));
}

/* From 4 on: 4 | 2 bits, and raw bits: what was in the state, the others. */
ALWAYS_INLINE __m256i magnitudes32(__m256i bucket, __m256i raw_bits,
                                   __m256i raw, __m256i whole)
{
    __m256i first = and_or(bucket, set32(3), set32(4));
    __m256i shift = _mm256_and_si256(raw_bits, set32(16));

    raw = _mm256_or_si256(_mm256_sllv_epi32(raw, shift), whole);
    raw = _mm256_or_si256(_mm256_sllv_epi32(first, raw_bits), raw);
    return choose(_mm256_cmpgt_epi32(bucket, set32(3)), raw, bucket);
}

/* The words of states 16 i on: a of the even ones, b of the odd ones. */
ALWAYS_INLINE void store_half32(const char *base, char *tuned, unsigned i,
                                __m256i a, __m256i b, __m256i token)
{
    __m256i minus = _mm256_srai_epi32(_mm256_slli_epi32(token, 31), 31);

    store(tuned + 32 * i, apply32(load(base + 32 * i), a, minus));
    minus = _mm256_srai_epi32(_mm256_slli_epi32(token, 15), 31);
    store(tuned + 32 * i + 64, apply32(load(base + 32 * i + 64), b, minus));
}

ALWAYS_INLINE void store_words32(struct decoding *d, struct states *s,
                                 const char *base, char *tuned,
                                 struct pair token)
{
    struct pair bucket = {{bucket_of(token.v[0]), bucket_of(token.v[1])}};
    struct pair bits = {{raw_bits32(bucket.v[0]), raw_bits32(bucket.v[1])}};
    struct pair raw, whole, has_whole;
    struct powers p[2];

    if (is_zero(_mm256_or_si256(bits.v[0], bits.v[1]))) {
        UNROLL
        for (unsigned i = 0; i < 2; i++)
            store_half32(base, tuned, i, even(bucket.v[i]), odd(bucket.v[i]),
                         token.v[i]);
        return;
    }
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        raw.v[i] = _mm256_and_si256(bits.v[i], set16(15));
        has_whole.v[i] = _mm256_cmpgt_epi16(bits.v[i], set16(15));
    }
    take_bits(d, s, &raw, p);
    whole = next_words(d, has_whole);
    UNROLL
    for (unsigned i = 0; i < 2; i++)
        store_half32(base, tuned, i,
                     magnitudes32(even(bucket.v[i]), even(bits.v[i]),
                                  even(raw.v[i]), even(whole.v[i])),
                     magnitudes32(odd(bucket.v[i]), odd(bits.v[i]),
                                  odd(raw.v[i]), odd(whole.v[i])),
                     token.v[i]);
}

ALWAYS_INLINE void decode_group(enum tm_rans_kind kind, struct decoding *d,
                                struct states *s, const void *base, void *tuned)
{
    struct pair token = decode_tokens(kind, d, s, base);

    if (kind == TM_RANS_F32)
        store_words32(d, s, base, tuned, token);
    else
        store_words16(d, s, base, tuned, token);
}

ALWAYS_INLINE size_t decode(enum tm_rans_kind kind, struct tm_rans_decoder *out,
                            size_t pairs, const unsigned char *limit)
{
    const size_t bytes = TM_RANS_LANES * (kind == TM_RANS_F32 ? 4 : 2);
    const uint32_t *own = out->slots->of[0];
    const uint32_t *zero = out->slots->of[out->has_zero ? out->classes : 0];
    struct decoding d = {
        .next = out->next,
        .slots = out->after_zero ? zero : own,
        .own_slots = own,
        .zero_slots = zero,
        .shuffles = out->shuffles,
        .top = set16(out->top),
        .last = set16(out->classes - 1),
        .worst = _mm256_setzero_si256(),
        .has_zero = out->has_zero,
    };
    struct states s = load_states(out->x[0]), t = load_states(out->x[1]);
    const unsigned char *base = out->base;
    unsigned char *tuned = out->tuned;
    size_t done = 0;

    for (; done < pairs && d.next <= limit; done++) {
        decode_group(kind, &d, &s, base, tuned);
        decode_group(kind, &d, &t, base + bytes, tuned + bytes);
        base += 2 * bytes;
        tuned += 2 * bytes;
    }
    store_states(out->x[0], s);
    store_states(out->x[1], t);
    out->next = d.next;
    out->base = base;
    out->tuned = tuned;
    out->after_zero = d.slots != own;
    out->absent |= !is_zero(_mm256_cmpeq_epi16(d.worst, set16(TM_RANS_ABSENT)));
    return done;
}

/* --- scanning ------------------------------------------------------------- */

/* Differences of the tuned words, away from zero where the base points. */
ALWAYS_INLINE __m256i differences16(__m256i base, __m256i tuned)
{
    __m256i low = set16(0x7fff), sign = _mm256_srai_epi16(base, 15);
    __m256i o = xor_and(tuned, _mm256_srai_epi16(tuned, 15), low);
    __m256i d = _mm256_sub_epi16(o, xor_and(base, sign, low));

    return _mm256_sub_epi16(_mm256_xor_si256(d, sign), sign);
}

ALWAYS_INLINE __m256i differences32(__m256i base, __m256i tuned)
{
    __m256i low = set32(0x7fffffff), sign = _mm256_srai_epi32(base, 31);
    __m256i o = xor_and(tuned, _mm256_srai_epi32(tuned, 31), low);
    __m256i d = _mm256_sub_epi32(o, xor_and(base, sign, low));

    return _mm256_sub_epi32(_mm256_xor_si256(d, sign), sign);
}

/*
 * A float's exponent and first bits of mantissa, as one number, count through
 * the buckets of octaves. Magnitudes of 16 bits are exact as floats; of larger
 * ones bits are left out so that rounding stays below the first mantissa bits.
 * 2^31 is taken for -2^31, and its sign left out.
 */
ALWAYS_INLINE __m256i float_bits(__m256i a)
{
    __m256i few = _mm256_andnot_si256(_mm256_srli_epi32(a, 8), a);

    return _mm256_slli_epi32(_mm256_castps_si256(_mm256_cvtepi32_ps(few)), 1);
}

/* From 32 on: that of 32 is bucket 32, and its float begins with 132 << 3. */
ALWAYS_INLINE __m256i octaves16(__m256i magnitude)
{
    __m256i a = _mm256_srli_epi32(float_bits(even(magnitude)), 21);
    __m256i b = _mm256_srli_epi32(float_bits(odd(magnitude)), 21);

    return _mm256_sub_epi16(join_low(a, b), set16((132 << 3) - 32));
}

/* From 8 on: that of 8 is bucket 8, and its float begins with 130 << 2. */
ALWAYS_INLINE __m256i octaves32(__m256i magnitude)
{
    return _mm256_sub_epi32(_mm256_srli_epi32(float_bits(magnitude), 22),
                            set32((130 << 2) - 8));
}

/* 16 words: their tokens; adds to `raw` which have raw bits. */
ALWAYS_INLINE __m256i tokens16(const void *base, const void *tuned,
                               __m256i *raw)
{
    __m256i d = differences16(load(base), load(tuned));
    __m256i bucket = _mm256_abs_epi16(d), is_octave;

    is_octave = _mm256_cmpeq_epi16(_mm256_max_epu16(bucket, set16(32)), bucket);
    *raw = _mm256_or_si256(*raw, is_octave);
    bucket = choose(is_octave, octaves16(bucket), bucket);
    return _mm256_add_epi16(_mm256_add_epi16(bucket, bucket),
                            _mm256_srai_epi16(d, 15));
}

/* Eight words, in lanes of 32 bits. */
ALWAYS_INLINE __m256i tokens32(const void *base, const void *tuned,
                               __m256i *raw)
{
    __m256i d = differences32(load(base), load(tuned));
    __m256i bucket = _mm256_abs_epi32(d), is_octave;

    is_octave = _mm256_cmpeq_epi32(_mm256_max_epu32(bucket, set32(8)), bucket);
    *raw = _mm256_or_si256(*raw, is_octave);
    bucket = choose(is_octave, octaves32(bucket), bucket);
    return _mm256_add_epi32(_mm256_add_epi32(bucket, bucket),
                            _mm256_srai_epi32(d, 31));
}

/* Of states 16 i on. */
ALWAYS_INLINE __m256i tokens_of(enum tm_rans_kind kind, const char *base,
                                const char *tuned, unsigned i, __m256i *raw)
{
    base += 32 * i;
    tuned += 32 * i;
    if (kind != TM_RANS_F32)
        return tokens16(base, tuned, raw);
    return join_low(tokens32(base, tuned, raw),
                    tokens32(base + 64, tuned + 64, raw));
}

ALWAYS_INLINE void prefetch(const void *base, const void *tuned, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) {
        _mm_prefetch((const char *)base + AHEAD + i, _MM_HINT_T0);
        _mm_prefetch((const char *)tuned + AHEAD + i, _MM_HINT_T0);
    }
}

ALWAYS_INLINE void scan(enum tm_rans_kind kind, const struct tm_rans_scan *s,
                        size_t pairs)
{
    const size_t bytes = TM_RANS_LANES * (kind == TM_RANS_F32 ? 4 : 2);
    __m256i top = set16(s->top), last = set16(TM_RANS_CLASSES - 1);
    const void *base = s->base, *tuned = s->tuned;

    for (size_t g = 0; g < 2 * pairs; g++) {
        __m256i raw = _mm256_setzero_si256(), any = raw;

        base = s->base + g * bytes;
        tuned = s->tuned + g * bytes;
        prefetch(base, tuned, bytes);
        UNROLL
        for (unsigned i = 0; i < 2; i++) {
            __m256i class = classes_of(kind, base, i, top, last);
            __m256i token = tokens_of(kind, base, tuned, i, &raw);

            store(s->index + g * TM_RANS_LANES + 16 * i,
                  _mm256_or_si256(_mm256_slli_epi16(class, 8), token));
            any = _mm256_or_si256(any, token);
        }
        s->flags[g] = (unsigned char)((is_zero(raw) ? 0 : TM_RANS_GROUP_RAW) |
                                      (is_zero(any) ? TM_RANS_GROUP_ZERO : 0));
    }
}

/* --- encoding ------------------------------------------------------------- */

struct encoding {
    unsigned char *next;
    const struct tm_rans_shuffles *shuffles;
};

/*
 * The lanes' words, of those chosen, go below `next`: eight lanes at a time
 * are moved to the end of a vector, and what is stored before them is garbage
 * which the next words go over.
 */
ALWAYS_INLINE void put_words(struct encoding *e, struct pair chosen,
                             struct pair words)
{
    struct mask m = mask_of(chosen);
    unsigned char *begin = e->next - 2 * m.before[4];

    UNROLL
    for (unsigned i = 4; i-- > 0;) {
        __m256i from = words.v[i / 2];
        __m128i eight = i % 2 ? _mm256_extracti128_si256(from, 1)
                              : _mm256_castsi256_si128(from);
        const void *shuffle = e->shuffles->compress[m.bits[i]];

        eight = _mm_shuffle_epi8(eight, _mm_load_si128(shuffle));
        _mm_storeu_si128((void *)(begin + 2 * m.before[i + 1] - 16), eight);
    }
    e->next = begin;
}

/* Makes room in states from limit x 2^16 on. */
ALWAYS_INLINE void spill(struct encoding *e, struct states *s,
                         struct pair limit)
{
    struct pair full;

    /* Less one, both sides are positive numbers of 16 bits. */
    UNROLL
    for (unsigned i = 0; i < 2; i++)
        full.v[i] = _mm256_cmpgt_epi16(s->high.v[i],
                                       _mm256_sub_epi16(limit.v[i], set16(1)));
    put_words(e, full, s->low);
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        s->low.v[i] = choose(full.v[i], s->high.v[i], s->low.v[i]);
        s->high.v[i] = _mm256_andnot_si256(full.v[i], s->high.v[i]);
    }
}

/* Gives the states m bits each, the low ones of `bits`. */
ALWAYS_INLINE void give_bits(struct encoding *e, struct states *s,
                             struct pair m, struct pair bits)
{
    struct powers p[2];
    struct pair limit;

    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        p[i] = powers_of(m.v[i]);
        limit.v[i] = p[i].down;
    }
    spill(e, s, limit);
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        __m256i low = s->low.v[i], up = p[i].up;
        __m256i raw =
            _mm256_and_si256(bits.v[i], _mm256_sub_epi16(up, set16(1)));

        s->high.v[i] = _mm256_or_si256(_mm256_mullo_epi16(s->high.v[i], up),
                                       _mm256_mulhi_epu16(low, up));
        s->low.v[i] = _mm256_or_si256(_mm256_mullo_epi16(low, up), raw);
    }
}

ALWAYS_INLINE void encode_raw16(struct encoding *e, struct states *s,
                                const char *base, const char *tuned,
                                struct pair token)
{
    struct pair m, a;

    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        __m256i bucket = bucket_of(token.v[i]);
        __m256i has_raw = _mm256_cmpgt_epi16(bucket, set16(31));

        m.v[i] = _mm256_and_si256(
            _mm256_sub_epi16(_mm256_srli_epi16(bucket, 3), set16(2)), has_raw);
        a.v[i] = _mm256_abs_epi16(
            differences16(load(base + 32 * i), load(tuned + 32 * i)));
    }
    give_bits(e, s, m, a);
}

ALWAYS_INLINE __m256i magnitudes_at(const char *base, const char *tuned)
{
    return _mm256_abs_epi32(differences32(load(base), load(tuned)));
}

ALWAYS_INLINE void encode_raw32(struct encoding *e, struct states *s,
                                const char *base, const char *tuned,
                                struct pair token)
{
    struct pair m, high, low, has_whole;

    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        __m256i bits = raw_bits32(bucket_of(token.v[i]));
        __m256i shift = _mm256_and_si256(bits, set16(16));
        __m256i a = magnitudes_at(base + 32 * i, tuned + 32 * i);
        __m256i b = magnitudes_at(base + 32 * i + 64, tuned + 32 * i + 64);

        m.v[i] = _mm256_and_si256(bits, set16(15));
        has_whole.v[i] = _mm256_cmpgt_epi16(bits, set16(15));
        low.v[i] = join_low(a, b);
        high.v[i] = join_low(_mm256_srlv_epi32(a, even(shift)),
                             _mm256_srlv_epi32(b, odd(shift)));
    }
    put_words(e, has_whole, low);
    give_bits(e, s, m, high);
}

/* f and cum, and 1 / f, of eight states, as vectors of 32 bits. */
struct entries {
    __m256i low, inverse;
};

ALWAYS_INLINE __m128i two_entries(const uint64_t *entries, const uint16_t *at)
{
    return _mm_insert_epi64(_mm_cvtsi64_si128((long long)entries[at[0]]),
                            (long long)entries[at[2]], 1);
}

ALWAYS_INLINE __m256 four_entries(const uint64_t *entries, const uint16_t *at)
{
    return _mm256_castsi256_ps(_mm256_inserti128_si256(
        _mm256_castsi128_si256(two_entries(entries, at)),
        two_entries(entries, at + 8), 1));
}

/* Those at every other index. */
ALWAYS_INLINE struct entries load_entries(const uint64_t *entries,
                                          const uint16_t *at)
{
    __m256 a = four_entries(entries, at), b = four_entries(entries, at + 4);
    struct entries e;

    e.low = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
    e.inverse = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
    return e;
}

/* x / f x T + x mod f + cum, for x below 2^20 f; see rans_avx512.c. */
ALWAYS_INLINE __m256i push(__m256i x, struct entries e)
{
    __m256i f = even(e.low), cum = odd(e.low), q, rest, more;

    q = _mm256_cvttps_epi32(
        _mm256_mul_ps(_mm256_cvtepi32_ps(x), _mm256_castsi256_ps(e.inverse)));
    rest = _mm256_sub_epi32(x, _mm256_mullo_epi32(q, f));
    more = _mm256_cmpgt_epi32(f, rest);
    x = _mm256_add_epi32(_mm256_slli_epi32(q, TM_RANS_SCALE_BITS),
                         _mm256_add_epi32(rest, cum));
    return _mm256_add_epi32(
        x,
        _mm256_andnot_si256(more, _mm256_sub_epi32(set32(TM_RANS_SCALE), f)));
}

ALWAYS_INLINE void encode_tokens(struct encoding *e, struct states *s,
                                 const uint64_t *entries, struct pair index)
{
    _Alignas(32) uint16_t at[TM_RANS_LANES];
    struct entries even_of[2], odd_of[2];
    struct pair limit;

    store(at, index.v[0]);
    store(at + 16, index.v[1]);
    __asm__("" : "+m"(at));
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        even_of[i] = load_entries(entries, at + 16 * i);
        odd_of[i] = load_entries(entries, at + 16 * i + 1);
        limit.v[i] =
            _mm256_slli_epi16(join_low(even_of[i].low, odd_of[i].low), 4);
    }
    spill(e, s, limit);
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        __m256i low = s->low.v[i], high = s->high.v[i];
        __m256i a = push(join_low(low, high), even_of[i]);
        __m256i b = push(join_high(low, high), odd_of[i]);

        s->low.v[i] = join_low(a, b);
        s->high.v[i] = join_high(a, b);
    }
}

/* The index, with the classes that share the last table made one. */
ALWAYS_INLINE __m256i merge_classes(__m256i index, unsigned classes)
{
    __m256i most = set16(TM_RANS_INDEX(classes - 1, 255)), token = set16(255);
    __m256i class = _mm256_andnot_si256(token, _mm256_min_epu16(index, most));

    return and_or(index, token, class);
}

ALWAYS_INLINE void encode_group(enum tm_rans_kind kind,
                                const struct tm_rans_encoder *from,
                                struct encoding *e, struct states *s, size_t g)
{
    const size_t at = g * TM_RANS_LANES * (kind == TM_RANS_F32 ? 4 : 2);
    const char *base = (const char *)from->base + at;
    const char *tuned = (const char *)from->tuned + at;
    bool zero = from->has_zero && g > 0 &&
                (from->flags[g - 1] & TM_RANS_GROUP_ZERO) != 0;
    struct pair index, token;

    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        index.v[i] = load(from->index + g * TM_RANS_LANES + 16 * i);
        token.v[i] = _mm256_and_si256(index.v[i], set16(255));
        index.v[i] = merge_classes(index.v[i], from->classes);
    }
    if (from->flags[g] & TM_RANS_GROUP_RAW) {
        if (kind == TM_RANS_F32)
            encode_raw32(e, s, base, tuned, token);
        else
            encode_raw16(e, s, base, tuned, token);
    }
    encode_tokens(e, s, from->entries->of[zero ? from->classes : 0], index);
}

ALWAYS_INLINE void encode(enum tm_rans_kind kind, struct tm_rans_encoder *from,
                          size_t pairs)
{
    struct states s = load_states(from->x[0]), t = load_states(from->x[1]);
    struct encoding e = {from->next, from->shuffles};

    while (pairs-- > 0) {
        encode_group(kind, from, &e, &t, 2 * pairs + 1);
        encode_group(kind, from, &e, &s, 2 * pairs);
    }
    store_states(from->x[0], s);
    store_states(from->x[1], t);
    from->next = e.next;
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
        scan(TM_RANS_##kind, s, pairs);                                        \
    }                                                                          \
    static void encode_##kind(struct tm_rans_encoder *e, size_t pairs)         \
    {                                                                          \
        encode(TM_RANS_##kind, e, pairs);                                      \
    }

DEFINE(BF16)
DEFINE(F16)
DEFINE(F32)

const struct tm_rans_kernels tm_rans_avx2 = {
    .decode = {decode_BF16, decode_F16, decode_F32},
    .scan = {scan_BF16, scan_F16, scan_F32},
    .encode = {encode_BF16, encode_F16, encode_F32},
};

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
