/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum_reference: the weighted sum of docs/numerics.md, written without a look
 * at the kernels: numbers are values and not bits, decoded with ldexp, and
 * rounded by a search in the sorted list of all numbers of a type.
 */
#ifndef TM_TESTS_SUM_REFERENCE_H
#define TM_TESTS_SUM_REFERENCE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/sum.h"

struct ref_format {
    unsigned bytes;
    int exponent_bits, mantissa_bits;
    uint64_t nan; /* the canonical one */
};

static const struct ref_format ref_formats[TM_NUM_FLOATS] = {
    [TM_F8_E4M3] = {1, 4, 3, 0x7f},
    [TM_F8_E5M2] = {1, 5, 2, 0x7e},
    [TM_BF16] = {2, 8, 7, 0x7fc0},
    [TM_F16] = {2, 5, 10, 0x7e00},
    [TM_F32] = {4, 8, 23, 0x7fc00000},
    [TM_F64] = {8, 11, 52, UINT64_C(0x7ff8000000000000)},
};

/* Numbers of the small types, by code without sign. */
static double ref_values[TM_F32][1 << 15];
static unsigned ref_count[TM_F32]; /* of them that are finite */

static uint64_t ref_get(enum tm_dtype type, const void *data, size_t i)
{
    unsigned bytes = ref_formats[type].bytes;
    uint64_t code = 0;

    memcpy(&code, (const char *)data + i * bytes, bytes);
    return code;
}

static void ref_put(enum tm_dtype type, void *data, size_t i, uint64_t code)
{
    unsigned bytes = ref_formats[type].bytes;

    memcpy((char *)data + i * bytes, &code, bytes);
}

static uint64_t ref_sign(enum tm_dtype type)
{
    return UINT64_C(1) << (ref_formats[type].bytes * 8 - 1);
}

static double ref_decode_small(enum tm_dtype type, uint64_t code)
{
    const struct ref_format *f = &ref_formats[type];
    int top = (1 << f->exponent_bits) - 1;
    int bias = top / 2;
    int e = (int)(code >> f->mantissa_bits);
    double m = (double)(code & ((1u << f->mantissa_bits) - 1));

    if (type == TM_F8_E4M3 ? code == 0x7f : e == top)
        return m == 0 ? (double)INFINITY : (double)NAN;
    if (e == 0)
        return ldexp(m, 1 - bias - f->mantissa_bits);
    return ldexp(1 + ldexp(m, -f->mantissa_bits), e - bias);
}

/* Fills the tables; first of all. */
static void ref_init(void)
{
    for (int type = 0; type < TM_F32; type++) {
        unsigned codes = 1u << (ref_formats[type].bytes * 8 - 1);

        ref_count[type] = 0;
        for (unsigned code = 0; code < codes; code++) {
            double value = ref_decode_small((enum tm_dtype)type, code);

            ref_values[type][code] = value;
            ref_count[type] += isfinite(value) != 0;
        }
    }
}

static double ref_decode(enum tm_dtype type, uint64_t code)
{
    uint32_t code32 = (uint32_t)code;
    float value32;
    double value;

    if (type == TM_F64) {
        memcpy(&value, &code, sizeof(value));
    } else if (type == TM_F32) {
        memcpy(&value32, &code32, sizeof(value32));
        value = (double)value32;
    } else {
        value = ref_values[type][code & ~ref_sign(type)];
        value = (code & ref_sign(type)) != 0 ? -value : value;
    }
    return value;
}

/* The code of the small type nearest to a finite value >= 0. */
static uint64_t ref_search(enum tm_dtype type, double value)
{
    const double *v = ref_values[type];
    unsigned low = 0, count = ref_count[type], high = count;
    double next, middle;

    while (high - low > 1) {
        unsigned half = (low + high) / 2;

        if (v[half] <= value)
            low = half;
        else
            high = half;
    }
    /* What would come after the last number if there were another. */
    next = low + 1 < count ? v[low + 1] : 2 * v[low] - v[low - 1];
    middle = (v[low] + next) / 2;
    if (value > middle || (value == middle && low % 2 == 1))
        low++;
    return low; /* count is infinity, or the NaN of F8_E4M3 */
}

/* A double to the nearest float, on its grid. */
static uint64_t ref_encode32(double value)
{
    int e = value == 0 ? -149 : ilogb(value) - 23;
    double unit = ldexp(1, e < -149 ? -149 : e);
    double rounded = rint(value / unit) * unit;
    float result = rounded >= ldexp(1, 128) ? INFINITY : (float)rounded;
    uint32_t code;

    memcpy(&code, &result, sizeof(code));
    return code;
}

static uint64_t ref_encode(enum tm_dtype type, double value)
{
    double magnitude = fabs(value);
    uint64_t code, sign = signbit(value) ? ref_sign(type) : 0;

    if (isnan(value))
        return ref_formats[type].nan;
    if (type == TM_F64)
        memcpy(&code, &magnitude, sizeof(code));
    else if (type == TM_F32)
        code = isinf(value) ? 0x7f800000 : ref_encode32(magnitude);
    else
        code = isinf(value) ? ref_count[type] : ref_search(type, magnitude);
    if (type == TM_F8_E4M3 && code == 0x7f)
        return code;
    return code | sign;
}

/* Whether two elements are the same number, or NaNs of the same payload. */
static bool ref_same(enum tm_dtype ta, uint64_t a, enum tm_dtype tb, uint64_t b)
{
    const struct ref_format *fa = &ref_formats[ta], *fb = &ref_formats[tb];
    uint64_t pa = a << (64 - fa->mantissa_bits);
    uint64_t pb = b << (64 - fb->mantissa_bits);
    double va = ref_decode(ta, a), vb = ref_decode(tb, b);
    bool sa = (a & ref_sign(ta)) != 0, sb = (b & ref_sign(tb)) != 0;

    if (!isnan(va) || !isnan(vb))
        return va == vb;
    /* The one NaN of F8_E4M3 widens to the canonical one. */
    if (ta == TM_F8_E4M3)
        pa = UINT64_C(1) << 63;
    if (tb == TM_F8_E4M3)
        pb = UINT64_C(1) << 63;
    return sa == sb && pa == pb;
}

static bool ref_wide(const struct tm_sum_task *task)
{
    bool wide = task->base_dtype == TM_F64;

    for (size_t k = 0; k < task->num_inputs; k++)
        wide = wide || task->inputs[k].dtype == TM_F64;
    return wide;
}

static double ref_step(bool wide, double w, double x, double b, bool same,
                       double s)
{
    volatile float t32 = (float)x - (float)b;
    volatile double t64 = x - b;

    if (wide)
        return fma(w, same ? 0.0 : t64, s);
    return (double)fmaf((float)w, same ? 0.0f : t32, (float)s);
}

static void ref_element(const struct tm_sum_task *task, void *out, size_t i,
                        struct tm_sum_stats *stats)
{
    enum tm_dtype bt = task->base_dtype, ot = task->out_dtype;
    uint64_t b = ref_get(bt, task->base, i), code;
    double vb = ref_decode(bt, b), s = 0, result;
    bool wide = ref_wide(task);
    uint64_t bad = !isfinite(vb);

    for (size_t k = 0; k < task->num_inputs; k++) {
        const struct tm_sum_input *in = &task->inputs[k];
        uint64_t x = ref_get(in->dtype, in->data, i);
        double vx = ref_decode(in->dtype, x);

        bad += !isfinite(vx);
        s = ref_step(wide, in->weight, vx, vb, ref_same(in->dtype, x, bt, b),
                     s);
    }
    result = wide ? vb + s : (double)((float)vb + (float)s);
    if (s == 0 && bt == ot)
        code = b;
    else
        code = ref_encode(ot, s == 0 ? vb : result);
    ref_put(ot, out, i, code);
    stats->nonfinite_inputs += bad;
    if (!isfinite(ref_decode(ot, code))) {
        stats->nonfinite_outputs++;
        stats->overflows += bad == 0;
    }
}

/* As tm_sum, into `out`. */
static void ref_sum(const struct tm_sum_task *task, void *out,
                    struct tm_sum_stats *stats)
{
    for (size_t i = 0; i < task->n; i++)
        ref_element(task, out, i, stats);
}

#endif
