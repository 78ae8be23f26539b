/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum_exact: the numerics of docs/numerics.md word for word, for blocks in
 * which something is not finite.
 *
 * An element is carried as the bits of a double. Widening is done in integers
 * and keeps a NaN's payload, so that equal doubles mean equal elements of the
 * working type.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/sum_kernels.h"

#define SIGN_64    (UINT64_C(1) << 63)
#define INF_64     (UINT64_C(0x7ff) << 52)
#define LEADING_64 (UINT64_C(1) << 52)

/*
 * A binary format: its highest code for a number, bits of its significand,
 * and what its exponent is biased by. F8_E4M3 uses the highest exponent for
 * numbers, too, and has only one NaN of each sign.
 */
struct format {
    uint64_t max_finite;
    unsigned bytes, mantissa, bias;
};

static const struct format formats[TM_NUM_FLOATS] = {
    [TM_F8_E4M3] = {0x7e, 1, 3, 7},      [TM_F8_E5M2] = {0x7b, 1, 2, 15},
    [TM_BF16] = {0x7f7f, 2, 7, 127},     [TM_F16] = {0x7bff, 2, 10, 15},
    [TM_F32] = {0x7f7fffff, 4, 23, 127}, [TM_F64] = {INF_64 - 1, 8, 52, 1023},
};

static double double_of(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static bool is_finite(uint64_t bits)
{
    return (bits & ~SIGN_64) < INF_64;
}

static const void *at(const void *data, unsigned bytes, size_t i)
{
    return (const char *)data + i * bytes;
}

static uint64_t sign_bit(const struct format *f)
{
    return UINT64_C(1) << (8 * f->bytes - 1);
}

static uint64_t widen_magnitude(uint64_t code, const struct format *f)
{
    unsigned shift = 52 - f->mantissa;
    uint64_t exponent = code >> f->mantissa;
    int min_exponent = 1 - (int)f->bias - (int)f->mantissa;

    if (f->mantissa == 52)
        return code;
    if (code > f->max_finite && f->max_finite % 2 == 0) /* F8_E4M3 */
        return INF_64 | LEADING_64 >> 1;
    if (code > f->max_finite)
        return INF_64 | ((code << shift) & (LEADING_64 - 1));
    if (exponent == 0)
        return bits_of(ldexp((double)code, min_exponent));
    return (code << shift) + ((uint64_t)(1023 - f->bias) << 52);
}

/* The element at `p` as a double. */
static uint64_t widen(const void *p, const struct format *f)
{
    uint64_t code = 0, sign;

    memcpy(&code, p, f->bytes);
    sign = code & sign_bit(f);
    return widen_magnitude(code - sign, f) | (sign != 0 ? SIGN_64 : 0);
}

/*
 * Infinity, if the format has one, is the code after the highest number; else
 * that code is the NaN. The canonical NaN has the top bit of the mantissa.
 */
static uint64_t narrow_overflow(const struct format *f)
{
    return f->max_finite + 1;
}

static uint64_t narrow_nan(const struct format *f)
{
    uint64_t after = f->max_finite + 1;

    if (f->max_finite % 2 == 0) /* F8_E4M3: an even code is highest */
        return after;
    return after | UINT64_C(1) << (f->mantissa - 1);
}

/* A finite magnitude to the nearest code, ties to even. */
static uint64_t narrow_magnitude(uint64_t bits, const struct format *f)
{
    int exponent = (int)(bits >> 52) - 1023 + (int)f->bias;
    unsigned shift = 52 - f->mantissa;
    uint64_t significand, code, rest, half;

    if (f->mantissa == 52)
        return bits;
    if (exponent < -(int)f->mantissa) /* under half of the least code */
        return 0;
    if (exponent < 1)
        shift += (unsigned)(1 - exponent);
    significand = (bits & (LEADING_64 - 1)) | LEADING_64;
    code = significand >> shift;
    rest = significand & ((UINT64_C(1) << shift) - 1);
    half = UINT64_C(1) << (shift - 1);
    code += rest > half || (rest == half && (code & 1) != 0);
    if (exponent > 1) /* the leading bit of code counts as one */
        code += (uint64_t)(exponent - 1) << f->mantissa;
    return code <= f->max_finite ? code : narrow_overflow(f);
}

/* The code nearest to a double; the canonical NaN for a NaN. */
static uint64_t narrow(uint64_t bits, const struct format *f)
{
    uint64_t magnitude = bits & ~SIGN_64;
    uint64_t code;

    if (magnitude > INF_64)
        return narrow_nan(f);
    code = magnitude == INF_64 ? narrow_overflow(f)
                               : narrow_magnitude(magnitude, f);
    if (code == narrow_nan(f)) /* F8_E4M3 that overflowed */
        return code;
    return code | (magnitude != bits ? sign_bit(f) : 0);
}

static float add32(float s, uint64_t x, uint64_t b, double weight)
{
    float t = x == b ? 0.0f : (float)double_of(x) - (float)double_of(b);

    return fmaf((float)weight, t, s);
}

static double add64(double s, uint64_t x, uint64_t b, double weight)
{
    double t = x == b ? 0.0 : double_of(x) - double_of(b);

    return fma(weight, t, s);
}

/* The weighted sum for element i; counts inputs that are not finite. */
static double chain(const struct tm_sum_task *task, bool wide, uint64_t b,
                    size_t i, uint64_t *nonfinite)
{
    float s32 = 0;
    double s64 = 0;

    for (size_t k = 0; k < task->num_inputs; k++) {
        const struct tm_sum_input *in = &task->inputs[k];
        const struct format *f = &formats[in->dtype];
        uint64_t x = widen(at(in->data, f->bytes, i), f);

        *nonfinite += !is_finite(x);
        if (wide)
            s64 = add64(s64, x, b, in->weight);
        else
            s32 = add32(s32, x, b, in->weight);
    }
    return wide ? s64 : (double)s32;
}

static double add_base(uint64_t b, double s, bool wide)
{
    if (wide)
        return double_of(b) + s;
    return (double)((float)double_of(b) + (float)s);
}

/*
 * Rounds b + s to `to`, where `from` is what b was widened from; `nonfinite`
 * of what went into both were not finite.
 */
struct result {
    const struct format *bf, *of;
    const void *from;
    void *to;
    uint64_t b, nonfinite;
    double s;
    bool wide;
};

static void finish(const struct result *r, struct tm_sum_stats *stats)
{
    uint64_t code = 0;

    if (r->s == 0 && r->bf == r->of)
        memcpy(&code, r->from, r->bf->bytes);
    else
        code = narrow(r->s == 0 ? r->b : bits_of(add_base(r->b, r->s, r->wide)),
                      r->of);
    memcpy(r->to, &code, r->of->bytes);
    stats->nonfinite_inputs += r->nonfinite;
    if ((code & ~sign_bit(r->of)) > r->of->max_finite) {
        stats->nonfinite_outputs++;
        stats->overflows += r->nonfinite == 0;
    }
}

/* Element i: all but the sum, of which nothing has been counted yet. */
static struct result begin(enum tm_dtype base_dtype, const void *base,
                           enum tm_dtype out_dtype, void *out, size_t i)
{
    const struct format *bf = &formats[base_dtype], *of = &formats[out_dtype];
    struct result r = {.bf = bf, .of = of};

    r.from = at(base, bf->bytes, i);
    r.to = (char *)out + i * of->bytes;
    r.b = widen(r.from, bf);
    r.nonfinite = !is_finite(r.b);
    return r;
}

void tm_sum_exact(const struct tm_sum_task *task, bool wide, size_t start,
                  size_t n, struct tm_sum_stats *stats)
{
    for (size_t i = start; i < start + n; i++) {
        struct result r =
            begin(task->base_dtype, task->base, task->out_dtype, task->out, i);

        r.wide = wide;
        r.s = chain(task, wide, r.b, i, &r.nonfinite);
        finish(&r, stats);
    }
}

void tm_sum_exact_add(enum tm_dtype base_dtype, const void *base,
                      const float *s, size_t n, enum tm_dtype out_dtype,
                      void *out, struct tm_sum_stats *stats)
{
    for (size_t i = 0; i < n; i++) {
        struct result r = begin(base_dtype, base, out_dtype, out, i);

        r.wide = base_dtype == TM_F64;
        r.s = (double)s[i];
        finish(&r, stats);
    }
}

uint64_t tm_sum_exact_widen(enum tm_dtype dtype, const void *data, size_t i)
{
    const struct format *f = &formats[dtype];

    return widen(at(data, f->bytes, i), f);
}
