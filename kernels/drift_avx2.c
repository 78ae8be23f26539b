/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drift_avx2: the kernels for x86-64 with AVX2, FMA and F16C; the instruction
 * set is asked for as in sum_avx2.c.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/drift_kernels.h"
#include "kernels/drift_pick.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,popcnt"))),  \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,popcnt")
#endif

#include "kernels/vec_avx2.h"

typedef struct {
    __m256d low, high;
} eight;

VEC_INLINE eight eight_load(const double *p)
{
    return (eight){_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)};
}

VEC_INLINE void eight_store(double *p, eight a)
{
    _mm256_storeu_pd(p, a.low);
    _mm256_storeu_pd(p + 4, a.high);
}

VEC_INLINE eight eight_widen(const float *p)
{
    return (eight){_mm256_cvtps_pd(_mm_load_ps(p)),
                   _mm256_cvtps_pd(_mm_load_ps(p + 4))};
}

VEC_INLINE eight eight_add(eight s, eight t)
{
    return (eight){_mm256_add_pd(s.low, t.low), _mm256_add_pd(s.high, t.high)};
}

VEC_INLINE eight eight_add_abs(eight s, eight t)
{
    __m256d sign = _mm256_set1_pd(-0.0);

    t.low = _mm256_andnot_pd(sign, t.low);
    t.high = _mm256_andnot_pd(sign, t.high);
    return eight_add(s, t);
}

VEC_INLINE eight eight_add_square(eight s, eight t)
{
    return (eight){_mm256_fmadd_pd(t.low, t.low, s.low),
                   _mm256_fmadd_pd(t.high, t.high, s.high)};
}

VEC_INLINE bool vec_any(vi a)
{
    return !_mm256_testz_si256(a, a);
}

VEC_INLINE void pick_four(uint32_t *to, __m128i a, unsigned wanted)
{
    __m128i order = _mm_loadu_si128((const __m128i *)pick_bytes[wanted]);

    _mm_storeu_si128((__m128i *)to, _mm_shuffle_epi8(a, order));
}

VEC_INLINE size_t vec_pick(uint32_t *to, vi a)
{
    vi zero = _mm256_cmpeq_epi32(a, _mm256_setzero_si256());
    unsigned wanted =
        ~(unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(zero)) & 0xff;
    int first = __builtin_popcount(wanted & 15);

    pick_four(to, _mm256_castsi256_si128(a), wanted & 15);
    pick_four(to + first, _mm256_extracti128_si256(a, 1), wanted >> 4);
    return (size_t)__builtin_popcount(wanted);
}

#define TM_DRIFT_TABLE tm_drift_avx2
#include "kernels/drift_template.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
