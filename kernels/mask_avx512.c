/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mask_avx512: the kernels for x86-64 with AVX-512 F, BW, VL and DQ; the
 * instruction set is asked for as in sum_avx512.c, and words are kept as in
 * mask_avx2.c.
 */
#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(                                                  \
    __attribute__((                                                            \
        target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq"))),          \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
#endif

#include "kernels/vec_avx512.h"

#define MASK_BLOCKS 8

typedef __m512i vw;

VEC_INLINE vw vw_set(uint32_t a)
{
    return _mm512_set1_epi32((int)a);
}

/* In the order that makes vw_in_order() cheap. */
VEC_INLINE void vw_counters(uint64_t block, vw *low, vw *high)
{
    *low = _mm512_add_epi64(_mm512_set1_epi64((long long)block),
                            _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
    *high = _mm512_srli_epi64(*low, 32);
}

VEC_INLINE void vw_multiply(vw a, uint32_t b, vw *low, vw *high)
{
    *low = _mm512_mul_epu32(a, vw_set(b));
    *high = _mm512_srli_epi64(*low, 32);
}

/* 0x96 is the table of the exclusive or of three. */
VEC_INLINE vw vw_xor(vw a, vw b, vw c)
{
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}

VEC_INLINE vi pair(vw first, vw second)
{
    return _mm512_mask_blend_epi32(0xaaaa, first,
                                   _mm512_slli_epi64(second, 32));
}

VEC_INLINE void vw_in_order(const vw w[4], vi out[2])
{
    vi front = pair(w[0], w[1]), back = pair(w[2], w[3]);

    out[0] = _mm512_unpacklo_epi64(front, back);
    out[1] = _mm512_unpackhi_epi64(front, back);
}

VEC_INLINE vf vf_unit(vi a)
{
    return _mm512_mul_ps(_mm512_cvtepi32_ps(a), _mm512_set1_ps(0x1p-24f));
}

#define TM_MASK_TABLE tm_mask_avx512
#include "kernels/mask_template.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
