/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strip: which kernels to call, ends of arrays, and what is not finite. The
 * arithmetic is strip_template.h's, and of differences and of the end
 * drift_template.h's and sum_template.h's.
 *
 * Kernels take whole steps. Arrays of floats are long enough for them;
 * elements of a tensor that fill none go through a buffer. Reductions take
 * what they leave one by one.
 *
 * As in sum.c, vector code ignores infinities and NaNs: whatever involves one
 * comes out as one, and is done again by tm_sum_exact_...().
 */
#include "kernels/strip.h"

#include <math.h>
#include <string.h>

#include "kernels/drift_kernels.h"
#include "kernels/strip_kernels.h"

/* What goes through buffers at once: of doubles 4 KiB. */
#define BLOCK ((size_t)512)

#define F32_ABS     UINT32_C(0x7fffffff)
#define F32_INF     UINT32_C(0x7f800000)
#define F32_NAN     UINT32_C(0x7fc00000) /* the canonical one */
#define F32_LEADING UINT32_C(0x00800000)

_Static_assert(BLOCK % TM_SUM_STEP == 0, "a block is steps");
_Static_assert(TM_SUM_STEP % TM_STRIP_STEP == 0, "a step is one everywhere");

static const struct {
    const struct tm_strip_kernels *strip;
    const struct tm_drift_kernels *drift;
    const struct tm_sum_kernels *sum;
} tables[TM_NUM_ISAS] = {
    [TM_ISA_PORTABLE] = {&tm_strip_portable, &tm_drift_portable,
                         &tm_sum_portable},
#if defined(__aarch64__)
    [TM_ISA_NEON] = {&tm_strip_neon, &tm_drift_neon, &tm_sum_neon},
#endif
#if defined(__x86_64__)
    [TM_ISA_AVX2] = {&tm_strip_avx2, &tm_drift_avx2, &tm_sum_avx2},
    [TM_ISA_AVX512] = {&tm_strip_avx512, &tm_drift_avx512, &tm_sum_avx512},
#endif
};

static const void *at(const void *data, enum tm_dtype dtype, size_t i)
{
    return (const char *)data + i * (tm_dtype_bits(dtype) / 8);
}

static size_t shorter(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* --- from elements of a tensor ------------------------------------------ */

/* Elements to be read: x - base, or x itself where `base` is NULL. */
struct source {
    enum tm_isa isa;
    enum tm_dtype base_dtype, dtype;
    const void *base, *x;
};

static struct source source_from(const struct source *s, size_t i)
{
    struct source r = *s;

    if (s->base != NULL)
        r.base = at(s->base, s->base_dtype, i);
    r.x = at(s->x, s->dtype, i);
    return r;
}

static bool is_wide(const struct source *s)
{
    return s->dtype == TM_F64 || (s->base != NULL && s->base_dtype == TM_F64);
}

static bool load_short(const struct source *s, size_t n, float *out)
{
    uint32_t peak;

    if (s->base == NULL)
        return tables[s->isa].strip->widen[s->dtype](s->x, n, out);
    peak = tables[s->isa].drift->subtract[s->base_dtype][s->dtype](
        s->base, s->x, n, out);
    return peak < F32_INF;
}

static bool load_wide(const struct source *s, size_t n, float *out)
{
    const struct tm_sum_kernels *sum = tables[s->isa].sum;
    double b[BLOCK], x[BLOCK];

    sum->widen[s->dtype](s->x, n, x);
    if (s->base != NULL) {
        sum->widen[s->base_dtype](s->base, n, b);
        for (size_t i = 0; i < n; i++)
            x[i] -= b[i];
    }
    return !sum->narrow[TM_F32](x, n, out);
}

/* n is a multiple of a step. Returns whether everything is finite. */
static bool load_steps(const struct source *s, size_t n, float *out)
{
    bool finite = true;

    if (!is_wide(s))
        return load_short(s, n, out);
    for (size_t i = 0; i < n; i += BLOCK) {
        struct source part = source_from(s, i);

        finite &= load_wide(&part, shorter(n - i, BLOCK), out + i);
    }
    return finite;
}

/* Under a step: filled up with zeros, which no type encodes otherwise. */
static bool load_rest(const struct source *s, size_t n, float *out)
{
    double b[TM_SUM_STEP] = {0}, x[TM_SUM_STEP] = {0};
    struct source filled = *s;

    memcpy(x, s->x, n * (tm_dtype_bits(s->dtype) / 8));
    filled.x = x;
    if (s->base != NULL) {
        memcpy(b, s->base, n * (tm_dtype_bits(s->base_dtype) / 8));
        filled.base = b;
    }
    return load_steps(&filled, TM_SUM_STEP, out);
}

static double double_of(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static bool is_nan(uint64_t bits)
{
    return (bits & ~(UINT64_C(1) << 63)) > UINT64_C(0x7ff) << 52;
}

/* Bits of a float; of what is computed or rounded, NaN is the canonical one. */
static uint32_t float_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return isnan(value) ? F32_NAN : bits;
}

/* x as a float, of a type whose NaNs have no longer payload than a float's. */
static uint32_t widened_bits(uint64_t x)
{
    uint32_t sign = (uint32_t)(x >> 32) & UINT32_C(1) << 31;

    if (is_nan(x))
        return sign | F32_INF | ((uint32_t)(x >> 29) & (F32_LEADING - 1));
    return float_bits((float)double_of(x));
}

/* Element i by the book: its bits, so that no NaN is quieted on the way. */
static uint32_t load_exact(const struct source *s, size_t i)
{
    uint64_t x = tm_sum_exact_widen(s->dtype, s->x, i), b;

    if (s->base == NULL)
        return is_wide(s) ? float_bits((float)double_of(x)) : widened_bits(x);
    b = tm_sum_exact_widen(s->base_dtype, s->base, i);
    if (x == b)
        return 0;
    if (is_wide(s))
        return float_bits((float)(double_of(x) - double_of(b)));
    return float_bits((float)double_of(x) - (float)double_of(b));
}

/* What came out infinite or NaN. Returns whether it no longer does. */
static bool load_again(const struct source *s, size_t n, float *out)
{
    bool finite = true;

    for (size_t i = 0; i < n; i++) {
        uint32_t bits;

        if (isfinite(out[i]))
            continue;
        bits = load_exact(s, i);
        memcpy(&out[i], &bits, sizeof(bits));
        finite &= isfinite(out[i]) != 0;
    }
    return finite;
}

static bool load(const struct source *s, size_t n, float *out)
{
    size_t whole = n - n % TM_SUM_STEP;
    bool finite = load_steps(s, whole, out);

    if (whole < n) {
        struct source rest = source_from(s, whole);

        finite &= load_rest(&rest, n - whole, out + whole);
    }
    return finite || load_again(s, n, out);
}

bool tm_strip_widen(enum tm_isa isa, enum tm_dtype dtype, const void *x,
                    size_t n, float *out)
{
    struct source s = {.isa = isa, .dtype = dtype, .x = x};

    return load(&s, n, out);
}

bool tm_strip_differ(enum tm_isa isa, enum tm_dtype base_dtype,
                     const void *base, enum tm_dtype dtype, const void *x,
                     size_t n, float *out)
{
    struct source s = {isa, base_dtype, dtype, base, x};

    return load(&s, n, out);
}

/* --- to elements of a tensor -------------------------------------------- */

struct finish {
    const struct tm_sum_kernels *sum;
    enum tm_dtype base_dtype, out_dtype;
    struct tm_sum_stats *stats;
};

/* n is a multiple of a step. Returns whether something is not finite. */
static bool add_steps(const struct finish *f, const void *base, const float *s,
                      size_t n, void *out)
{
    double b[BLOCK], sums[BLOCK];

    if (f->base_dtype != TM_F64)
        return f->sum->finish[f->base_dtype][f->out_dtype](base, s, out, n);
    f->sum->widen[TM_F64](base, n, b);
    f->sum->widen[TM_F32](s, n, sums);
    f->sum->finish64(b, n, sums);
    return f->sum->narrow[f->out_dtype](sums, n, out);
}

static void add_rest(const struct finish *f, const void *base, const float *s,
                     size_t n, void *out)
{
    double b[TM_SUM_STEP] = {0}, r[TM_SUM_STEP];
    float sums[TM_SUM_STEP] = {0};

    memcpy(b, base, n * (tm_dtype_bits(f->base_dtype) / 8));
    memcpy(sums, s, n * sizeof(*s));
    if (add_steps(f, b, sums, TM_SUM_STEP, r))
        tm_sum_exact_add(f->base_dtype, base, s, n, f->out_dtype, out,
                         f->stats);
    else
        memcpy(out, r, n * (tm_dtype_bits(f->out_dtype) / 8));
}

static void add_block(const struct finish *f, const void *base, const float *s,
                      size_t n, void *out)
{
    if (n % TM_SUM_STEP != 0)
        add_rest(f, base, s, n, out);
    else if (add_steps(f, base, s, n, out))
        tm_sum_exact_add(f->base_dtype, base, s, n, f->out_dtype, out,
                         f->stats);
}

/*
 * The base is given as the sums where there is none, and the sums as zero:
 * then the result is the base, rounded.
 */
void tm_strip_finish(enum tm_isa isa, enum tm_dtype base_dtype,
                     const void *base, const float *s, size_t n,
                     enum tm_dtype out_dtype, void *out,
                     struct tm_sum_stats *stats)
{
    static const float zeros[BLOCK];
    struct finish f = {tables[isa].sum, base_dtype, out_dtype, stats};
    size_t whole = n - n % TM_SUM_STEP, m;

    if (base == NULL)
        f.base_dtype = TM_F32;
    for (size_t i = 0; i < n; i += m) {
        void *to = (char *)out + i * (tm_dtype_bits(out_dtype) / 8);

        m = i < whole ? shorter(whole - i, BLOCK) : n - i;
        if (base == NULL)
            add_block(&f, s + i, zeros, m, to);
        else
            add_block(&f, at(base, base_dtype, i), s + i, m, to);
    }
}

/* --- reductions --------------------------------------------------------- */

/* The elements that kernels see; what is left is fewer than TM_STRIP_STEP. */
static size_t whole_steps(size_t n)
{
    return n - n % TM_STRIP_STEP;
}

void tm_strip_dots(enum tm_isa isa, const float *const *x, size_t k, size_t n,
                   double (*sums)[8])
{
    size_t whole = whole_steps(n);

    tables[isa].strip->dots(x, k, whole, sums);
    for (size_t i = 0; i < k; i++)
        for (size_t j = i; j < k; j++)
            for (size_t e = whole; e < n; e++)
                sums[tm_pair(k, i, j)][e % TM_STRIP_LANES] +=
                    (double)x[i][e] * (double)x[j][e];
}

void tm_strip_sum_magnitudes(enum tm_isa isa, const float *x, size_t n,
                             double *sum)
{
    size_t whole = whole_steps(n);

    tables[isa].strip->sum_magnitudes(x, whole, sum);
    for (size_t i = whole; i < n; i++)
        sum[i % TM_STRIP_LANES] += fabs((double)x[i]);
}

void tm_strip_sum_squares(enum tm_isa isa, const float *x, size_t n,
                          double *sum)
{
    size_t whole = whole_steps(n);

    tables[isa].strip->sum_squares(x, whole, sum);
    for (size_t i = whole; i < n; i++)
        sum[i % TM_STRIP_LANES] += (double)x[i] * (double)x[i];
}

void tm_strip_sum_above(enum tm_isa isa, const float *x, size_t n,
                        uint32_t high, double *sum)
{
    size_t whole = whole_steps(n);

    if (high > F32_ABS >> 16) /* as good as: kernels compare 31 bits */
        high = F32_ABS >> 16;
    tables[isa].strip->sum_above(x, whole, high, sum);
    for (size_t i = whole; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, &x[i], sizeof(bits));
        if ((bits & F32_ABS) >> 16 > high)
            sum[i % TM_STRIP_LANES] += fabs((double)x[i]);
    }
}

void tm_strip_sum_squares_by(enum tm_isa isa, const float *x, const float *by,
                             size_t n, float least, double *above,
                             double *equal)
{
    size_t whole = whole_steps(n);

    tables[isa].strip->sum_squares_by(x, by, whole, least, above, equal);
    for (size_t i = whole; i < n; i++) {
        const double square = (double)x[i] * (double)x[i];

        if (by[i] > least)
            above[i % TM_STRIP_LANES] += square;
        else if (by[i] == least)
            equal[i % TM_STRIP_LANES] += square;
    }
}

void tm_strip_count_shared(enum tm_isa isa, const float *x, const float *count,
                           size_t n, float epsilon, uint32_t *alone,
                           uint32_t *shared)
{
    size_t whole = whole_steps(n);
    uint32_t counts[2];

    tables[isa].strip->count_shared(x, count, whole, epsilon, counts);
    for (size_t i = whole; i < n; i++)
        if (fabsf(x[i]) > epsilon)
            counts[count[i] < 2 ? 0 : 1]++;
    *alone += counts[0];
    *shared += counts[1];
}

uint64_t tm_strip_count_nonzero(enum tm_isa isa, const float *x, size_t n)
{
    size_t whole = whole_steps(n), m;
    uint64_t count = 0;

    for (size_t i = 0; i < whole; i += m) {
        m = shorter(whole - i, (size_t)1 << 20);
        count += tables[isa].strip->count_nonzero(x + i, m);
    }
    for (size_t i = whole; i < n; i++)
        count += x[i] != 0;
    return count;
}

/* --- element by element ------------------------------------------------- */

/* The elements that kernels touch. */
static size_t padded(size_t n)
{
    return whole_steps(n + TM_STRIP_STEP - 1);
}

void tm_strip_scale(enum tm_isa isa, float *x, size_t n, float c)
{
    tables[isa].strip->scale(x, padded(n), c);
}

void tm_strip_add(enum tm_isa isa, float *s, const float *x, size_t n, float c,
                  bool first)
{
    if (first)
        tables[isa].strip->add_first(s, x, padded(n), c);
    else
        tables[isa].strip->add(s, x, padded(n), c);
}

void tm_strip_mask_least(enum tm_isa isa, float *x, const float *by, size_t n,
                         float least)
{
    tables[isa].strip->mask_least(x, by, padded(n), least);
}

void tm_strip_choose(enum tm_isa isa, float *s, const float *x,
                     const float *other, const float *by, size_t n, float least)
{
    tables[isa].strip->choose(s, x, other, by, padded(n), least);
}

void tm_strip_divide_least(enum tm_isa isa, float *s, const float *by, size_t n,
                           float least)
{
    tables[isa].strip->divide_least(s, by, padded(n), least);
}

void tm_strip_divide(enum tm_isa isa, float *s, const float *by, size_t n)
{
    tables[isa].strip->divide(s, by, padded(n));
}

void tm_strip_vote(enum tm_isa isa, const float *const *x, const float *w,
                   size_t k, size_t n, float *s, float *v)
{
    tables[isa].strip->vote(x, w, k, padded(n), s, v);
}

void tm_strip_largest(enum tm_isa isa, const float *const *x, size_t k,
                      size_t n, float *s)
{
    tables[isa].strip->largest(x, k, padded(n), s);
}

void tm_strip_add_active(enum tm_isa isa, float *s, const float *x,
                         const float *count, size_t n, float epsilon,
                         float factor)
{
    tables[isa].strip->add_active(s, x, count, padded(n), epsilon, factor);
}

void tm_strip_count_needed(enum tm_isa isa, float *count, const float *x,
                           const float *total, size_t n, float share)
{
    tables[isa].strip->count_needed(count, x, total, padded(n), share);
}

void tm_strip_elect(enum tm_isa isa, const float *const *x, const float *w,
                    size_t k, size_t n, bool normalize, float *s)
{
    if (normalize)
        tables[isa].strip->elect_normalized(x, w, k, padded(n), s);
    else
        tables[isa].strip->elect(x, w, k, padded(n), s);
}

void tm_strip_variance(enum tm_isa isa, const float *const *x, size_t k,
                       size_t n, float *out)
{
    tables[isa].strip->variance(x, k, padded(n), out);
}

void tm_strip_count_active(enum tm_isa isa, const float *const *x, size_t k,
                           size_t n, float epsilon, float *count)
{
    tables[isa].strip->count_active(x, k, padded(n), epsilon, count);
}

void tm_strip_near(enum tm_isa isa, float *x, size_t n, float t)
{
    tables[isa].strip->near(x, padded(n), t > 0 ? t : 0);
}
