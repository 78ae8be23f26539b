/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_avx2: the vector layer of rans_template.h for x86-64 with AVX2. What
 * that lacks is made up for by shuffles that are looked up by mask, eight
 * lanes at a time, and by products with powers of two where lanes are to be
 * shifted differently.
 *
 * There are no gathers: they take several times as long as loads where they
 * are made safe against Gather Data Sampling, and of the processors without
 * AVX-512 and without that flaw most are slow at them, too.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/rans_kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,popcnt"))),           \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,popcnt")
#endif

#define VECS  2
#define QUIET 0

typedef __m256i vec;

struct lanes {
    vec v[VECS];
};

/* A lane of a mask is 0 or -1. */
struct masks {
    vec v[VECS];
};

/* --- lanes ---------------------------------------------------------------- */

#define v_or          _mm256_or_si256
#define v_xor         _mm256_xor_si256
#define v_and         _mm256_and_si256
#define v_add16       _mm256_add_epi16
#define v_add32       _mm256_add_epi32
#define v_sub16       _mm256_sub_epi16
#define v_sub32       _mm256_sub_epi32
#define v_less16      _mm256_subs_epu16
#define v_min16       _mm256_min_epu16
#define v_max16       _mm256_max_epu16
#define v_abs16       _mm256_abs_epi16
#define v_abs32       _mm256_abs_epi32
#define v_shift32     _mm256_sllv_epi32
#define v_back32      _mm256_srlv_epi32
#define v_above16     _mm256_cmpgt_epi16
#define v_above32     _mm256_cmpgt_epi32
#define V_SHL16(a, n) _mm256_slli_epi16(a, n)
#define V_SHL32(a, n) _mm256_slli_epi32(a, n)
#define V_SHR16(a, n) _mm256_srli_epi16(a, n)

ALWAYS_INLINE vec v_load(const void *p)
{
    return _mm256_loadu_si256(p);
}

ALWAYS_INLINE void v_store(void *p, vec a)
{
    _mm256_storeu_si256(p, a);
}

ALWAYS_INLINE vec v_set16(unsigned value)
{
    return _mm256_set1_epi16((short)value);
}

ALWAYS_INLINE vec v_set32(unsigned value)
{
    return _mm256_set1_epi32((int)value);
}

ALWAYS_INLINE vec v_and_or(vec a, vec m, vec b)
{
    return v_or(v_and(a, m), b);
}

ALWAYS_INLINE vec v_xor_and(vec a, vec b, vec m)
{
    return v_xor(a, v_and(b, m));
}

ALWAYS_INLINE vec v_half16(vec a)
{
    return _mm256_avg_epu16(a, _mm256_setzero_si256());
}

ALWAYS_INLINE vec v_sign16(vec a)
{
    return _mm256_srai_epi16(a, 15);
}

ALWAYS_INLINE vec v_sign32(vec a)
{
    return _mm256_srai_epi32(a, 31);
}

ALWAYS_INLINE vec v_even(vec a)
{
    return _mm256_blend_epi16(a, _mm256_setzero_si256(), 0xaa);
}

ALWAYS_INLINE vec v_odd(vec a)
{
    return _mm256_srli_epi32(a, 16);
}

ALWAYS_INLINE vec v_join_low(vec a, vec b)
{
    return _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xaa);
}

ALWAYS_INLINE vec v_join_high(vec a, vec b)
{
    return _mm256_blend_epi16(_mm256_srli_epi32(a, 16), b, 0xaa);
}

ALWAYS_INLINE vec v_ge16(vec a, vec b)
{
    return _mm256_cmpeq_epi16(_mm256_max_epu16(a, b), a);
}

ALWAYS_INLINE vec v_ge32(vec a, vec b)
{
    return _mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a);
}

ALWAYS_INLINE vec v_is_zero16(vec a)
{
    return _mm256_cmpeq_epi16(a, _mm256_setzero_si256());
}

ALWAYS_INLINE vec v_choose16(vec m, vec yes, vec no)
{
    return _mm256_blendv_epi8(no, yes, m);
}

ALWAYS_INLINE vec v_choose32(vec m, vec yes, vec no)
{
    return _mm256_blendv_epi8(no, yes, m);
}

ALWAYS_INLINE bool any_bit(struct lanes a)
{
    vec any = v_or(a.v[0], a.v[1]);

    return !_mm256_testz_si256(any, any);
}

ALWAYS_INLINE bool any_lane(struct masks m)
{
    return any_bit((struct lanes){{m.v[0], m.v[1]}});
}

/* In each lane, the byte of a table of 16 that the lane's number says. */
ALWAYS_INLINE vec look_up(__m128i table, vec at)
{
    at = v_or(at, v_set16(0x8000)); /* zero for the high byte */
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), at);
}

/* 2^m, and 2^(15 - m), for m from 0 to 15. */
ALWAYS_INLINE vec power(vec m)
{
    const __m128i bits =
        _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0);

    return v_or(look_up(bits, m),
                V_SHL16(look_up(_mm_slli_si128(bits, 8), m), 8));
}

ALWAYS_INLINE vec falling_power(vec m)
{
    const __m128i bits =
        _mm_setr_epi8(-128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0);

    return v_or(V_SHL16(look_up(bits, m), 8),
                look_up(_mm_slli_si128(bits, 8), m));
}

ALWAYS_INLINE vec v_shift16(vec a, vec by)
{
    return _mm256_mullo_epi16(a, power(by));
}

ALWAYS_INLINE vec v_low_bits(vec a, vec m)
{
    return v_and(a, v_sub16(power(m), v_set16(1)));
}

/*
 * A float's exponent and first bits of mantissa, as one number, count through
 * the buckets of octaves. Magnitudes of 16 bits are exact as floats; of larger
 * ones bits are left out so that rounding stays below the first mantissa bits.
 * 2^31 is taken for -2^31; the sign is shifted out.
 */
ALWAYS_INLINE vec float_bits(vec a)
{
    vec few = _mm256_andnot_si256(_mm256_srli_epi32(a, 8), a);

    return V_SHL32(_mm256_castps_si256(_mm256_cvtepi32_ps(few)), 1);
}

/* 32 is bucket 32, and its float begins with 132 << 3. */
ALWAYS_INLINE vec v_octave16(vec a)
{
    vec x = _mm256_srli_epi32(float_bits(v_even(a)), 21);
    vec y = _mm256_srli_epi32(float_bits(v_odd(a)), 21);

    return v_sub16(v_join_low(x, y), v_set16((132 << 3) - 32));
}

/* 8 is bucket 8, and its float begins with 130 << 2. */
ALWAYS_INLINE vec v_octave32(vec a)
{
    return v_sub32(_mm256_srli_epi32(float_bits(a), 22),
                   v_set32((130 << 2) - 8));
}

/* --- states --------------------------------------------------------------- */

/* Packing takes from the halves of two vectors by turns. */
#define IN_ORDER 0xd8

ALWAYS_INLINE vec pack(vec a, vec b)
{
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), IN_ORDER);
}

ALWAYS_INLINE void load_states(const uint32_t x[TM_RANS_LANES],
                               struct lanes *high, struct lanes *low)
{
    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        vec a = v_load(x + 16 * i), b = v_load(x + 16 * i + 8);

        low->v[i] = pack(v_even(a), v_even(b));
        high->v[i] = pack(v_odd(a), v_odd(b));
    }
}

ALWAYS_INLINE void store_states(uint32_t x[TM_RANS_LANES], struct lanes high,
                                struct lanes low)
{
    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        vec l = _mm256_permute4x64_epi64(low.v[i], IN_ORDER);
        vec h = _mm256_permute4x64_epi64(high.v[i], IN_ORDER);

        v_store(x + 16 * i, _mm256_unpacklo_epi16(l, h));
        v_store(x + 16 * i + 8, _mm256_unpackhi_epi16(l, h));
    }
}

ALWAYS_INLINE vec v_double_high(vec high, vec low)
{
    return v_or(V_SHL16(high, 1), V_SHR16(low, 15));
}

/* The product with the middle 16 bits of x, and with those above. */
ALWAYS_INLINE void v_advance(vec *high, vec *low, vec f, vec offset)
{
    vec middle = v_or(V_SHL16(*high, 5), V_SHR16(*low, 11));
    vec top = _mm256_mullo_epi16(V_SHR16(*high, 11), f);
    vec sum = v_add16(_mm256_mullo_epi16(middle, f), offset);

    top = v_add16(top, _mm256_mulhi_epu16(middle, f));
    /* and 1 where the sum is less than one of its parts */
    top = v_add16(top, v_set16(1));
    *high = v_add16(top, v_ge16(sum, offset));
    *low = sum;
}

/*
 * Shifted by 1 to the left, which they have room for, states are then shifted
 * by m + 1 to the right: a product with 2^(15 - m) less its low half.
 */
ALWAYS_INLINE void v_shift_out(vec *high, vec *low, vec m)
{
    vec h = v_double_high(*high, *low), l = v_add16(*low, *low);
    vec p = falling_power(m);

    *low = v_or(_mm256_mulhi_epu16(l, p), _mm256_mullo_epi16(h, p));
    *high = _mm256_mulhi_epu16(h, p);
}

ALWAYS_INLINE void v_shift_in(vec *high, vec *low, vec m)
{
    vec p = power(m);

    *high = v_or(_mm256_mullo_epi16(*high, p), _mm256_mulhi_epu16(*low, p));
    *low = _mm256_mullo_epi16(*low, p);
}

/* The high half of a state that has no room for m bits more: 2^(15 - m). */
ALWAYS_INLINE vec v_limit(vec m)
{
    return falling_power(m);
}

/* --- words of the stream -------------------------------------------------- */

/* The bits of a mask of lanes, eight by eight, and how many came before. */
struct eights {
    unsigned bits[4], before[5];
};

ALWAYS_INLINE unsigned count_bits(unsigned bits)
{
    return (unsigned)_mm_popcnt_u32(bits);
}

ALWAYS_INLINE struct eights eights_of(struct masks m)
{
    unsigned bits =
        (unsigned)_mm256_movemask_epi8(_mm256_packs_epi16(m.v[0], m.v[1]));
    struct eights e;

    e.bits[0] = bits & 255;
    e.bits[1] = bits >> 16 & 255;
    e.bits[2] = bits >> 8 & 255;
    e.bits[3] = bits >> 24;
    e.before[0] = 0;
    e.before[1] = count_bits(bits & 0xff);
    e.before[2] = count_bits(bits & 0xff00ff);
    e.before[3] = count_bits(bits & 0xffffff);
    e.before[4] = count_bits(bits);
    return e;
}

ALWAYS_INLINE __m128i shuffle(__m128i words, const uint8_t by[16])
{
    return _mm_shuffle_epi8(words, _mm_load_si128((const __m128i *)by));
}

ALWAYS_INLINE __m128i expand(const struct tm_rans_shuffles *shuffles,
                             const unsigned char *next, const struct eights *e,
                             unsigned i)
{
    const void *from = next + 2 * e->before[i];

    return shuffle(_mm_loadu_si128(from), shuffles->expand[e->bits[i]]);
}

ALWAYS_INLINE struct lanes next_words(const struct tm_rans_shuffles *shuffles,
                                      const unsigned char **next,
                                      struct masks m, struct lanes others)
{
    const struct eights e = eights_of(m);

    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        __m128i a = expand(shuffles, *next, &e, 2 * i);
        __m128i b = expand(shuffles, *next, &e, 2 * i + 1);
        vec words = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);

        others.v[i] = v_or(words, _mm256_andnot_si256(m.v[i], others.v[i]));
    }
    *next += 2 * e.before[4];
    return others;
}

/*
 * Eight lanes at a time are moved to the end of a vector; what is stored
 * before them is garbage which the next words go over.
 */
ALWAYS_INLINE void put_words(const struct tm_rans_shuffles *shuffles,
                             unsigned char **next, struct masks m,
                             struct lanes words)
{
    const struct eights e = eights_of(m);
    unsigned char *begin = *next - 2 * e.before[4];

    UNROLL
    for (unsigned i = 4; i-- > 0;) {
        vec from = words.v[i / 2];
        __m128i eight = i % 2 ? _mm256_extracti128_si256(from, 1)
                              : _mm256_castsi256_si128(from);
        void *to = begin + 2 * e.before[i + 1] - 16;

        _mm_storeu_si128(to, shuffle(eight, shuffles->compress[e.bits[i]]));
    }
    *next = begin;
}

/* --- tables --------------------------------------------------------------- */

ALWAYS_INLINE void store_indices(uint16_t at[TM_RANS_LANES], struct lanes index)
{
    v_store(at, index.v[0]);
    v_store(at + 16, index.v[1]);
    __asm__("" : : : "memory"); /* else they are extracted one by one */
}

/* Four of the slots, at every other index. */
ALWAYS_INLINE __m128i four_slots(const uint32_t *slots, const uint16_t *at)
{
    __m128i r = _mm_cvtsi32_si128((int)slots[at[0]]);

    r = _mm_insert_epi32(r, (int)slots[at[2]], 1);
    r = _mm_insert_epi32(r, (int)slots[at[4]], 2);
    return _mm_insert_epi32(r, (int)slots[at[6]], 3);
}

ALWAYS_INLINE vec eight_slots(const uint32_t *slots, const uint16_t *at)
{
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(four_slots(slots, at)),
        four_slots(slots, at + 8), 1);
}

ALWAYS_INLINE void load_slots(bool gather, const uint32_t *slots,
                              struct lanes index, struct lanes *f,
                              struct lanes *offset)
{
    _Alignas(32) uint16_t at[TM_RANS_LANES];

    (void)gather;
    store_indices(at, index);
    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        vec a = eight_slots(slots, at + 16 * i);
        vec b = eight_slots(slots, at + 16 * i + 1);

        f->v[i] = v_join_high(a, b);
        offset->v[i] = v_join_low(a, b);
    }
}

/* f and cum, and 1 / f, of the even states and of the odd ones. */
struct entries {
    vec low[2], inverse[2];
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

ALWAYS_INLINE void load_half(const uint64_t *entries, const uint16_t *at,
                             vec *low, vec *inverse)
{
    __m256 a = four_entries(entries, at), b = four_entries(entries, at + 4);

    *low = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
    *inverse = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
}

ALWAYS_INLINE void load_entries(bool gather, const uint64_t *entries,
                                struct lanes index, struct entries e[VECS])
{
    _Alignas(32) uint16_t at[TM_RANS_LANES];

    (void)gather;
    store_indices(at, index);
    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        load_half(entries, at + 16 * i, &e[i].low[0], &e[i].inverse[0]);
        load_half(entries, at + 16 * i + 1, &e[i].low[1], &e[i].inverse[1]);
    }
}

ALWAYS_INLINE vec v_entry_f(struct entries e)
{
    return v_join_low(e.low[0], e.low[1]);
}

/* See tm_rans_entries for why the quotient is right or too small by 1. */
ALWAYS_INLINE vec push(vec x, vec low, vec inverse)
{
    vec f = v_even(low), cum = v_odd(low), q, rest, more;

    q = _mm256_cvttps_epi32(
        _mm256_mul_ps(_mm256_cvtepi32_ps(x), _mm256_castsi256_ps(inverse)));
    rest = v_sub32(x, _mm256_mullo_epi32(q, f));
    more = _mm256_andnot_si256(_mm256_cmpgt_epi32(f, rest),
                               v_sub32(v_set32(TM_RANS_SCALE), f));
    x = v_add32(V_SHL32(q, TM_RANS_SCALE_BITS), v_add32(rest, cum));
    return v_add32(x, more);
}

ALWAYS_INLINE void v_push(vec *high, vec *low, struct entries e)
{
    vec a = push(v_join_low(*low, *high), e.low[0], e.inverse[0]);
    vec b = push(v_join_high(*low, *high), e.low[1], e.inverse[1]);

    *low = v_join_low(a, b);
    *high = v_join_high(a, b);
}

#include "kernels/rans_template.h"

RANS_TABLE(tm_rans_avx2, false)

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
