/* SPDX-License-Identifier: Apache-2.0 */
/* drift_portable: the kernels in plain C, for any processor. */
#include "kernels/drift_kernels.h"
#include "kernels/vec_portable.h"

typedef struct {
    double v[TM_DRIFT_LANES];
} eight;

VEC_INLINE eight eight_load(const double *p)
{
    eight r;

    memcpy(r.v, p, sizeof(r.v));
    return r;
}

VEC_INLINE void eight_store(double *p, eight a)
{
    memcpy(p, a.v, sizeof(a.v));
}

VEC_INLINE eight eight_widen(const float *p)
{
    eight r;

    for (int k = 0; k < TM_DRIFT_LANES; k++)
        r.v[k] = (double)p[k];
    return r;
}

VEC_INLINE eight eight_add(eight s, eight t)
{
    for (int k = 0; k < TM_DRIFT_LANES; k++)
        s.v[k] += t.v[k];
    return s;
}

VEC_INLINE eight eight_add_abs(eight s, eight t)
{
    for (int k = 0; k < TM_DRIFT_LANES; k++)
        s.v[k] += fabs(t.v[k]);
    return s;
}

VEC_INLINE eight eight_add_square(eight s, eight t)
{
    for (int k = 0; k < TM_DRIFT_LANES; k++)
        s.v[k] += t.v[k] * t.v[k];
    return s;
}

VEC_INLINE bool vec_any(vi a)
{
    return a != 0;
}

VEC_INLINE size_t vec_pick(uint32_t *to, vi a)
{
    *to = a;
    return a != 0;
}

#define TM_DRIFT_TABLE tm_drift_portable
#include "kernels/drift_template.h"
