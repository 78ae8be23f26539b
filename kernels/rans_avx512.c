/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_avx512: the kernels for x86-64 with AVX-512 F, BW, VL, DQ and VBMI2.
 *
 * The 32 states of a group are two vectors of 32 lanes of 16 bits, their high
 * and their low halves: what VBMI2 does to such lanes (expand, compress, shift
 * two words as one) is what rANS needs, and one count of one mask says how
 * many words of the stream were used.
 *
 * Decoding waits: from a state by way of its slot to the next state are some
 * 70 cycles. So there is little to be gained by fewer instructions, but much
 * by what lets a processor have the next group under way, too.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/rans_kernels.h"

#if defined(__clang__)
#pragma clang attribute push(                                                  \
    __attribute__((target(                                                     \
        "avx2,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2,popcnt"))),       \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2,popcnt")
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* --- lanes ---------------------------------------------------------------- */

ALWAYS_INLINE __m512i set16(unsigned value)
{
    return _mm512_set1_epi16((short)value);
}

ALWAYS_INLINE __m512i set32(unsigned value)
{
    return _mm512_set1_epi32((int)value);
}

ALWAYS_INLINE __m512i load(const void *p)
{
    return _mm512_loadu_si512(p);
}

/* (a & mask) | b */
ALWAYS_INLINE __m512i and_or(__m512i a, __m512i mask, __m512i b)
{
    return _mm512_ternarylogic_epi32(a, mask, b, 0xea);
}

/* a ^ (b & mask) */
ALWAYS_INLINE __m512i xor_and(__m512i a, __m512i b, __m512i mask)
{
    return _mm512_ternarylogic_epi32(a, b, mask, 0x78);
}

/* Of lanes of 32 bits: the low or the high halves of a's and b's by turns. */
ALWAYS_INLINE __m512i join_low(__m512i a, __m512i b)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaa, a, _mm512_slli_epi32(b, 16));
}

ALWAYS_INLINE __m512i join_high(__m512i a, __m512i b)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(a, 16), b);
}

/* And back: what became of a and b. */
ALWAYS_INLINE __m512i even(__m512i a)
{
    return _mm512_and_si512(a, set32(0xffff));
}

ALWAYS_INLINE __m512i odd(__m512i a)
{
    return _mm512_srli_epi32(a, 16);
}

/* --- words ---------------------------------------------------------------- */

/* The exponents of 32 words; in the order of their states, as everything. */
ALWAYS_INLINE __m512i exponents(enum tm_rans_kind kind, const void *words)
{
    __m512i w = load(words);

    if (kind == TM_RANS_F16)
        return _mm512_and_si512(_mm512_srli_epi16(w, 10), set16(31));
    if (kind == TM_RANS_F32)
        w = join_high(w, load((const char *)words + 64));
    return _mm512_and_si512(_mm512_srli_epi16(w, 7), set16(255));
}

ALWAYS_INLINE __m512i classes_of(enum tm_rans_kind kind, const void *base,
                                 __m512i top, __m512i last)
{
    return _mm512_min_epu16(_mm512_subs_epu16(top, exponents(kind, base)),
                            last);
}

/* Base words and magnitudes to tuned words; `minus` is 0 or -1. */
ALWAYS_INLINE __m512i apply16(__m512i base, __m512i magnitude, __m512i minus)
{
    __m512i low = set16(0x7fff), sign = _mm512_srai_epi16(base, 15), o;

    minus = _mm512_xor_si512(minus, sign);
    o = _mm512_sub_epi16(_mm512_xor_si512(magnitude, minus), minus);
    o = _mm512_add_epi16(o, xor_and(base, sign, low));
    return xor_and(o, _mm512_srai_epi16(o, 15), low);
}

ALWAYS_INLINE __m512i apply32(__m512i base, __m512i magnitude, __m512i minus)
{
    __m512i low = set32(0x7fffffff), sign = _mm512_srai_epi32(base, 31), o;

    minus = _mm512_xor_si512(minus, sign);
    o = _mm512_sub_epi32(_mm512_xor_si512(magnitude, minus), minus);
    o = _mm512_add_epi32(o, xor_and(base, sign, low));
    return xor_and(o, _mm512_srai_epi32(o, 31), low);
}

/*
 * Whether raw bits need not be looked for. Where some groups have them and
 * some have not the jump around them costs more than they do, so it is only
 * taken when they have been missing for a while; `quiet` is for how long.
 */
ALWAYS_INLINE bool is_quiet(unsigned *quiet, unsigned has_raw)
{
    *quiet = has_raw ? 0 : *quiet + 1;
    __asm__("" : "+r"(*quiet)); /* else has_raw is what is jumped upon */
    return *quiet > 16;
}

/* --- states --------------------------------------------------------------- */

struct states {
    __m512i high, low;
};

ALWAYS_INLINE struct states load_states(const uint32_t x[TM_RANS_LANES])
{
    __m512i a = load(x), b = load(x + 16);
    struct states s;

    s.high = _mm512_inserti64x4(
        _mm512_castsi256_si512(_mm512_cvtepi32_epi16(odd(a))),
        _mm512_cvtepi32_epi16(odd(b)), 1);
    s.low = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(a)),
                               _mm512_cvtepi32_epi16(b), 1);
    return s;
}

ALWAYS_INLINE __m512i widen(__m512i high, __m512i low, int half)
{
    __m256i h = half ? _mm512_extracti64x4_epi64(high, 1)
                     : _mm512_castsi512_si256(high);
    __m256i l =
        half ? _mm512_extracti64x4_epi64(low, 1) : _mm512_castsi512_si256(low);

    return _mm512_or_si512(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16),
                           _mm512_cvtepu16_epi32(l));
}

ALWAYS_INLINE void store_states(uint32_t x[TM_RANS_LANES], struct states s)
{
    _mm512_storeu_si512(x, widen(s.high, s.low, 0));
    _mm512_storeu_si512(x + 16, widen(s.high, s.low, 1));
}

/* --- decoding ------------------------------------------------------------- */

/* What all groups have in common. */
struct decoding {
    const unsigned char *next;
    const uint32_t *slots, *own_slots, *zero_slots;
    __m512i top, last;
    __m512i worst;  /* the largest tokens */
    unsigned quiet; /* see is_quiet() */
    bool has_zero;
};

ALWAYS_INLINE void refill(struct states *s, const unsigned char **next)
{
    __m512i top = _mm512_shldi_epi16(s->high, s->low, 1);
    __mmask32 few = _mm512_testn_epi16_mask(top, top);

    s->high = _mm512_mask_mov_epi16(s->high, few, s->low);
    s->low = _mm512_mask_expand_epi16(s->low, few, load(*next));
    *next += 2 * (unsigned)_mm_popcnt_u32(few);
}

/* x = f (x >> 11) + offset */
ALWAYS_INLINE void advance(struct states *s, __m512i f, __m512i offset)
{
    __m512i middle = _mm512_shldi_epi16(s->high, s->low, 5);
    __m512i top = _mm512_mullo_epi16(_mm512_srli_epi16(s->high, 11), f);
    __m512i low = _mm512_add_epi16(_mm512_mullo_epi16(middle, f), offset);
    __mmask32 carry = _mm512_cmplt_epu16_mask(low, offset);

    top = _mm512_add_epi16(top, _mm512_mulhi_epu16(middle, f));
    s->high = _mm512_mask_add_epi16(top, carry, top, set16(1));
    s->low = low;
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

ALWAYS_INLINE __m512i half_slots(const uint32_t *slots, const uint16_t *at)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(eight_slots(slots, at)),
                              eight_slots(slots, at + 16), 1);
}

/*
 * For loads one by one. They are slow if they want part of what a store of 512
 * bits has not written yet, hence two of 256.
 */
ALWAYS_INLINE void store_indices(uint16_t at[TM_RANS_LANES], __m512i index)
{
    _mm256_store_si256((__m256i *)at, _mm512_castsi512_si256(index));
    _mm256_store_si256((__m256i *)at + 1, _mm512_extracti64x4_epi64(index, 1));
    __asm__("" : : : "memory"); /* else they are extracted one by one */
}

/* The slots at the even and at the odd indices. */
ALWAYS_INLINE void load_slots(bool gather, const uint32_t *slots, __m512i index,
                              __m512i *a, __m512i *b)
{
    _Alignas(32) uint16_t at[TM_RANS_LANES];

    if (gather) {
        *a = _mm512_i32gather_epi32(even(index), slots, 4);
        *b = _mm512_i32gather_epi32(odd(index), slots, 4);
        return;
    }
    store_indices(at, index);
    *a = half_slots(slots, at);
    *b = half_slots(slots, at + 1);
}

/* The tokens of a group; moves its states on. */
ALWAYS_INLINE __m512i decode_tokens(struct decoding *d, bool gather,
                                    struct states *s, __m512i class)
{
    __m512i index = and_or(s->low, set16(0x7ff), _mm512_slli_epi16(class, 11));
    __m512i a, b, f, offset, token;

    load_slots(gather, d->slots, index, &a, &b);
    f = join_high(a, b);
    offset = join_low(a, b);
    token = and_or(_mm512_srli_epi16(f, 7), set16(0xe0),
                   _mm512_srli_epi16(offset, 11));
    advance(s, _mm512_and_si512(f, set16(0xfff)),
            _mm512_and_si512(offset, set16(0x7ff)));
    refill(s, &d->next);
    d->worst = _mm512_max_epu16(d->worst, token);
    d->slots = d->own_slots;
    if (d->has_zero && _mm512_test_epi16_mask(token, token) == 0) {
        d->slots = d->zero_slots;
        /* A jump, which is predicted: a choice would have to be waited for. */
        __asm__ volatile("" : "+r"(d->slots));
    }
    return token;
}

/* The low m bits of each state, which it loses. */
ALWAYS_INLINE __m512i take_bits(struct states *s, __m512i m,
                                const unsigned char **next)
{
    __m512i raw =
        _mm512_andnot_si512(_mm512_sllv_epi16(set16(0xffff), m), s->low);

    s->low = _mm512_shrdv_epi16(s->low, s->high, m);
    s->high = _mm512_srlv_epi16(s->high, m);
    refill(s, next);
    return raw;
}

/* Magnitudes from 32 on are buckets of octaves: 8 | 3 bits, and raw bits. */
ALWAYS_INLINE __m512i magnitudes16(struct decoding *d, struct states *s,
                                   __m512i bucket)
{
    __mmask32 has_raw = _mm512_cmpge_epu16_mask(bucket, set16(32));
    __m512i m, raw, first;

    if (is_quiet(&d->quiet, has_raw))
        return bucket;
    m = _mm512_maskz_sub_epi16(has_raw, _mm512_srli_epi16(bucket, 3), set16(2));
    raw = take_bits(s, m, &d->next);
    first = and_or(bucket, set16(7), set16(8));
    raw = _mm512_or_si512(_mm512_sllv_epi16(first, m), raw);
    return _mm512_mask_mov_epi16(bucket, has_raw, raw);
}

ALWAYS_INLINE void store_words16(struct decoding *d, struct states *s,
                                 const void *base, void *tuned, __m512i token)
{
    __m512i zero = _mm512_setzero_si512();
    __m512i minus = _mm512_sub_epi16(zero, _mm512_and_si512(token, set16(1)));
    __m512i bucket = _mm512_avg_epu16(token, zero);

    _mm512_storeu_si512(tuned,
                        apply16(load(base), magnitudes16(d, s, bucket), minus));
}

/* How many raw bits buckets have: those of 4 to 7 none, then one more for 4. */
ALWAYS_INLINE __m512i raw_bits32(__m512i bucket)
{
    return _mm512_subs_epu16(_mm512_srli_epi16(bucket, 2), set16(1));
}

/* From 4 on: 4 | 2 bits, and raw bits: what was in the state, the others. */
ALWAYS_INLINE __m512i magnitudes32(__m512i bucket, __m512i raw_bits,
                                   __m512i raw, __m512i whole)
{
    __m512i first = and_or(bucket, set32(3), set32(4));
    __m512i shift = _mm512_and_si512(raw_bits, set32(16));
    __mmask16 is_octave = _mm512_cmpge_epu32_mask(bucket, set32(4));

    raw = _mm512_or_si512(_mm512_sllv_epi32(raw, shift), whole);
    raw = _mm512_or_si512(_mm512_sllv_epi32(first, raw_bits), raw);
    return _mm512_mask_mov_epi32(bucket, is_octave, raw);
}

ALWAYS_INLINE void store_words32(struct decoding *d, struct states *s,
                                 const char *base, char *tuned, __m512i token)
{
    __m512i zero = _mm512_setzero_si512(), a, b;
    __m512i minus = _mm512_sub_epi16(zero, _mm512_and_si512(token, set16(1)));
    __m512i bucket = _mm512_avg_epu16(token, zero);
    __m512i bits = raw_bits32(bucket), raw, whole;
    __mmask32 has_whole = _mm512_cmpge_epu16_mask(bits, set16(16));

    a = even(bucket);
    b = odd(bucket);
    if (!is_quiet(&d->quiet, _mm512_test_epi16_mask(bits, bits))) {
        raw = take_bits(s, _mm512_and_si512(bits, set16(15)), &d->next);
        whole = _mm512_maskz_expand_epi16(has_whole, load(d->next));
        d->next += 2 * (unsigned)_mm_popcnt_u32(has_whole);
        a = magnitudes32(a, even(bits), even(raw), even(whole));
        b = magnitudes32(b, odd(bits), odd(raw), odd(whole));
    }
    minus = _mm512_slli_epi32(token, 31); /* both signs, as the sign bit */
    _mm512_storeu_si512(tuned,
                        apply32(load(base), a, _mm512_srai_epi32(minus, 31)));
    minus = _mm512_slli_epi32(token, 15);
    _mm512_storeu_si512(
        tuned + 64, apply32(load(base + 64), b, _mm512_srai_epi32(minus, 31)));
}

/* A group: the states of its set, and its words. */
ALWAYS_INLINE void decode_group(enum tm_rans_kind kind, bool gather,
                                struct decoding *d, struct states *s,
                                const void *base, void *tuned)
{
    __m512i token =
        decode_tokens(d, gather, s, classes_of(kind, base, d->top, d->last));

    if (kind == TM_RANS_F32)
        store_words32(d, s, base, tuned, token);
    else
        store_words16(d, s, base, tuned, token);
}

ALWAYS_INLINE size_t decode(enum tm_rans_kind kind, bool gather,
                            struct tm_rans_decoder *out, size_t pairs,
                            const unsigned char *limit)
{
    const size_t bytes = TM_RANS_LANES * (kind == TM_RANS_F32 ? 4 : 2);
    const uint32_t *own = out->slots->of[0];
    const uint32_t *zero = out->slots->of[out->has_zero ? out->classes : 0];
    struct decoding d = {
        .next = out->next,
        .slots = out->after_zero ? zero : own,
        .own_slots = own,
        .zero_slots = zero,
        .top = set16(out->top),
        .last = set16(out->classes - 1),
        .worst = _mm512_setzero_si512(),
        .has_zero = out->has_zero,
    };
    struct states s = load_states(out->x[0]), t = load_states(out->x[1]);
    const unsigned char *base = out->base;
    unsigned char *tuned = out->tuned;
    size_t done = 0;

    for (; done < pairs && d.next <= limit; done++) {
        decode_group(kind, gather, &d, &s, base, tuned);
        decode_group(kind, gather, &d, &t, base + bytes, tuned + bytes);
        base += 2 * bytes;
        tuned += 2 * bytes;
    }
    store_states(out->x[0], s);
    store_states(out->x[1], t);
    out->next = d.next;
    out->base = base;
    out->tuned = tuned;
    out->after_zero = d.slots != own;
    out->absent |= _mm512_cmpeq_epi16_mask(d.worst, set16(TM_RANS_ABSENT)) != 0;
    return done;
}

/* --- scanning ------------------------------------------------------------- */

/* Differences of the tuned words, away from zero where the base points. */
ALWAYS_INLINE __m512i differences16(__m512i base, __m512i tuned)
{
    __m512i low = set16(0x7fff), sign = _mm512_srai_epi16(base, 15);
    __m512i o = xor_and(tuned, _mm512_srai_epi16(tuned, 15), low);
    __m512i d = _mm512_sub_epi16(o, xor_and(base, sign, low));

    return _mm512_sub_epi16(_mm512_xor_si512(d, sign), sign);
}

ALWAYS_INLINE __m512i differences32(__m512i base, __m512i tuned)
{
    __m512i low = set32(0x7fffffff), sign = _mm512_srai_epi32(base, 31);
    __m512i o = xor_and(tuned, _mm512_srai_epi32(tuned, 31), low);
    __m512i d = _mm512_sub_epi32(o, xor_and(base, sign, low));

    return _mm512_sub_epi32(_mm512_xor_si512(d, sign), sign);
}

/*
 * A float's exponent and first bits of mantissa, as one number, count through
 * the buckets of octaves. Magnitudes of 16 bits are exact as floats; of larger
 * ones bits are left out so that rounding stays below the first mantissa bits.
 */
ALWAYS_INLINE __m512i float_bits(__m512i a)
{
    return _mm512_castps_si512(
        _mm512_cvtepu32_ps(_mm512_andnot_si512(_mm512_srli_epi32(a, 8), a)));
}

/* From 32 on: that of 32 is bucket 32, and its float begins with 132 << 3. */
ALWAYS_INLINE __m512i octaves16(__m512i magnitude)
{
    __m512i a = _mm512_srli_epi32(float_bits(even(magnitude)), 20);
    __m512i b = _mm512_srli_epi32(float_bits(odd(magnitude)), 20);

    return _mm512_sub_epi16(join_low(a, b), set16((132 << 3) - 32));
}

/* From 8 on: that of 8 is bucket 8, and its float begins with 130 << 2. */
ALWAYS_INLINE __m512i octaves32(__m512i magnitude)
{
    return _mm512_sub_epi32(_mm512_srli_epi32(float_bits(magnitude), 21),
                            set32((130 << 2) - 8));
}

/* 32 words: their tokens; whether one has raw bits. */
ALWAYS_INLINE __m512i tokens16(const void *base, const void *tuned, bool *raw)
{
    __m512i d = differences16(load(base), load(tuned));
    __m512i bucket = _mm512_abs_epi16(d);
    __mmask32 is_octave = _mm512_cmpge_epu16_mask(bucket, set16(32));

    *raw = is_octave != 0;
    bucket = _mm512_mask_mov_epi16(bucket, is_octave, octaves16(bucket));
    return _mm512_add_epi16(_mm512_add_epi16(bucket, bucket),
                            _mm512_srai_epi16(d, 15));
}

/* 16 words, in lanes of 32 bits. */
ALWAYS_INLINE __m512i tokens32(const void *base, const void *tuned, bool *raw)
{
    __m512i d = differences32(load(base), load(tuned));
    __m512i bucket = _mm512_abs_epi32(d);
    __mmask16 is_octave = _mm512_cmpge_epu32_mask(bucket, set32(8));

    *raw |= is_octave != 0;
    bucket = _mm512_mask_mov_epi32(bucket, is_octave, octaves32(bucket));
    return _mm512_add_epi32(_mm512_add_epi32(bucket, bucket),
                            _mm512_srai_epi32(d, 31));
}

/* Bytes to ask for before they are needed, as in sum_template.h. */
#define AHEAD 1024

ALWAYS_INLINE void scan(enum tm_rans_kind kind, const struct tm_rans_scan *s,
                        size_t pairs)
{
    const size_t bytes = TM_RANS_LANES * (kind == TM_RANS_F32 ? 4 : 2);
    __m512i top = set16(s->top), last = set16(TM_RANS_CLASSES - 1);
    const unsigned char *base = s->base, *tuned = s->tuned;

    for (size_t g = 0; g < 2 * pairs; g++, base += bytes, tuned += bytes) {
        __m512i class = classes_of(kind, base, top, last), token;
        bool raw = false;

        for (size_t i = 0; i < bytes; i += 64) {
            _mm_prefetch((const char *)base + AHEAD + i, _MM_HINT_T0);
            _mm_prefetch((const char *)tuned + AHEAD + i, _MM_HINT_T0);
        }
        if (kind == TM_RANS_F32)
            token = join_low(tokens32(base, tuned, &raw),
                             tokens32(base + 64, tuned + 64, &raw));
        else
            token = tokens16(base, tuned, &raw);
        _mm512_storeu_si512(
            s->index + g * TM_RANS_LANES,
            _mm512_or_si512(_mm512_slli_epi16(class, 8), token));
        s->flags[g] = (unsigned char)((raw ? TM_RANS_GROUP_RAW : 0) |
                                      (_mm512_test_epi16_mask(token, token) == 0
                                           ? TM_RANS_GROUP_ZERO
                                           : 0));
    }
}

/* --- encoding ------------------------------------------------------------- */

/* The lanes' words, of those chosen, go below `next`. */
ALWAYS_INLINE void put_words(unsigned char **next, __mmask32 chosen,
                             __m512i words)
{
    unsigned count = (unsigned)_mm_popcnt_u32(chosen);
    __mmask32 first = (__mmask32)((UINT64_C(1) << count) - 1);

    *next -= 2 * count;
    _mm512_mask_storeu_epi16(*next, first,
                             _mm512_maskz_compress_epi16(chosen, words));
}

/* Makes room in states from limit x 2^16 on. */
ALWAYS_INLINE void spill(struct states *s, __m512i limit, unsigned char **next)
{
    __mmask32 full = _mm512_cmpge_epu16_mask(s->high, limit);

    put_words(next, full, s->low);
    s->low = _mm512_mask_mov_epi16(s->low, full, s->high);
    s->high = _mm512_maskz_mov_epi16(~full, s->high);
}

/* Gives the states m bits each. */
ALWAYS_INLINE void give_bits(struct states *s, __m512i m, __m512i bits,
                             unsigned char **next)
{
    spill(s, _mm512_srlv_epi16(set16(0x8000), m), next);
    s->high = _mm512_shldv_epi16(s->high, s->low, m);
    s->low = _mm512_or_si512(_mm512_sllv_epi16(s->low, m), bits);
}

/* The low m bits of a. */
ALWAYS_INLINE __m512i low_bits(__m512i a, __m512i m)
{
    return _mm512_andnot_si512(_mm512_sllv_epi16(set16(0xffff), m), a);
}

ALWAYS_INLINE void encode_raw16(struct states *s, const void *base,
                                const void *tuned, __m512i token,
                                unsigned char **next)
{
    __m512i bucket = _mm512_avg_epu16(token, _mm512_setzero_si512());
    __m512i a = _mm512_abs_epi16(differences16(load(base), load(tuned))), m;
    __mmask32 has_raw = _mm512_cmpge_epu16_mask(bucket, set16(32));

    m = _mm512_maskz_sub_epi16(has_raw, _mm512_srli_epi16(bucket, 3), set16(2));
    give_bits(s, m, low_bits(a, m), next);
}

ALWAYS_INLINE void encode_raw32(struct states *s, const char *base,
                                const char *tuned, __m512i token,
                                unsigned char **next)
{
    __m512i bits = raw_bits32(_mm512_avg_epu16(token, _mm512_setzero_si512()));
    __m512i shift = _mm512_and_si512(bits, set16(16));
    __m512i m = _mm512_and_si512(bits, set16(15)), high;
    __m512i a = _mm512_abs_epi32(differences32(load(base), load(tuned)));
    __m512i b =
        _mm512_abs_epi32(differences32(load(base + 64), load(tuned + 64)));

    put_words(next, _mm512_test_epi16_mask(shift, shift), join_low(a, b));
    high = join_low(_mm512_srlv_epi32(a, even(shift)),
                    _mm512_srlv_epi32(b, odd(shift)));
    give_bits(s, m, low_bits(high, m), next);
}

/* f and cum, and 1 / f, of 16 states, as vectors of 32 bits. */
struct entries {
    __m512i low, inverse;
};

ALWAYS_INLINE __m128i two_entries(const uint64_t *entries, const uint16_t *at)
{
    return _mm_insert_epi64(_mm_cvtsi64_si128((long long)entries[at[0]]),
                            (long long)entries[at[2]], 1);
}

/* The first four of each eight of the indices. */
ALWAYS_INLINE __m512i eight_entries(const uint64_t *entries, const uint16_t *at)
{
    __m256i a = _mm256_inserti128_si256(
        _mm256_castsi128_si256(two_entries(entries, at)),
        two_entries(entries, at + 8), 1);
    __m256i b = _mm256_inserti128_si256(
        _mm256_castsi128_si256(two_entries(entries, at + 16)),
        two_entries(entries, at + 24), 1);

    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}

/* Those at every other index. */
ALWAYS_INLINE struct entries load_entries(const uint64_t *entries,
                                          const uint16_t *at)
{
    __m512 a = _mm512_castsi512_ps(eight_entries(entries, at));
    __m512 b = _mm512_castsi512_ps(eight_entries(entries, at + 4));
    struct entries e;

    e.low = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88));
    e.inverse = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xdd));
    return e;
}

/*
 * x / f x T + x mod f + cum, for x below 2^20 f. The estimate of the quotient,
 * which is below 2^20, is too small by less than 1: x and the product are
 * rounded by 2^-24 of them and the inverse is too small by 2^-21 (2^-22 to
 * 2^-20 in all).
 */
ALWAYS_INLINE __m512i push(__m512i x, struct entries e)
{
    __m512i f = even(e.low), cum = odd(e.low), q, rest;
    __mmask16 more;

    q = _mm512_cvttps_epi32(
        _mm512_mul_ps(_mm512_cvtepi32_ps(x), _mm512_castsi512_ps(e.inverse)));
    rest = _mm512_sub_epi32(x, _mm512_mullo_epi32(q, f));
    more = _mm512_cmpge_epu32_mask(rest, f);
    x = _mm512_add_epi32(_mm512_slli_epi32(q, TM_RANS_SCALE_BITS),
                         _mm512_add_epi32(rest, cum));
    return _mm512_mask_add_epi32(x, more, x,
                                 _mm512_sub_epi32(set32(TM_RANS_SCALE), f));
}

/* Those at the even and at the odd indices. */
ALWAYS_INLINE void load_all_entries(bool gather, const uint64_t *entries,
                                    __m512i index, struct entries *a,
                                    struct entries *b)
{
    const char *inverses = (const char *)entries + 4;
    _Alignas(32) uint16_t at[TM_RANS_LANES];

    if (gather) {
        a->low = _mm512_i32gather_epi32(even(index), entries, 8);
        b->low = _mm512_i32gather_epi32(odd(index), entries, 8);
        a->inverse = _mm512_i32gather_epi32(even(index), inverses, 8);
        b->inverse = _mm512_i32gather_epi32(odd(index), inverses, 8);
        return;
    }
    store_indices(at, index);
    *a = load_entries(entries, at);
    *b = load_entries(entries, at + 1);
}

ALWAYS_INLINE void encode_tokens(bool gather, struct states *s,
                                 const uint64_t *entries, __m512i index,
                                 unsigned char **next)
{
    struct entries e0, e1;
    __m512i a, b, f;

    load_all_entries(gather, entries, index, &e0, &e1);
    f = join_low(e0.low, e1.low);
    spill(s, _mm512_slli_epi16(f, 4), next);
    a = push(join_low(s->low, s->high), e0);
    b = push(join_high(s->low, s->high), e1);
    s->low = join_low(a, b);
    s->high = join_high(a, b);
}

/* The index, with the classes that share the last table made one. */
ALWAYS_INLINE __m512i merge_classes(__m512i index, unsigned classes)
{
    __m512i most = set16(TM_RANS_INDEX(classes - 1, 255));
    __m512i class = _mm512_min_epu16(index, most);

    return _mm512_ternarylogic_epi32(set16(255), index, class, 0xca);
}

ALWAYS_INLINE void encode_group(enum tm_rans_kind kind, bool gather,
                                struct tm_rans_encoder *e, struct states *s,
                                size_t g, unsigned char **next, unsigned *quiet)
{
    const size_t at = g * TM_RANS_LANES * (kind == TM_RANS_F32 ? 4 : 2);
    const char *base = (const char *)e->base + at;
    const char *tuned = (const char *)e->tuned + at;
    __m512i index = load(e->index + g * TM_RANS_LANES);
    __m512i token = _mm512_and_si512(index, set16(255));
    bool zero =
        e->has_zero && g > 0 && (e->flags[g - 1] & TM_RANS_GROUP_ZERO) != 0;

    if (!is_quiet(quiet, e->flags[g] & TM_RANS_GROUP_RAW)) {
        if (kind == TM_RANS_F32)
            encode_raw32(s, base, tuned, token, next);
        else
            encode_raw16(s, base, tuned, token, next);
    }
    encode_tokens(gather, s, e->entries->of[zero ? e->classes : 0],
                  merge_classes(index, e->classes), next);
}

ALWAYS_INLINE void encode(enum tm_rans_kind kind, bool gather,
                          struct tm_rans_encoder *e, size_t pairs)
{
    struct states s = load_states(e->x[0]), t = load_states(e->x[1]);
    unsigned char *next = e->next;
    unsigned quiet = 0;

    while (pairs-- > 0) {
        encode_group(kind, gather, e, &t, 2 * pairs + 1, &next, &quiet);
        encode_group(kind, gather, e, &s, 2 * pairs, &next, &quiet);
    }
    store_states(e->x[0], s);
    store_states(e->x[1], t);
    e->next = next;
}

/* --- for each kind of words ----------------------------------------------- */

#define DEFINE_EACH(kind, name, gather)                                        \
    static size_t decode_##name##_##kind(                                      \
        struct tm_rans_decoder *d, size_t pairs, const unsigned char *limit)   \
    {                                                                          \
        return decode(TM_RANS_##kind, gather, d, pairs, limit);                \
    }                                                                          \
    static void encode_##name##_##kind(struct tm_rans_encoder *e,              \
                                       size_t pairs)                           \
    {                                                                          \
        encode(TM_RANS_##kind, gather, e, pairs);                              \
    }
#define DEFINE(kind)                                                           \
    DEFINE_EACH(kind, load, false)                                             \
    DEFINE_EACH(kind, gather, true)                                            \
    static void scan_##kind(const struct tm_rans_scan *s, size_t pairs)        \
    {                                                                          \
        scan(TM_RANS_##kind, s, pairs);                                        \
    }

DEFINE(BF16)
DEFINE(F16)
DEFINE(F32)

#define TABLE(name)                                                            \
    {                                                                          \
        .decode = {decode_##name##_BF16, decode_##name##_F16,                  \
                   decode_##name##_F32},                                       \
        .scan = {scan_BF16, scan_F16, scan_F32},                               \
        .encode = {encode_##name##_BF16, encode_##name##_F16,                  \
                   encode_##name##_F32},                                       \
    }

const struct tm_rans_kernels tm_rans_avx512 = TABLE(load);
const struct tm_rans_kernels tm_rans_avx512_gather = TABLE(gather);

/* --- gathers or not ------------------------------------------------------- */

/* Cycles for the slots of two times 32 groups, the least of some tries. */
ALWAYS_INLINE uint64_t cycles_for_slots(bool gather, const uint32_t *slots)
{
    uint64_t least = UINT64_MAX;

    for (int try = 0; try < 8; try++) {
        __m512i s = _mm512_setzero_si512(), t = s, a, b;
        uint64_t cycles = __rdtsc();

        for (int i = 0; i < 32; i++) {
            load_slots(gather, slots, s, &a, &b);
            s = _mm512_xor_si512(a, b);
            load_slots(gather, slots, t, &a, &b);
            t = _mm512_xor_si512(a, b);
        }
        __asm__ volatile("" : : "v"(s), "v"(t));
        cycles = __rdtsc() - cycles;
        least = cycles < least ? cycles : least;
    }
    return least;
}

/*
 * Where gathers are made safe against Gather Data Sampling (Skylake to Ice
 * Lake) they take several times as long as loads one by one; where they need
 * not be, decoding is up to a third faster with them. A processor does not say
 * which it is.
 */
const struct tm_rans_kernels *tm_rans_avx512_fastest(void)
{
    static const uint32_t zeros[TM_RANS_SCALE];
    const uint32_t *slots = zeros;

    __asm__("" : "+r"(slots)); /* else what is in it is known */
    return cycles_for_slots(true, slots) < cycles_for_slots(false, slots)
               ? &tm_rans_avx512_gather
               : &tm_rans_avx512;
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
