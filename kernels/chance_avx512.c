/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chance_avx512: the kernels for x86-64 with AVX-512 F, BW, VL and DQ; the
 * instruction set is asked for as in sum_avx512.c.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/chance_kernels.h"

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

/*
 * In an ordinary register, before it is made longer: GCC 12 may spill the 16
 * bits of a mask and load 64 where it is used as such.
 */
VEC_INLINE uint32_t bits_of(__mmask16 is)
{
    uint16_t bits = is;

    __asm__("" : "+r"(bits));
    return bits;
}

VEC_INLINE uint32_t vi_equal(vi a, vi b)
{
    return bits_of(_mm512_cmpeq_epi32_mask(a, b));
}

VEC_INLINE vf vf_below(vf a, vf b, vf x)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), x);
}

VEC_INLINE size_t vf_list(uint32_t *to, uint32_t *values, uint32_t first,
                          vf value, vf a, vf least, vf most)
{
    const vi numbers = _mm512_add_epi32(
        vi_set(first), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
                                         12, 13, 14, 15));
    const __mmask16 is = _mm512_mask_cmp_ps_mask(
        _mm512_cmp_ps_mask(a, least, _CMP_GE_OQ), a, most, _CMP_LT_OQ);

    vf_store(to, vf_of(_mm512_maskz_compress_epi32(is, numbers)));
    vf_store(values, _mm512_maskz_compress_ps(is, value));
    return (size_t)__builtin_popcount(bits_of(is));
}

#define TM_CHANCE_TABLE tm_chance_avx512
#include "kernels/chance_template.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
