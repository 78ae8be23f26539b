/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select_avx2: the kernels for x86-64 with AVX2, FMA and F16C; the instruction
 * set is asked for as in sum_avx2.c.
 */
#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/drift_pick.h"
#include "kernels/select_kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,popcnt"))),  \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,popcnt")
#endif

#include "kernels/vec_avx2.h"

typedef vi vb; /* all bits of a lane, or none */

VEC_INLINE vb vb_equal(vi a, vi b)
{
    return _mm256_cmpeq_epi32(a, b);
}

/* Of magnitudes, whose highest bit is zero. */
VEC_INLINE vb vb_nonzero(vi a)
{
    return _mm256_cmpgt_epi32(a, _mm256_setzero_si256());
}

VEC_INLINE vb vb_or(vb a, vb b)
{
    return _mm256_or_si256(a, b);
}

VEC_INLINE vb vb_and(vb a, vb b)
{
    return _mm256_and_si256(a, b);
}

VEC_INLINE vb vb_and_not(vb a, vb b)
{
    return _mm256_andnot_si256(b, a);
}

VEC_INLINE bool vb_any(vb a)
{
    return !_mm256_testz_si256(a, a);
}

VEC_INLINE unsigned vb_bits(vb a)
{
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(a));
}

VEC_INLINE size_t vb_count(vb a)
{
    return (size_t)__builtin_popcount(vb_bits(a));
}

VEC_INLINE void pick_four(uint32_t *to, __m128i a, unsigned wanted)
{
    __m128i order = _mm_loadu_si128((const __m128i *)pick_bytes[wanted]);

    _mm_storeu_si128((__m128i *)to, _mm_shuffle_epi8(a, order));
}

VEC_INLINE size_t vec_pick(uint32_t *to, vi a, vb wanted)
{
    unsigned bits = vb_bits(wanted);
    int first = __builtin_popcount(bits & 15);

    pick_four(to, _mm256_castsi256_si128(a), bits & 15);
    pick_four(to + first, _mm256_extracti128_si256(a, 1), bits >> 4);
    return (size_t)__builtin_popcount(bits);
}

#define TM_SELECT_TABLE tm_select_avx2
#include "kernels/select_template.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
