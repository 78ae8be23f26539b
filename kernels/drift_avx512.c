/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drift_avx512: the kernels for x86-64 with AVX-512 F, BW, VL and DQ; the
 * instruction set is asked for as in sum_avx512.c.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/drift_kernels.h"

#if defined(__clang__)
#pragma clang attribute push(                                                  \
    __attribute__((                                                            \
        target("avx2,fma,f16c,popcnt,avx512f,avx512bw,avx512vl,avx512dq"))),   \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,popcnt,avx512f,avx512bw,avx512vl,avx512dq")
#endif

#include "kernels/vec_avx512.h"

typedef __m512d eight;

VEC_INLINE eight eight_load(const double *p)
{
    return _mm512_loadu_pd(p);
}

VEC_INLINE void eight_store(double *p, eight a)
{
    _mm512_storeu_pd(p, a);
}

VEC_INLINE eight eight_widen(const float *p)
{
    return _mm512_cvtps_pd(_mm256_load_ps(p));
}

VEC_INLINE eight eight_add(eight s, eight t)
{
    return _mm512_add_pd(s, t);
}

VEC_INLINE eight eight_add_abs(eight s, eight t)
{
    return _mm512_add_pd(s, _mm512_abs_pd(t));
}

VEC_INLINE eight eight_add_square(eight s, eight t)
{
    return _mm512_fmadd_pd(t, t, s);
}

VEC_INLINE bool vec_any(vi a)
{
    return _mm512_test_epi32_mask(a, a) != 0;
}

/* Through a register: compressing to memory is very slow on Zen 4. */
VEC_INLINE size_t vec_pick(uint32_t *to, vi a)
{
    __mmask16 wanted = _mm512_test_epi32_mask(a, a);

    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(wanted, a));
    return (size_t)__builtin_popcount((unsigned)wanted);
}

#define TM_DRIFT_TABLE tm_drift_avx512
#include "kernels/drift_template.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
