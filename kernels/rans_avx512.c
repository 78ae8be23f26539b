/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_avx512: the vector layer of rans_template.h for x86-64 with AVX-512 F,
 * BW, VL, DQ and VBMI2, whose expand, compress and shifts of two words as one
 * are what rANS needs: a group is one vector, and one count of one mask says
 * how many words of the stream it used.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

#define VECS  1
#define QUIET 16

typedef __m512i vec;

struct lanes {
    vec v[VECS];
};

struct masks {
    __mmask32 v[VECS];
};

/* --- lanes ---------------------------------------------------------------- */

#define v_or          _mm512_or_si512
#define v_xor         _mm512_xor_si512
#define v_and         _mm512_and_si512
#define v_add16       _mm512_add_epi16
#define v_add32       _mm512_add_epi32
#define v_sub16       _mm512_sub_epi16
#define v_sub32       _mm512_sub_epi32
#define v_less16      _mm512_subs_epu16
#define v_min16       _mm512_min_epu16
#define v_max16       _mm512_max_epu16
#define v_abs16       _mm512_abs_epi16
#define v_abs32       _mm512_abs_epi32
#define v_shift16     _mm512_sllv_epi16
#define v_shift32     _mm512_sllv_epi32
#define v_back32      _mm512_srlv_epi32
#define v_ge16        _mm512_cmpge_epu16_mask
#define v_ge32        _mm512_cmpge_epu32_mask
#define v_above16     _mm512_cmpgt_epu16_mask
#define v_above32     _mm512_cmpgt_epu32_mask
#define V_SHL16(a, n) _mm512_slli_epi16(a, n)
#define V_SHL32(a, n) _mm512_slli_epi32(a, n)
#define V_SHR16(a, n) _mm512_srli_epi16(a, n)

ALWAYS_INLINE vec v_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

ALWAYS_INLINE void v_store(void *p, vec a)
{
    _mm512_storeu_si512(p, a);
}

ALWAYS_INLINE vec v_set16(unsigned value)
{
    return _mm512_set1_epi16((short)value);
}

ALWAYS_INLINE vec v_set32(unsigned value)
{
    return _mm512_set1_epi32((int)value);
}

ALWAYS_INLINE vec v_and_or(vec a, vec m, vec b)
{
    return _mm512_ternarylogic_epi32(a, m, b, 0xea);
}

ALWAYS_INLINE vec v_xor_and(vec a, vec b, vec m)
{
    return _mm512_ternarylogic_epi32(a, b, m, 0x78);
}

ALWAYS_INLINE vec v_half16(vec a)
{
    return _mm512_avg_epu16(a, _mm512_setzero_si512());
}

ALWAYS_INLINE vec v_sign16(vec a)
{
    return _mm512_srai_epi16(a, 15);
}

ALWAYS_INLINE vec v_sign32(vec a)
{
    return _mm512_srai_epi32(a, 31);
}

ALWAYS_INLINE vec v_low_bits(vec a, vec m)
{
    return _mm512_andnot_si512(_mm512_sllv_epi16(v_set16(0xffff), m), a);
}

ALWAYS_INLINE vec v_even(vec a)
{
    return _mm512_and_si512(a, v_set32(0xffff));
}

ALWAYS_INLINE vec v_odd(vec a)
{
    return _mm512_srli_epi32(a, 16);
}

ALWAYS_INLINE vec v_join_low(vec a, vec b)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaa, a, _mm512_slli_epi32(b, 16));
}

ALWAYS_INLINE vec v_join_high(vec a, vec b)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(a, 16), b);
}

ALWAYS_INLINE __mmask32 v_is_zero16(vec a)
{
    return _mm512_testn_epi16_mask(a, a);
}

ALWAYS_INLINE vec v_choose16(__mmask32 m, vec yes, vec no)
{
    return _mm512_mask_mov_epi16(no, m, yes);
}

ALWAYS_INLINE vec v_choose32(__mmask16 m, vec yes, vec no)
{
    return _mm512_mask_mov_epi32(no, m, yes);
}

ALWAYS_INLINE bool any_lane(struct masks m)
{
    return m.v[0] != 0;
}

ALWAYS_INLINE bool any_bit(struct lanes a)
{
    return _mm512_test_epi16_mask(a.v[0], a.v[0]) != 0;
}

/*
 * A float's exponent and first bits of mantissa, as one number, count through
 * the buckets of octaves. Magnitudes of 16 bits are exact as floats; of larger
 * ones bits are left out so that rounding stays below the first mantissa bits.
 */
ALWAYS_INLINE vec float_bits(vec a)
{
    return _mm512_castps_si512(
        _mm512_cvtepu32_ps(_mm512_andnot_si512(_mm512_srli_epi32(a, 8), a)));
}

/* 32 is bucket 32, and its float begins with 132 << 3. */
ALWAYS_INLINE vec v_octave16(vec a)
{
    vec x = _mm512_srli_epi32(float_bits(v_even(a)), 20);
    vec y = _mm512_srli_epi32(float_bits(v_odd(a)), 20);

    return v_sub16(v_join_low(x, y), v_set16((132 << 3) - 32));
}

/* 8 is bucket 8, and its float begins with 130 << 2. */
ALWAYS_INLINE vec v_octave32(vec a)
{
    return v_sub32(_mm512_srli_epi32(float_bits(a), 21),
                   v_set32((130 << 2) - 8));
}

/* --- states --------------------------------------------------------------- */

ALWAYS_INLINE __m256i narrow(vec a)
{
    return _mm512_cvtepi32_epi16(a);
}

ALWAYS_INLINE vec both(__m256i a, __m256i b)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}

ALWAYS_INLINE void load_states(const uint32_t x[TM_RANS_LANES],
                               struct lanes *high, struct lanes *low)
{
    vec a = v_load(x), b = v_load(x + 16);

    low->v[0] = both(narrow(a), narrow(b));
    high->v[0] = both(narrow(v_odd(a)), narrow(v_odd(b)));
}

ALWAYS_INLINE vec widen(__m256i high, __m256i low)
{
    return v_or(V_SHL32(_mm512_cvtepu16_epi32(high), 16),
                _mm512_cvtepu16_epi32(low));
}

ALWAYS_INLINE void store_states(uint32_t x[TM_RANS_LANES], struct lanes high,
                                struct lanes low)
{
    v_store(x, widen(_mm512_castsi512_si256(high.v[0]),
                     _mm512_castsi512_si256(low.v[0])));
    v_store(x + 16, widen(_mm512_extracti64x4_epi64(high.v[0], 1),
                          _mm512_extracti64x4_epi64(low.v[0], 1)));
}

ALWAYS_INLINE vec v_double_high(vec high, vec low)
{
    return _mm512_shldi_epi16(high, low, 1);
}

/* The product with the middle 16 bits of x, and with those above. */
ALWAYS_INLINE void v_advance(vec *high, vec *low, vec f, vec offset)
{
    vec middle = _mm512_shldi_epi16(*high, *low, 5);
    vec top = _mm512_mullo_epi16(V_SHR16(*high, 11), f);
    vec sum = v_add16(_mm512_mullo_epi16(middle, f), offset);
    __mmask32 carry = _mm512_cmplt_epu16_mask(sum, offset);

    top = v_add16(top, _mm512_mulhi_epu16(middle, f));
    *high = _mm512_mask_add_epi16(top, carry, top, v_set16(1));
    *low = sum;
}

ALWAYS_INLINE void v_shift_out(vec *high, vec *low, vec m)
{
    *low = _mm512_shrdv_epi16(*low, *high, m);
    *high = _mm512_srlv_epi16(*high, m);
}

ALWAYS_INLINE void v_shift_in(vec *high, vec *low, vec m)
{
    *high = _mm512_shldv_epi16(*high, *low, m);
    *low = _mm512_sllv_epi16(*low, m);
}

/* The high half of a state that has no room for m bits more: 2^(15 - m). */
ALWAYS_INLINE vec v_limit(vec m)
{
    return _mm512_srlv_epi16(v_set16(0x8000), m);
}

ALWAYS_INLINE struct lanes next_words(const struct tm_rans_shuffles *shuffles,
                                      const unsigned char **next,
                                      struct masks m, struct lanes others)
{
    struct lanes words;

    (void)shuffles;
    words.v[0] = _mm512_mask_expand_epi16(others.v[0], m.v[0], v_load(*next));
    *next += 2 * (unsigned)_mm_popcnt_u32(m.v[0]);
    return words;
}

ALWAYS_INLINE void put_words(const struct tm_rans_shuffles *shuffles,
                             unsigned char **next, struct masks m,
                             struct lanes words)
{
    unsigned count = (unsigned)_mm_popcnt_u32(m.v[0]);
    __mmask32 first = (__mmask32)((UINT64_C(1) << count) - 1);
    vec together = _mm512_maskz_compress_epi16(m.v[0], words.v[0]);

    (void)shuffles;
    *next -= 2 * count;
    _mm512_mask_storeu_epi16(*next, first, together);
}

/* --- tables --------------------------------------------------------------- */

/*
 * For loads one by one. They are slow if they want part of what a store of 512
 * bits has not written yet, hence two of 256.
 */
ALWAYS_INLINE void store_indices(uint16_t at[TM_RANS_LANES], vec index)
{
    _mm256_store_si256((__m256i *)at, _mm512_castsi512_si256(index));
    _mm256_store_si256((__m256i *)at + 1, _mm512_extracti64x4_epi64(index, 1));
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

ALWAYS_INLINE __m256i eight_slots(const uint32_t *slots, const uint16_t *at)
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
    vec a, b; /* at the even and at the odd indices */

    if (gather) {
        a = _mm512_i32gather_epi32(v_even(index.v[0]), slots, 4);
        b = _mm512_i32gather_epi32(v_odd(index.v[0]), slots, 4);
    } else {
        store_indices(at, index.v[0]);
        a = both(eight_slots(slots, at), eight_slots(slots, at + 16));
        b = both(eight_slots(slots, at + 1), eight_slots(slots, at + 17));
    }
    f->v[0] = v_join_high(a, b);
    offset->v[0] = v_join_low(a, b);
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

ALWAYS_INLINE __m256i four_entries(const uint64_t *entries, const uint16_t *at)
{
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(two_entries(entries, at)),
        two_entries(entries, at + 8), 1);
}

ALWAYS_INLINE void load_half(const uint64_t *entries, const uint16_t *at,
                             vec *low, vec *inverse)
{
    __m512 a = _mm512_castsi512_ps(
        both(four_entries(entries, at), four_entries(entries, at + 16)));
    __m512 b = _mm512_castsi512_ps(
        both(four_entries(entries, at + 4), four_entries(entries, at + 20)));

    *low = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88));
    *inverse = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xdd));
}

ALWAYS_INLINE void load_entries(bool gather, const uint64_t *entries,
                                struct lanes index, struct entries e[VECS])
{
    const char *inverses = (const char *)entries + 4;
    vec x = v_even(index.v[0]), y = v_odd(index.v[0]);
    _Alignas(32) uint16_t at[TM_RANS_LANES];

    if (gather) {
        e->low[0] = _mm512_i32gather_epi32(x, entries, 8);
        e->low[1] = _mm512_i32gather_epi32(y, entries, 8);
        e->inverse[0] = _mm512_i32gather_epi32(x, inverses, 8);
        e->inverse[1] = _mm512_i32gather_epi32(y, inverses, 8);
    } else {
        store_indices(at, index.v[0]);
        load_half(entries, at, &e->low[0], &e->inverse[0]);
        load_half(entries, at + 1, &e->low[1], &e->inverse[1]);
    }
}

ALWAYS_INLINE vec v_entry_f(struct entries e)
{
    return v_join_low(e.low[0], e.low[1]);
}

/* See tm_rans_entries for why the quotient is right or too small by 1. */
ALWAYS_INLINE vec push(vec x, vec low, vec inverse)
{
    vec f = v_even(low), cum = v_odd(low), q, rest;

    q = _mm512_cvttps_epi32(
        _mm512_mul_ps(_mm512_cvtepi32_ps(x), _mm512_castsi512_ps(inverse)));
    rest = v_sub32(x, _mm512_mullo_epi32(q, f));
    x = v_add32(V_SHL32(q, TM_RANS_SCALE_BITS), v_add32(rest, cum));
    return _mm512_mask_add_epi32(x, v_ge32(rest, f), x,
                                 v_sub32(v_set32(TM_RANS_SCALE), f));
}

ALWAYS_INLINE void v_push(vec *high, vec *low, struct entries e)
{
    vec a = push(v_join_low(*low, *high), e.low[0], e.inverse[0]);
    vec b = push(v_join_high(*low, *high), e.low[1], e.inverse[1]);

    *low = v_join_low(a, b);
    *high = v_join_high(a, b);
}

#include "kernels/rans_template.h"

RANS_TABLE(tm_rans_avx512, false)
RANS_TABLE(tm_rans_avx512_gather, true)

/* --- gathers or not ------------------------------------------------------- */

/* Cycles for the slots of two times 32 groups, the least of some tries. */
ALWAYS_INLINE uint64_t cycles_for_slots(bool gather, const uint32_t *slots)
{
    uint64_t least = UINT64_MAX;

    for (int try = 0; try < 8; try++) {
        struct lanes s = {{v_set16(0)}}, t = s, f, offset;
        uint64_t cycles = __rdtsc();

        for (int i = 0; i < 32; i++) {
            load_slots(gather, slots, s, &f, &offset);
            s.v[0] = v_xor(f.v[0], offset.v[0]);
            load_slots(gather, slots, t, &f, &offset);
            t.v[0] = v_xor(f.v[0], offset.v[0]);
        }
        __asm__ volatile("" : : "v"(s.v[0]), "v"(t.v[0]));
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
