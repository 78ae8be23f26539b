/* SPDX-License-Identifier: Apache-2.0 */
/* strip_neon: the kernels for 64-bit ARM, which always has what they need. */
#if defined(__aarch64__)

#include "kernels/strip_kernels.h"
#include "kernels/vec_neon.h"

#define VD_LANES      2
#define VEC_REGISTERS 32

typedef float64x2_t vd;

VEC_INLINE vd vd_set(double a)
{
    return vdupq_n_f64(a);
}

VEC_INLINE vd vd_load(const double *p)
{
    return vld1q_f64(p);
}

VEC_INLINE void vd_store(double *p, vd a)
{
    vst1q_f64(p, a);
}

VEC_INLINE vd vd_widen(const float *p)
{
    return vcvt_f64_f32(vld1_f32(p));
}

VEC_INLINE void vd_narrow(float *p, vd a)
{
    vst1_f32(p, vcvt_f32_f64(a));
}

VEC_INLINE vd vd_abs(vd a)
{
    return vabsq_f64(a);
}

VEC_INLINE vd vd_add_exact(vd s, vd a, vd b)
{
    return vfmaq_f64(s, a, b);
}

VEC_INLINE vf vf_where_less(vf a, vf b, vf x)
{
    return vf_of(vi_and(vcltq_f32(a, b), vi_of(x)));
}

VEC_INLINE vf vf_where_least(vf a, vf b, vf x)
{
    return vf_of(vi_and(vcgeq_f32(a, b), vi_of(x)));
}

#define TM_STRIP_TABLE tm_strip_neon
#include "kernels/strip_template.h"

#endif
