/* SPDX-License-Identifier: Apache-2.0 */
/* vec_avx512: the vector layer (see vec_portable.h) for AVX-512. */
#ifndef TM_KERNELS_VEC_AVX512_H
#define TM_KERNELS_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#define VEC_INLINE static inline __attribute__((always_inline))
#define VEC_LANES  16

typedef __m512 vf;
typedef __m512i vi;

VEC_INLINE vf vf_of(vi a)
{
    return _mm512_castsi512_ps(a);
}

VEC_INLINE vi vi_of(vf a)
{
    return _mm512_castps_si512(a);
}

VEC_INLINE vf vf_set(float a)
{
    return _mm512_set1_ps(a);
}

VEC_INLINE vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

VEC_INLINE vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

VEC_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

VEC_INLINE vf vf_add_nonzero(vf b, vf s)
{
    __mmask16 nonzero = _mm512_cmp_ps_mask(s, _mm512_setzero_ps(), _CMP_NEQ_UQ);

    return _mm512_mask_add_ps(b, nonzero, b, s);
}

VEC_INLINE vf vf_load(const void *p)
{
    return _mm512_loadu_ps(p);
}

VEC_INLINE void vf_store(void *p, vf a)
{
    _mm512_storeu_ps(p, a);
}

VEC_INLINE vi vi_set(uint32_t a)
{
    return _mm512_set1_epi32((int)a);
}

VEC_INLINE vi vi_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}

VEC_INLINE vi vi_or(vi a, vi b)
{
    return _mm512_or_si512(a, b);
}

VEC_INLINE vi vi_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}

VEC_INLINE vi vi_max(vi a, vi b)
{
    return _mm512_max_epu32(a, b);
}

#define VEC_SHL(a, n) _mm512_slli_epi32(a, n)
#define VEC_SHR(a, n) _mm512_srli_epi32(a, n)

VEC_INLINE vi vi_if_less(vi a, vi b, vi yes, vi no)
{
    return _mm512_mask_blend_epi32(_mm512_cmplt_epu32_mask(a, b), no, yes);
}

VEC_INLINE vi vi_load8(const void *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(p));
}

VEC_INLINE vi vi_load16(const void *p)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
}

VEC_INLINE void vi_store8(void *p, vi a)
{
    _mm_storeu_si128(p, _mm512_cvtepi32_epi8(a));
}

VEC_INLINE void vi_store16(void *p, vi a)
{
    _mm256_storeu_si256(p, _mm512_cvtepi32_epi16(a));
}

#define VEC_HAS_HALF

VEC_INLINE vf vf_load_half(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

VEC_INLINE void vf_store_half(void *p, vf a)
{
    _mm256_storeu_si256(p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

#endif
