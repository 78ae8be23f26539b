/* SPDX-License-Identifier: Apache-2.0 */
/*
 * row_template: the kernels of row_kernels.h, once for all instruction sets,
 * in the vectors of the compiler. row_<isa>.c says how many doubles are in a
 * vector, ROW_DOUBLES, and then includes this, which leaves the table
 * TM_ROW_TABLE behind.
 *
 * exp and log use + - * / and the bits of numbers, nothing else: every
 * instruction set gives the same bits.
 */
#include <stdint.h>
#include <string.h>

#include "kernels/row_kernels.h"

#define ROW_INLINE static inline __attribute__((always_inline))

/* So many vectors have a lane for every sum. */
#define ROW_VECTORS (TM_ROW_LANES / ROW_DOUBLES)

typedef double vd __attribute__((vector_size(8 * ROW_DOUBLES)));
typedef uint64_t vu __attribute__((vector_size(8 * ROW_DOUBLES)));
typedef float vs __attribute__((vector_size(4 * ROW_DOUBLES)));
typedef uint32_t vm __attribute__((vector_size(4 * ROW_DOUBLES)));

_Static_assert(TM_ROW_LANES % ROW_DOUBLES == 0, "lanes fill vectors");

ROW_INLINE vd vd_set(double a)
{
    return a - (vd){0};
}

ROW_INLINE vu vu_set(uint64_t a)
{
    return a - (vu){0};
}

ROW_INLINE vs vs_load(const float *p)
{
    vs r;

    memcpy(&r, p, sizeof(r));
    return r;
}

ROW_INLINE vd vd_widen(const float *p)
{
    return __builtin_convertvector(vs_load(p), vd);
}

ROW_INLINE vd vd_load(const double *p)
{
    vd r;

    memcpy(&r, p, sizeof(r));
    return r;
}

ROW_INLINE void vd_store(double *p, vd a)
{
    memcpy(p, &a, sizeof(a));
}

/*
 * 1.5 * 2^52: what is added to it is rounded to a whole number, which is then
 * in its lowest bits.
 */
#define WHOLE      0x1.8p52
#define WHOLE_BITS UINT64_C(0x4338000000000000)

/* log 2 in two parts; the first has 32 bits, so its products are exact. */
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW  0x1.a39ef35793c76p-33

#define LOG2_E 0x1.71547652b82fep0

/* Below this exp is taken for zero: what it is added to is 1 or more. */
#define EXP_LEAST (-700.0)

/*
 * exp(y) for y <= 0: with y = k log 2 + r, |r| <= log(2) / 2, 2^k times the
 * Taylor series of exp(r). The first term left out, r^14 / 14!, is under
 * 2^-57.
 */
ROW_INLINE vd vd_exp(vd y)
{
    vd shifted = y * LOG2_E + WHOLE;
    vd k = shifted - WHOLE;
    vd r = (y - k * LN2_HIGH) - k * LN2_LOW;
    vd s = r * (1.0 / 6227020800) + 1.0 / 479001600;
    vu bits;

    s = s * r + 1.0 / 39916800;
    s = s * r + 1.0 / 3628800;
    s = s * r + 1.0 / 362880;
    s = s * r + 1.0 / 40320;
    s = s * r + 1.0 / 5040;
    s = s * r + 1.0 / 720;
    s = s * r + 1.0 / 120;
    s = s * r + 1.0 / 24;
    s = s * r + 1.0 / 6;
    s = s * r + 0.5;
    s = r * r * s + r + 1.0;
    bits = (vu)s + ((vu)shifted << 52);
    return (vd)(bits & (vu)(y >= EXP_LEAST));
}

#define ONE_BITS  UINT64_C(0x3ff0000000000000)
#define ROOT_BITS UINT64_C(0x3fe6a09e667f3bcd) /* of the square root of 1/2 */

/*
 * log(a) for normal a > 0: with a = 2^k m, m from the root of 1/2 to that of
 * 2, and s = (m - 1) / (m + 1), k log 2 + 2 (s + s^3 / 3 + s^5 / 5 ...). The
 * first term left out, 2 s^23 / 23, is under 2^-61 of 2 s. log(1) is +0.
 */
ROW_INLINE vd vd_log(vd a)
{
    vu biased = ((vu)a + (ONE_BITS - ROOT_BITS)) >> 52;
    vd k = (vd)(biased + (WHOLE_BITS - 1023)) - WHOLE;
    vd f = (vd)((vu)a - ((biased - 1023) << 52)) - 1.0;
    vd s = f / (f + 2.0), z = s * s;
    vd t = z * (2.0 / 21) + 2.0 / 19;

    t = t * z + 2.0 / 17;
    t = t * z + 2.0 / 15;
    t = t * z + 2.0 / 13;
    t = t * z + 2.0 / 11;
    t = t * z + 2.0 / 9;
    t = t * z + 2.0 / 7;
    t = t * z + 2.0 / 5;
    t = t * z + 2.0 / 3;
    return k * LN2_HIGH + (k * LN2_LOW + (2.0 * s + s * (z * t)));
}

ROW_INLINE vs vs_larger(vs a, vs b)
{
    vm yes = (vm)(a > b);

    return (vs)(((vm)a & yes) | ((vm)b & ~yes));
}

static float most(const float *x, size_t n, float least)
{
    vs v = least - (vs){0};
    float each[ROW_DOUBLES];

    for (size_t i = 0; i < n; i += ROW_DOUBLES)
        v = vs_larger(vs_load(x + i), v);
    memcpy(each, &v, sizeof(each));
    for (int k = 0; k < ROW_DOUBLES; k++)
        least = each[k] > least ? each[k] : least;
    return least;
}

static uint32_t differ(const float *x, size_t n, float first)
{
    vs same = first - (vs){0};
    vm v = {0};
    uint32_t each[ROW_DOUBLES], any = 0;

    for (size_t i = 0; i < n; i += ROW_DOUBLES)
        v |= (vm)vs_load(x + i) ^ (vm)same;
    memcpy(each, &v, sizeof(each));
    for (int k = 0; k < ROW_DOUBLES; k++)
        any |= each[k];
    return any;
}

static void add_exp(const float *x, size_t n, double largest, double *lanes)
{
    for (size_t v = 0; v < ROW_VECTORS; v++) {
        size_t lane = v * ROW_DOUBLES;
        vd sum = vd_load(lanes + lane);

        for (size_t i = lane; i < n; i += TM_ROW_LANES)
            sum += vd_exp(vd_widen(x + i) - vd_set(largest));
        vd_store(lanes + lane, sum);
    }
}

ROW_INLINE vd probability(const struct tm_row_softmax *s, size_t i)
{
    return vd_exp(vd_widen(s->x + i) - vd_set(s->most)) * vd_set(s->scale) +
           TM_ROW_FLOOR;
}

static void add_terms(const struct tm_row_softmax *x,
                      const struct tm_row_softmax *base, size_t n,
                      double *lanes)
{
    for (size_t v = 0; v < ROW_VECTORS; v++) {
        size_t lane = v * ROW_DOUBLES;
        vd sum = vd_load(lanes + lane);

        for (size_t i = lane; i < n; i += TM_ROW_LANES) {
            vd p = probability(x, i), q = probability(base, i);

            sum += p * vd_log(p / q);
        }
        vd_store(lanes + lane, sum);
    }
}

const struct tm_row_kernels TM_ROW_TABLE = {
    .differ = differ,
    .most = most,
    .add_exp = add_exp,
    .add_terms = add_terms,
};
