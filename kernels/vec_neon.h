/* SPDX-License-Identifier: Apache-2.0 */
/* vec_neon: the vector layer (see vec_portable.h) for 64-bit ARM. */
#ifndef TM_KERNELS_VEC_NEON_H
#define TM_KERNELS_VEC_NEON_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#define VEC_INLINE static inline __attribute__((always_inline))
#define VEC_LANES  4

typedef float32x4_t vf;
typedef uint32x4_t vi;

VEC_INLINE vf vf_of(vi a)
{
    return vreinterpretq_f32_u32(a);
}

VEC_INLINE vi vi_of(vf a)
{
    return vreinterpretq_u32_f32(a);
}

VEC_INLINE vf vf_set(float a)
{
    return vdupq_n_f32(a);
}

VEC_INLINE vf vf_add(vf a, vf b)
{
    return vaddq_f32(a, b);
}

VEC_INLINE vf vf_sub(vf a, vf b)
{
    return vsubq_f32(a, b);
}

VEC_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return vfmaq_f32(c, a, b);
}

VEC_INLINE vf vf_add_nonzero(vf b, vf s)
{
    return vbslq_f32(vceqzq_f32(s), b, vaddq_f32(b, s));
}

/* As bytes, because vld1q_f32 may be compiled to want aligned floats. */
VEC_INLINE vf vf_load(const void *p)
{
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

VEC_INLINE void vf_store(void *p, vf a)
{
    vst1q_u8(p, vreinterpretq_u8_f32(a));
}

VEC_INLINE vi vi_set(uint32_t a)
{
    return vdupq_n_u32(a);
}

VEC_INLINE vi vi_and(vi a, vi b)
{
    return vandq_u32(a, b);
}

VEC_INLINE vi vi_or(vi a, vi b)
{
    return vorrq_u32(a, b);
}

VEC_INLINE vi vi_add(vi a, vi b)
{
    return vaddq_u32(a, b);
}

VEC_INLINE vi vi_max(vi a, vi b)
{
    return vmaxq_u32(a, b);
}

#define VEC_SHL(a, n) vshlq_n_u32(a, n)
#define VEC_SHR(a, n) vshrq_n_u32(a, n)

VEC_INLINE vi vi_if_less(vi a, vi b, vi yes, vi no)
{
    return vbslq_u32(vcltq_u32(a, b), yes, no);
}

VEC_INLINE vi vi_load8(const void *p)
{
    uint32_t four;

    memcpy(&four, p, sizeof(four));
    return vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
}

VEC_INLINE vi vi_load16(const void *p)
{
    return vmovl_u16(vreinterpret_u16_u8(vld1_u8(p)));
}

VEC_INLINE void vi_store8(void *p, vi a)
{
    uint16x4_t words = vmovn_u32(a);
    uint8x8_t bytes = vmovn_u16(vcombine_u16(words, words));
    uint32_t four = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);

    memcpy(p, &four, sizeof(four));
}

VEC_INLINE void vi_store16(void *p, vi a)
{
    vst1_u8(p, vreinterpret_u8_u16(vmovn_u32(a)));
}

#define VEC_HAS_HALF

VEC_INLINE vf vf_load_half(const void *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

VEC_INLINE void vf_store_half(void *p, vf a)
{
    vst1_u8(p, vreinterpret_u8_f16(vcvt_f16_f32(a)));
}

#endif
