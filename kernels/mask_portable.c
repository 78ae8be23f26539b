/* SPDX-License-Identifier: Apache-2.0 */
/* mask_portable: the kernels in plain C, for any processor. */
#include "kernels/vec_portable.h"

#define MASK_BLOCKS 1

typedef uint32_t vw;

VEC_INLINE vw vw_set(uint32_t a)
{
    return a;
}

VEC_INLINE void vw_counters(uint64_t block, vw *low, vw *high)
{
    *low = (uint32_t)block;
    *high = (uint32_t)(block >> 32);
}

VEC_INLINE void vw_multiply(vw a, uint32_t b, vw *low, vw *high)
{
    uint64_t product = (uint64_t)a * b;

    *low = (uint32_t)product;
    *high = (uint32_t)(product >> 32);
}

VEC_INLINE vw vw_xor(vw a, vw b, vw c)
{
    return a ^ b ^ c;
}

VEC_INLINE void vw_in_order(const vw w[4], vi out[4])
{
    memcpy(out, w, 4 * sizeof(*out));
}

VEC_INLINE vf vf_unit(vi a)
{
    return (float)a * 0x1p-24f;
}

#define TM_MASK_TABLE tm_mask_portable
#include "kernels/mask_template.h"
