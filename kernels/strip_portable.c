/* SPDX-License-Identifier: Apache-2.0 */
/* strip_portable: the kernels in plain C, for any processor. */
#include "kernels/strip_kernels.h"
#include "kernels/vec_portable.h"

#define VD_LANES      1
#define VEC_REGISTERS 16

typedef double vd;

VEC_INLINE vd vd_set(double a)
{
    return a;
}

VEC_INLINE vd vd_load(const double *p)
{
    return *p;
}

VEC_INLINE void vd_store(double *p, vd a)
{
    *p = a;
}

VEC_INLINE vd vd_widen(const float *p)
{
    return (double)*p;
}

VEC_INLINE void vd_narrow(float *p, vd a)
{
    *p = (float)a;
}

VEC_INLINE vd vd_abs(vd a)
{
    return fabs(a);
}

VEC_INLINE vd vd_add_exact(vd s, vd a, vd b)
{
    return s + a * b;
}

/* Not by a branch: which way it goes is as good as random. */
VEC_INLINE vf vf_where(bool is, vf x)
{
    return vf_of(vi_of(x) & (0u - (vi)is));
}

VEC_INLINE vf vf_where_less(vf a, vf b, vf x)
{
    return vf_where(a < b, x);
}

VEC_INLINE vf vf_where_least(vf a, vf b, vf x)
{
    return vf_where(a >= b, x);
}

#define TM_STRIP_TABLE tm_strip_portable
#include "kernels/strip_template.h"
