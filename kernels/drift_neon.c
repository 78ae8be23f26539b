/* SPDX-License-Identifier: Apache-2.0 */
/* drift_neon: the kernels for 64-bit ARM, which always has what they need. */
#if defined(__aarch64__)

#include "kernels/drift_kernels.h"
#include "kernels/drift_pick.h"
#include "kernels/vec_neon.h"

typedef float64x2x4_t eight;

VEC_INLINE eight eight_load(const double *p)
{
    return vld1q_f64_x4(p);
}

VEC_INLINE void eight_store(double *p, eight a)
{
    vst1q_f64_x4(p, a);
}

VEC_INLINE eight eight_widen(const float *p)
{
    vf low = vf_load(p), high = vf_load(p + 4);
    eight r;

    r.val[0] = vcvt_f64_f32(vget_low_f32(low));
    r.val[1] = vcvt_high_f64_f32(low);
    r.val[2] = vcvt_f64_f32(vget_low_f32(high));
    r.val[3] = vcvt_high_f64_f32(high);
    return r;
}

VEC_INLINE eight eight_add(eight s, eight t)
{
    s.val[0] = vaddq_f64(s.val[0], t.val[0]);
    s.val[1] = vaddq_f64(s.val[1], t.val[1]);
    s.val[2] = vaddq_f64(s.val[2], t.val[2]);
    s.val[3] = vaddq_f64(s.val[3], t.val[3]);
    return s;
}

VEC_INLINE eight eight_add_abs(eight s, eight t)
{
    t.val[0] = vabsq_f64(t.val[0]);
    t.val[1] = vabsq_f64(t.val[1]);
    t.val[2] = vabsq_f64(t.val[2]);
    t.val[3] = vabsq_f64(t.val[3]);
    return eight_add(s, t);
}

VEC_INLINE eight eight_add_square(eight s, eight t)
{
    s.val[0] = vfmaq_f64(s.val[0], t.val[0], t.val[0]);
    s.val[1] = vfmaq_f64(s.val[1], t.val[1], t.val[1]);
    s.val[2] = vfmaq_f64(s.val[2], t.val[2], t.val[2]);
    s.val[3] = vfmaq_f64(s.val[3], t.val[3], t.val[3]);
    return s;
}

VEC_INLINE bool vec_any(vi a)
{
    return vmaxvq_u32(a) != 0;
}

VEC_INLINE size_t vec_pick(uint32_t *to, vi a)
{
    const vi bits = {1, 2, 4, 8};
    uint32_t wanted = vaddvq_u32(vandq_u32(vtstq_u32(a, a), bits));
    uint8x16_t order = vld1q_u8(pick_bytes[wanted]);

    vst1q_u8((uint8_t *)to, vqtbl1q_u8(vreinterpretq_u8_u32(a), order));
    return (size_t)__builtin_popcount(wanted);
}

#define TM_DRIFT_TABLE tm_drift_neon
#include "kernels/drift_template.h"

#endif
