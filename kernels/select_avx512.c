/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select_avx512: the kernels for x86-64 with AVX-512 F, BW, VL and DQ; the
 * instruction set is asked for as in sum_avx512.c.
 */
#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/select_kernels.h"

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

typedef __mmask16 vb;

VEC_INLINE vb vb_equal(vi a, vi b)
{
    return _mm512_cmpeq_epi32_mask(a, b);
}

VEC_INLINE vb vb_nonzero(vi a)
{
    return _mm512_test_epi32_mask(a, a);
}

VEC_INLINE vb vb_or(vb a, vb b)
{
    return _kor_mask16(a, b);
}

VEC_INLINE vb vb_and(vb a, vb b)
{
    return _kand_mask16(a, b);
}

VEC_INLINE vb vb_and_not(vb a, vb b)
{
    return _kandn_mask16(b, a);
}

VEC_INLINE bool vb_any(vb a)
{
    return a != 0;
}

VEC_INLINE size_t vb_count(vb a)
{
    return (size_t)__builtin_popcount((unsigned)a);
}

/* Through a register: compressing to memory is very slow on Zen 4. */
VEC_INLINE size_t vec_pick(uint32_t *to, vi a, vb wanted)
{
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(wanted, a));
    return vb_count(wanted);
}

#define TM_SELECT_TABLE tm_select_avx512
#include "kernels/select_template.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
