/* SPDX-License-Identifier: Apache-2.0 */
/* vec_avx2: the vector layer (see vec_portable.h) for AVX2, FMA and F16C. */
#ifndef TM_KERNELS_VEC_AVX2_H
#define TM_KERNELS_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>

#define VEC_INLINE static inline __attribute__((always_inline))
#define VEC_LANES  8

typedef __m256 vf;
typedef __m256i vi;

VEC_INLINE vf vf_of(vi a)
{
    return _mm256_castsi256_ps(a);
}

VEC_INLINE vi vi_of(vf a)
{
    return _mm256_castps_si256(a);
}

VEC_INLINE vf vf_set(float a)
{
    return _mm256_set1_ps(a);
}

VEC_INLINE vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}

VEC_INLINE vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}

VEC_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

VEC_INLINE vf vf_add_nonzero(vf b, vf s)
{
    vf zero = _mm256_cmp_ps(s, _mm256_setzero_ps(), _CMP_EQ_OQ);

    return _mm256_blendv_ps(_mm256_add_ps(b, s), b, zero);
}

VEC_INLINE vf vf_load(const void *p)
{
    return _mm256_loadu_ps(p);
}

VEC_INLINE void vf_store(void *p, vf a)
{
    _mm256_storeu_ps(p, a);
}

VEC_INLINE vi vi_set(uint32_t a)
{
    return _mm256_set1_epi32((int)a);
}

VEC_INLINE vi vi_and(vi a, vi b)
{
    return _mm256_and_si256(a, b);
}

VEC_INLINE vi vi_or(vi a, vi b)
{
    return _mm256_or_si256(a, b);
}

VEC_INLINE vi vi_add(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}

VEC_INLINE vi vi_max(vi a, vi b)
{
    return _mm256_max_epu32(a, b);
}

#define VEC_SHL(a, n) _mm256_slli_epi32(a, n)
#define VEC_SHR(a, n) _mm256_srli_epi32(a, n)

VEC_INLINE vi vi_if_less(vi a, vi b, vi yes, vi no)
{
    return _mm256_blendv_epi8(no, yes, _mm256_cmpgt_epi32(b, a));
}

VEC_INLINE vi vi_load8(const void *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(p));
}

VEC_INLINE vi vi_load16(const void *p)
{
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
}

/* The pack saturates, which only a result that is not finite can show. */
VEC_INLINE __m128i vi_pack16(vi a)
{
    return _mm_packus_epi32(_mm256_castsi256_si128(a),
                            _mm256_extracti128_si256(a, 1));
}

VEC_INLINE void vi_store8(void *p, vi a)
{
    __m128i words = vi_pack16(a);

    _mm_storel_epi64(p, _mm_packus_epi16(words, words));
}

VEC_INLINE void vi_store16(void *p, vi a)
{
    _mm_storeu_si128(p, vi_pack16(a));
}

#define VEC_HAS_HALF

VEC_INLINE vf vf_load_half(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

VEC_INLINE void vf_store_half(void *p, vf a)
{
    _mm_storeu_si128(p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

#endif
