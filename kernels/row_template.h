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

/* The bits of a float but for its sign. */
#define ROW_MAGNITUDE 0x7fffffffu

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

#define HALF_BITS (UINT64_C(1) << 51) /* of an exponent's unit */

/*
 * log(p / q) for p and q from 1e-8 to 2. As whole numbers, their bits differ
 * by log2(p / q), in units of the exponent, give or take 0.09: so by k of
 * them, rounded. With q' = 2^k q, whose ratio to p is between 0.65 and 1.55,
 * so that p - q' is exact, and s = (p - q') / (p + q'), it is
 * k log 2 + 2 (s + s^3 / 3 + s^5 / 5 ...). The first term left out,
 * 2 s^23 / 23, is under 2^-53 of 2 s. log(1) is +0.
 */
ROW_INLINE vd vd_log_ratio(vd p, vd q)
{
    /* so that nothing that is shifted is negative */
    const uint64_t bias = UINT64_C(1024);
    vu units = ((vu)p - (vu)q + ((bias << 52) + HALF_BITS)) >> 52;
    vd k = (vd)(units + (WHOLE_BITS - bias)) - WHOLE;
    vd near = (vd)((vu)q + ((units - bias) << 52));
    vd s = (p - near) / (p + near), z = s * s;
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

/* Four at a time, so that none waits for the one before it. */
static float most(const float *x, size_t n, float least)
{
    const size_t step = 4 * ROW_DOUBLES, whole = n - n % step;
    vs v[4] = {least - (vs){0}};
    float each[ROW_DOUBLES];

    v[1] = v[2] = v[3] = v[0];
    for (size_t i = 0; i < whole; i += step)
        for (size_t k = 0; k < 4; k++)
            v[k] = vs_larger(vs_load(x + i + k * ROW_DOUBLES), v[k]);
    for (size_t i = whole; i < n; i += ROW_DOUBLES)
        v[0] = vs_larger(vs_load(x + i), v[0]);
    v[0] = vs_larger(vs_larger(v[0], v[1]), vs_larger(v[2], v[3]));
    memcpy(each, v, sizeof(each));
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

static void add_exp(const float *x, size_t n, double largest, double *power,
                    double *lanes)
{
    for (size_t v = 0; v < ROW_VECTORS; v++) {
        size_t lane = v * ROW_DOUBLES;
        vd sum = vd_load(lanes + lane);

        for (size_t i = lane; i < n; i += TM_ROW_LANES) {
            vd e = vd_exp(vd_widen(x + i) - vd_set(largest));

            vd_store(power + i, e);
            sum += e;
        }
        vd_store(lanes + lane, sum);
    }
}

ROW_INLINE vd probability(const struct tm_row_softmax *s, size_t i)
{
    return vd_load(s->power + i) * vd_set(s->scale) + TM_ROW_FLOOR;
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

            sum += p * vd_log_ratio(p, q);
        }
        vd_store(lanes + lane, sum);
    }
}

static void weigh(const float *x, const float *base, size_t n, double factor,
                  float *out)
{
    for (size_t i = 0; i < n; i += ROW_DOUBLES) {
        vm away = (vm)(vs_load(x + i) - vs_load(base + i));
        vd v = __builtin_convertvector((vs)(away & ROW_MAGNITUDE), vd);
        vs r = __builtin_convertvector(v * vd_set(factor), vs);

        memcpy(out + i, &r, sizeof(r));
    }
}

const struct tm_row_kernels TM_ROW_TABLE = {
    .differ = differ,
    .most = most,
    .add_exp = add_exp,
    .add_terms = add_terms,
    .weigh = weigh,
};
