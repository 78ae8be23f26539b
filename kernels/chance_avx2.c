/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chance_avx2: the kernels for x86-64 with AVX2, FMA and F16C; the instruction
 * set is asked for as in sum_avx2.c.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/chance_kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,popcnt"))),  \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,popcnt")
#endif

#include "kernels/vec_avx2.h"

VEC_INLINE uint32_t vi_equal(vi a, vi b)
{
    return (uint32_t)_mm256_movemask_ps(vf_of(_mm256_cmpeq_epi32(a, b)));
}

VEC_INLINE vf vf_below(vf a, vf b, vf x)
{
    return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ), x);
}

VEC_INLINE size_t vf_list(uint32_t *to, uint32_t *values, uint32_t first,
                          vf value, vf a, vf least, vf most)
{
    const unsigned is = (unsigned)_mm256_movemask_ps(
        _mm256_and_ps(_mm256_cmp_ps(a, least, _CMP_GE_OQ),
                      _mm256_cmp_ps(a, most, _CMP_LT_OQ)));
    uint32_t all[VEC_LANES];
    size_t count = 0;

    vf_store(all, value);
    for (uint32_t j = 0; j < VEC_LANES; j++) {
        to[count] = first + j;
        values[count] = all[j];
        count += is >> j & 1;
    }
    return count;
}

#define TM_CHANCE_TABLE tm_chance_avx2
#include "kernels/chance_template.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
