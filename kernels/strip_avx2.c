/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strip_avx2: the kernels for x86-64 with AVX2, FMA and F16C; the instruction
 * set is asked for as in sum_avx2.c.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/strip_kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))),         \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

#include "kernels/vec_avx2.h"

#define VD_LANES      4
#define VEC_REGISTERS 16

typedef __m256d vd;

VEC_INLINE vd vd_set(double a)
{
    return _mm256_set1_pd(a);
}

VEC_INLINE vd vd_load(const double *p)
{
    return _mm256_loadu_pd(p);
}

VEC_INLINE void vd_store(double *p, vd a)
{
    _mm256_storeu_pd(p, a);
}

VEC_INLINE vd vd_widen(const float *p)
{
    return _mm256_cvtps_pd(_mm_loadu_ps(p));
}

VEC_INLINE void vd_narrow(float *p, vd a)
{
    _mm_storeu_ps(p, _mm256_cvtpd_ps(a));
}

VEC_INLINE vd vd_abs(vd a)
{
    return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a);
}

VEC_INLINE vd vd_add_exact(vd s, vd a, vd b)
{
    return _mm256_fmadd_pd(a, b, s);
}

VEC_INLINE vf vf_where_less(vf a, vf b, vf x)
{
    return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ), x);
}

VEC_INLINE vf vf_where_least(vf a, vf b, vf x)
{
    return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ), x);
}

#define TM_STRIP_TABLE tm_strip_avx2
#include "kernels/strip_template.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
