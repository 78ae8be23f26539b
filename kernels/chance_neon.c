/* SPDX-License-Identifier: Apache-2.0 */
/* chance_neon: the kernels for 64-bit ARM, which always has what they need. */
#if defined(__aarch64__)

#include "kernels/chance_kernels.h"
#include "kernels/vec_neon.h"

/* A bit for each lane that is all ones. */
VEC_INLINE uint32_t vi_bits(vi is)
{
    static const uint32_t bits[VEC_LANES] = {1, 2, 4, 8};

    return vaddvq_u32(vandq_u32(is, vld1q_u32(bits)));
}

VEC_INLINE uint32_t vi_equal(vi a, vi b)
{
    return vi_bits(vceqq_u32(a, b));
}

VEC_INLINE vf vf_below(vf a, vf b, vf x)
{
    return vf_of(vi_and(vcltq_f32(a, b), vi_of(x)));
}

VEC_INLINE size_t vf_list(uint32_t *to, uint32_t *values, uint32_t first,
                          vf value, vf a, vf least, vf most)
{
    const uint32_t is =
        vi_bits(vandq_u32(vcgeq_f32(a, least), vcltq_f32(a, most)));
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

#define TM_CHANCE_TABLE tm_chance_neon
#include "kernels/chance_template.h"

#endif
