/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vec_portable: the vector layer of sum_template.h in plain C: vectors of one.
 *
 * vf is a vector of floats, vi one of as many uint32_t. What every layer has:
 * arithmetic that rounds as IEEE 754 says, and loads and stores at any
 * address. VEC_SHL and VEC_SHR are macros because some instruction sets want
 * the count as a literal.
 */
#ifndef TM_KERNELS_VEC_PORTABLE_H
#define TM_KERNELS_VEC_PORTABLE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define VEC_INLINE static inline __attribute__((always_inline))
#define VEC_LANES  1

typedef float vf;
typedef uint32_t vi;

VEC_INLINE vf vf_of(vi a)
{
    vf r;

    memcpy(&r, &a, sizeof(r));
    return r;
}

VEC_INLINE vi vi_of(vf a)
{
    vi r;

    memcpy(&r, &a, sizeof(r));
    return r;
}

VEC_INLINE vf vf_set(float a)
{
    return a;
}

VEC_INLINE vf vf_add(vf a, vf b)
{
    return a + b;
}

VEC_INLINE vf vf_sub(vf a, vf b)
{
    return a - b;
}

/* a * b + c, rounded once. */
VEC_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return fmaf(a, b, c);
}

/* b + s; b itself where s is zero, so that -0 stays -0. */
VEC_INLINE vf vf_add_nonzero(vf b, vf s)
{
    return s == 0 ? b : b + s;
}

VEC_INLINE vf vf_load(const void *p)
{
    vf r;

    memcpy(&r, p, sizeof(r));
    return r;
}

VEC_INLINE void vf_store(void *p, vf a)
{
    memcpy(p, &a, sizeof(a));
}

VEC_INLINE vi vi_set(uint32_t a)
{
    return a;
}

VEC_INLINE vi vi_and(vi a, vi b)
{
    return a & b;
}

VEC_INLINE vi vi_or(vi a, vi b)
{
    return a | b;
}

VEC_INLINE vi vi_add(vi a, vi b)
{
    return a + b;
}

VEC_INLINE vi vi_max(vi a, vi b)
{
    return a > b ? a : b;
}

#define VEC_SHL(a, n) ((a) << (n))
#define VEC_SHR(a, n) ((a) >> (n))

/* a < b ? yes : no, for values below 2^31. */
VEC_INLINE vi vi_if_less(vi a, vi b, vi yes, vi no)
{
    return a < b ? yes : no;
}

/* Bytes and 16-bit words, to and from the low bits of lanes. */
VEC_INLINE vi vi_load8(const void *p)
{
    return *(const uint8_t *)p;
}

VEC_INLINE vi vi_load16(const void *p)
{
    uint16_t r;

    memcpy(&r, p, sizeof(r));
    return r;
}

VEC_INLINE void vi_store8(void *p, vi a)
{
    *(uint8_t *)p = (uint8_t)a;
}

VEC_INLINE void vi_store16(void *p, vi a)
{
    uint16_t r = (uint16_t)a;

    memcpy(p, &r, sizeof(r));
}

#endif
