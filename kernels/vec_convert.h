/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vec_convert: any floating-point type to and from vectors of floats, out of
 * the operations of a vector layer, which is to be included before.
 *
 * Loads are exact; infinity and NaN come out as one or the other. Stores
 * round to nearest even what is below vec_overflow(); above that they write
 * anything, because the block is done again.
 */
#ifndef TM_KERNELS_VEC_CONVERT_H
#define TM_KERNELS_VEC_CONVERT_H

#include "kernels/dtype.h"

/* What to add to a float's bits to multiply it by 2^n. */
#define FLOAT_SCALE(n) ((uint32_t)(n) << 23)
#define FLOAT_ABS      0x7fffffffu
#define FLOAT_INF      0x7f800000u

/*
 * Formats of up to 16 bits with `m` bits of mantissa and an exponent biased
 * by `bias`; `inf` is the first code that is no number, `sign` the number of
 * the sign bit.
 *
 * Widening moves the code to where float has exponent and mantissa, and
 * corrects the exponent. A subnormal code lacks the leading bit: it is made
 * the mantissa of the least normal number, which is then subtracted.
 *
 * Narrowing a normal number adds just under half of the last place, and one
 * more if the code would be odd, before it cuts. To a subnormal code, float
 * addition does the rounding: of the sum with a number so large that its last
 * place is that of the code.
 */
#define VEC_SMALL_FORMAT(name, m, bias, inf, sign)                             \
    VEC_INLINE vf vec_widen_##name(vi code)                                    \
    {                                                                          \
        vi a = vi_and(code, vi_set((1u << (sign)) - 1));                       \
        vi s = VEC_SHL(vi_and(code, vi_set(1u << (sign))), 31 - (sign));       \
        vi least = vi_set(FLOAT_SCALE(128 - (bias)));                          \
        vi moved = VEC_SHL(a, 23 - (m));                                       \
        vi normal = vi_add(moved, vi_set(FLOAT_SCALE(127 - (bias))));          \
        vf sub = vf_sub(vf_of(vi_or(moved, least)), vf_of(least));             \
        vi r = vi_if_less(a, vi_set(1u << (m)), vi_of(sub), normal);           \
        vi big = vi_or(normal, vi_set(FLOAT_INF));                             \
                                                                               \
        return vf_of(vi_or(s, vi_if_less(a, vi_set(inf), r, big)));            \
    }                                                                          \
                                                                               \
    VEC_INLINE vi vec_narrow_##name(vf value)                                  \
    {                                                                          \
        vi bits = vi_of(value);                                                \
        vi a = vi_and(bits, vi_set(FLOAT_ABS));                                \
        vi s = VEC_SHR(vi_and(bits, vi_set(1u << 31)), 31 - (sign));           \
        vi odd = vi_and(VEC_SHR(a, 23 - (m)), vi_set(1));                      \
        vi bias_ =                                                             \
            vi_set(((1u << (22 - (m))) - 1) - FLOAT_SCALE(127 - (bias)));      \
        vi normal = VEC_SHR(vi_add(vi_add(a, odd), bias_), 23 - (m));          \
        vi large = vi_set(FLOAT_SCALE(151 - (bias) - (m)));                    \
        vi sum = vi_of(vf_add(vf_of(a), vf_of(large)));                        \
        vi sub = vi_and(sum, vi_set(FLOAT_SCALE(1) - 1));                      \
        vi least = vi_set(FLOAT_SCALE(128 - (bias)));                          \
                                                                               \
        return vi_or(s, vi_if_less(a, least, sub, normal));                    \
    }

VEC_SMALL_FORMAT(e4m3, 3, 7, 0x7f, 7)
VEC_SMALL_FORMAT(e5m2, 2, 15, 0x7c, 7)
#ifndef VEC_HAS_HALF
VEC_SMALL_FORMAT(half, 10, 15, 0x7c00, 15)

VEC_INLINE vf vf_load_half(const void *p)
{
    return vec_widen_half(vi_load16(p));
}

VEC_INLINE void vf_store_half(void *p, vf a)
{
    vi_store16(p, vec_narrow_half(a));
}
#endif

/*
 * The upper half of the result is the BF16. In integers: the instruction for
 * this flushes subnormals.
 */
VEC_INLINE vi vec_round_bf16(vf value)
{
    vi bits = vi_of(value);
    vi odd = vi_and(VEC_SHR(bits, 16), vi_set(1));

    return vi_add(vi_add(bits, odd), vi_set(0x7fff));
}

VEC_INLINE size_t vec_bytes(enum tm_dtype dtype)
{
    switch (dtype) {
    case TM_F8_E4M3:
    case TM_F8_E5M2:
        return 1;
    case TM_BF16:
    case TM_F16:
        return 2;
    case TM_F32:
        return 4;
    default:
        return 8;
    }
}

VEC_INLINE const void *vec_at(enum tm_dtype dtype, const void *p, size_t i)
{
    return (const char *)p + i * vec_bytes(dtype);
}

/* Elements i, i + 1 ... of the array at p. `dtype` is a constant: not F64. */
VEC_INLINE vf vec_load(enum tm_dtype dtype, const void *p, size_t i)
{
    const void *from = vec_at(dtype, p, i);

    switch (dtype) {
    case TM_F8_E4M3:
        return vec_widen_e4m3(vi_load8(from));
    case TM_F8_E5M2:
        return vec_widen_e5m2(vi_load8(from));
    case TM_BF16:
        return vf_of(VEC_SHL(vi_load16(from), 16));
    case TM_F16:
        return vf_load_half(from);
    default:
        return vf_load(from);
    }
}

/* A vector of floats as doubles: rare, so it may take its time. */
VEC_INLINE void vec_store_double(void *to, vf value)
{
    float in[VEC_LANES];
    double out[VEC_LANES];

    vf_store(in, value);
    for (int j = 0; j < VEC_LANES; j++)
        out[j] = in[j];
    memcpy(to, out, sizeof(out));
}

VEC_INLINE void vec_store(enum tm_dtype dtype, void *p, size_t i, vf value)
{
    char *to = (char *)p + i * vec_bytes(dtype);

    switch (dtype) {
    case TM_F8_E4M3:
        vi_store8(to, vec_narrow_e4m3(value));
        break;
    case TM_F8_E5M2:
        vi_store8(to, vec_narrow_e5m2(value));
        break;
    case TM_BF16:
        vi_store16(to, VEC_SHR(vec_round_bf16(value), 16));
        break;
    case TM_F16:
        vf_store_half(to, value);
        break;
    case TM_F32:
        vf_store(to, value);
        break;
    default:
        vec_store_double(to, value);
        break;
    }
}

/* The bits of the least float that `dtype` rounds to no finite number. */
VEC_INLINE uint32_t vec_overflow(enum tm_dtype dtype)
{
    switch (dtype) {
    case TM_F8_E4M3:
        return 0x43e80001; /* just above 464: 464 itself goes to 448 */
    case TM_F8_E5M2:
        return 0x47700000; /* 61440 */
    case TM_BF16:
        return 0x7f7f8000;
    case TM_F16:
        return 0x477ff000; /* 65520 */
    default:
        return FLOAT_INF;
    }
}

/* Whether a lane is `limit` or more. */
VEC_INLINE bool vec_reaches(vi a, uint32_t limit)
{
    uint32_t lanes[VEC_LANES];
    uint32_t most = 0;

    vf_store(lanes, vf_of(a));
    for (int j = 0; j < VEC_LANES; j++)
        most = lanes[j] > most ? lanes[j] : most;
    return most >= limit;
}

#endif
