/* SPDX-License-Identifier: Apache-2.0 */
/* mask_neon: the kernels for 64-bit ARM, which always has what they need. */
#if defined(__aarch64__)

#include "kernels/vec_neon.h"

#define MASK_BLOCKS 4

typedef uint32x4_t vw; /* in order */

VEC_INLINE vw vw_set(uint32_t a)
{
    return vdupq_n_u32(a);
}

VEC_INLINE void vw_counters(uint64_t block, vw *low, vw *high)
{
    const uint64x2_t first = {0, 1}, second = {2, 3};
    vw a = vreinterpretq_u32_u64(vaddq_u64(vdupq_n_u64(block), first));
    vw b = vreinterpretq_u32_u64(vaddq_u64(vdupq_n_u64(block), second));

    *low = vuzp1q_u32(a, b);
    *high = vuzp2q_u32(a, b);
}

VEC_INLINE void vw_multiply(vw a, uint32_t b, vw *low, vw *high)
{
    vw m = vdupq_n_u32(b);
    vw p = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(a), vget_low_u32(m)));
    vw q = vreinterpretq_u32_u64(vmull_high_u32(a, m));

    *low = vuzp1q_u32(p, q);
    *high = vuzp2q_u32(p, q);
}

VEC_INLINE vw vw_xor(vw a, vw b, vw c)
{
    return veorq_u32(veorq_u32(a, b), c);
}

/* Transposes. */
VEC_INLINE void vw_in_order(const vw w[4], vi out[4])
{
    vw a = vzip1q_u32(w[0], w[2]), b = vzip2q_u32(w[0], w[2]);
    vw c = vzip1q_u32(w[1], w[3]), d = vzip2q_u32(w[1], w[3]);

    out[0] = vzip1q_u32(a, c);
    out[1] = vzip2q_u32(a, c);
    out[2] = vzip1q_u32(b, d);
    out[3] = vzip2q_u32(b, d);
}

VEC_INLINE vf vf_unit(vi a)
{
    return vmulq_n_f32(vcvtq_f32_u32(a), 0x1p-24f);
}

#define TM_MASK_TABLE tm_mask_neon
#include "kernels/mask_template.h"

#endif
