/* SPDX-License-Identifier: Apache-2.0 */
/* chance_portable: the kernels in plain C, for any processor. */
#include "kernels/chance_kernels.h"
#include "kernels/vec_portable.h"

VEC_INLINE uint32_t vi_equal(vi a, vi b)
{
    return a == b;
}

/* Not by a branch: which way it goes is as good as random. */
VEC_INLINE vf vf_below(vf a, vf b, vf x)
{
    return vf_of(vi_of(x) & (0u - (vi)(a < b)));
}

VEC_INLINE size_t vf_list(uint32_t *to, uint32_t *values, uint32_t first,
                          vf value, vf a, vf least, vf most)
{
    *to = first;
    *values = vi_of(value);
    return (size_t)((a >= least) & (a < most));
}

#define TM_CHANCE_TABLE tm_chance_portable
#include "kernels/chance_template.h"
