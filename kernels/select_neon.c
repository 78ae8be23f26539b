/* SPDX-License-Identifier: Apache-2.0 */
/* select_neon: the kernels for 64-bit ARM, which always has what they need. */
#if defined(__aarch64__)

#include "kernels/drift_pick.h"
#include "kernels/select_kernels.h"
#include "kernels/vec_neon.h"

typedef vi vb; /* all bits of a lane, or none */

VEC_INLINE vb vb_equal(vi a, vi b)
{
    return vceqq_u32(a, b);
}

VEC_INLINE vb vb_nonzero(vi a)
{
    return vtstq_u32(a, a);
}

VEC_INLINE vb vb_or(vb a, vb b)
{
    return vorrq_u32(a, b);
}

VEC_INLINE vb vb_and(vb a, vb b)
{
    return vandq_u32(a, b);
}

VEC_INLINE vb vb_and_not(vb a, vb b)
{
    return vbicq_u32(a, b);
}

VEC_INLINE bool vb_any(vb a)
{
    return vmaxvq_u32(a) != 0;
}

VEC_INLINE size_t vb_count(vb a)
{
    return vaddvq_u32(vshrq_n_u32(a, 31));
}

VEC_INLINE size_t vec_pick(uint32_t *to, vi a, vb wanted)
{
    const vi bits = {1, 2, 4, 8};
    uint32_t index = vaddvq_u32(vandq_u32(wanted, bits));
    uint8x16_t order = vld1q_u8(pick_bytes[index]);

    vst1q_u8((uint8_t *)to, vqtbl1q_u8(vreinterpretq_u8_u32(a), order));
    return (size_t)__builtin_popcount(index);
}

#define TM_SELECT_TABLE tm_select_neon
#include "kernels/select_template.h"

#endif
