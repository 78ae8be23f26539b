/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mask_avx2: the kernels for x86-64 with AVX2, FMA and F16C; the instruction
 * set is asked for as in sum_avx2.c.
 *
 * A word has 64 bits of a vector, the upper half of which mean nothing: so
 * the lower word of a product is the product, and the upper one a shift away.
 */
#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))),         \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

#include "kernels/vec_avx2.h"

#define MASK_BLOCKS 4

typedef __m256i vw;

VEC_INLINE vw vw_set(uint32_t a)
{
    return _mm256_set1_epi32((int)a);
}

/* In the order that makes vw_in_order() cheap. */
VEC_INLINE void vw_counters(uint64_t block, vw *low, vw *high)
{
    *low = _mm256_add_epi64(_mm256_set1_epi64x((long long)block),
                            _mm256_setr_epi64x(0, 2, 1, 3));
    *high = _mm256_srli_epi64(*low, 32);
}

VEC_INLINE void vw_multiply(vw a, uint32_t b, vw *low, vw *high)
{
    *low = _mm256_mul_epu32(a, vw_set(b));
    *high = _mm256_srli_epi64(*low, 32);
}

VEC_INLINE vw vw_xor(vw a, vw b, vw c)
{
    return _mm256_xor_si256(_mm256_xor_si256(a, b), c);
}

VEC_INLINE vi pair(vw first, vw second)
{
    return _mm256_blend_epi32(first, _mm256_slli_epi64(second, 32), 0xaa);
}

VEC_INLINE void vw_in_order(const vw w[4], vi out[2])
{
    vi front = pair(w[0], w[1]), back = pair(w[2], w[3]);

    out[0] = _mm256_unpacklo_epi64(front, back);
    out[1] = _mm256_unpackhi_epi64(front, back);
}

VEC_INLINE vf vf_unit(vi a)
{
    return _mm256_mul_ps(_mm256_cvtepi32_ps(a), _mm256_set1_ps(0x1p-24f));
}

#define TM_MASK_TABLE tm_mask_avx2
#include "kernels/mask_template.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
