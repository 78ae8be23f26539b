/* SPDX-License-Identifier: Apache-2.0 */
/* select_portable: the kernels in plain C, for any processor. */
#include "kernels/select_kernels.h"
#include "kernels/vec_portable.h"

typedef bool vb;

VEC_INLINE vb vb_equal(vi a, vi b)
{
    return a == b;
}

VEC_INLINE vb vb_nonzero(vi a)
{
    return a != 0;
}

VEC_INLINE vb vb_or(vb a, vb b)
{
    return a | b;
}

VEC_INLINE vb vb_and(vb a, vb b)
{
    return a & b;
}

VEC_INLINE vb vb_and_not(vb a, vb b)
{
    return a & !b;
}

VEC_INLINE bool vb_any(vb a)
{
    return a;
}

VEC_INLINE size_t vb_count(vb a)
{
    return a;
}

VEC_INLINE size_t vec_pick(uint32_t *to, vi a, vb wanted)
{
    *to = a;
    return wanted;
}

#define TM_SELECT_TABLE tm_select_portable
#include "kernels/select_template.h"
