/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drift: blocks, slabs, what is left out, and the counters; the arithmetic of
 * pairs of types that are computed in float is drift_template.h's.
 *
 * A slab's t go through a buffer: so there is one loop that adds and not one
 * for each pair of types, and widening to double takes its operand from
 * memory, which is cheaper than from the halves of a register.
 *
 * Every sum starts as +0. It cannot become -0 from there, rounding to nearest,
 * so adding a zero of either sign never changes it: elements that did not
 * change are added, left out or padded with as is convenient.
 */
#include "kernels/drift.h"

#include <math.h>
#include <string.h>

#include "kernels/drift_count.h"
#include "kernels/drift_kernels.h"

/* t and the magnitudes that are not zero: 8 KiB, a quarter of a small L1. */
#define SLAB ((size_t)1024)

#define LAST_BIN ((size_t)0x7f7f) /* of the largest finite f32 */

#define F32_INF 0x7f800000u

_Static_assert(SLAB % TM_SUM_STEP == 0, "a slab is steps");
_Static_assert(TM_DRIFT_BLOCK % SLAB == 0, "a block is slabs");

static const struct {
    const struct tm_drift_kernels *drift;
    const struct tm_sum_kernels *sum;
} tables[TM_NUM_ISAS] = {
    [TM_ISA_PORTABLE] = {&tm_drift_portable, &tm_sum_portable},
#if defined(__aarch64__)
    [TM_ISA_NEON] = {&tm_drift_neon, &tm_sum_neon},
#endif
#if defined(__x86_64__)
    [TM_ISA_AVX2] = {&tm_drift_avx2, &tm_sum_avx2},
    [TM_ISA_AVX512] = {&tm_drift_avx512, &tm_sum_avx512},
#endif
};

struct measure {
    enum tm_isa isa;
    enum tm_dtype base_dtype, dtype;
    struct tm_drift *drift;
    struct tm_drift_lanes lanes; /* of the block that is being measured */
    struct tm_drift_counters counters;
};

static const void *at(const void *data, enum tm_dtype dtype, size_t i)
{
    return (const char *)data + i * (tm_dtype_bits(dtype) / 8);
}

/* --- working type f32 --------------------------------------------------- */

static uint32_t bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* Makes infinities and NaNs zero. Returns the largest magnitude's bits. */
static uint32_t leave_out_nonfinite(float *t, size_t n)
{
    uint32_t peak = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t magnitude = bits_of(fabsf(t[i]));

        if (magnitude >= F32_INF)
            t[i] = 0;
        else if (magnitude > peak)
            peak = magnitude;
    }
    return peak;
}

static void raise_largest(struct tm_drift *drift, double magnitude)
{
    if (magnitude > drift->largest)
        drift->largest = magnitude;
}

static void measure_short(struct measure *m, const void *base,
                          const void *tuned, size_t n)
{
    const struct tm_drift_kernels *kernels = tables[m->isa].drift;
    _Alignas(64) float t[SLAB];
    uint32_t changed[SLAB + TM_SUM_STEP];
    uint32_t peak =
        kernels->subtract[m->base_dtype][m->dtype](base, tuned, n, t);
    float largest;
    size_t count;

    if (peak >= F32_INF)
        peak = leave_out_nonfinite(t, n);
    if (peak == 0)
        return;
    memcpy(&largest, &peak, sizeof(largest));
    raise_largest(m->drift, (double)largest);
    count = kernels->add(t, n, &m->lanes, changed);
    m->drift->changed += count;
    tm_drift_counters_add(&m->counters, changed, count, peak);
}

/* --- working type f64 --------------------------------------------------- */

/* Of a finite number that is not zero, as if it were rounded to f32 first. */
static size_t bin_of(double magnitude)
{
    uint64_t bits;

    if (magnitude >= 0x1p128)
        return LAST_BIN;
    if (magnitude < 0x1p-126) /* subnormal: a bin is 2^16 times 2^-149 */
        return (size_t)(magnitude * 0x1p133);
    memcpy(&bits, &magnitude, sizeof(bits));
    return (size_t)(bits >> 45) - ((size_t)(1023 - 127) << 7);
}

static void measure_one(struct measure *m, double t, size_t lane)
{
    double magnitude = fabs(t);

    if (!(magnitude > 0 && magnitude < (double)INFINITY))
        return;
    m->lanes.sum[lane] += t;
    m->lanes.absolute[lane] += magnitude;
    m->lanes.squares[lane] += t * t;
    raise_largest(m->drift, magnitude);
    m->drift->changed++;
    m->counters.counts[bin_of(magnitude)]++;
}

static void measure_wide(struct measure *m, const void *base, const void *tuned,
                         size_t n)
{
    const struct tm_sum_kernels *kernels = tables[m->isa].sum;
    double b[SLAB], x[SLAB];

    kernels->widen[m->base_dtype](base, n, b);
    kernels->widen[m->dtype](tuned, n, x);
    for (size_t i = 0; i < n; i++)
        measure_one(m, x[i] - b[i], i % TM_DRIFT_LANES);
}

/* --- blocks -------------------------------------------------------------- */

static void measure_slab(struct measure *m, const void *base, const void *tuned,
                         size_t n)
{
    if (m->base_dtype == TM_F64 || m->dtype == TM_F64)
        measure_wide(m, base, tuned, n);
    else
        measure_short(m, base, tuned, n);
}

/* Under a step: filled up with zeros, which no type encodes otherwise. */
static void measure_rest(struct measure *m, const void *base, const void *tuned,
                         size_t n)
{
    double b[TM_SUM_STEP] = {0}, x[TM_SUM_STEP] = {0};

    memcpy(b, base, n * (tm_dtype_bits(m->base_dtype) / 8));
    memcpy(x, tuned, n * (tm_dtype_bits(m->dtype) / 8));
    measure_slab(m, b, x, TM_SUM_STEP);
}

/*
 * A sum of doubles can overflow, and infinities of both signs make a NaN whose
 * sign depends on the processor: here it is the positive one.
 */
static double fold(const double *v)
{
    double r =
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));

    return isnan(r) ? (double)NAN : r;
}

static void measure_block(struct measure *m, const void *base,
                          const void *tuned, size_t n, size_t block)
{
    size_t whole = n - n % TM_SUM_STEP;

    memset(&m->lanes, 0, sizeof(m->lanes));
    for (size_t i = 0; i < whole; i += SLAB)
        measure_slab(m, at(base, m->base_dtype, i), at(tuned, m->dtype, i),
                     whole - i < SLAB ? whole - i : SLAB);
    if (whole < n)
        measure_rest(m, at(base, m->base_dtype, whole),
                     at(tuned, m->dtype, whole), n - whole);
    m->drift->sum[block] = fold(m->lanes.sum);
    m->drift->absolute[block] = fold(m->lanes.absolute);
    m->drift->squares[block] = fold(m->lanes.squares);
}

void tm_drift_measure(enum tm_isa isa, enum tm_dtype base_dtype,
                      const void *base, enum tm_dtype dtype, const void *tuned,
                      size_t n, struct tm_drift *drift, uint32_t *counts)
{
    struct measure m; /* large: not to be cleared as a whole */

    m.isa = isa;
    m.base_dtype = base_dtype;
    m.dtype = dtype;
    m.drift = drift;
    memset(drift, 0, sizeof(*drift));
    tm_drift_counters_begin(&m.counters, counts, n);
    for (size_t i = 0; i < n; i += TM_DRIFT_BLOCK)
        measure_block(&m, at(base, base_dtype, i), at(tuned, dtype, i),
                      n - i < TM_DRIFT_BLOCK ? n - i : TM_DRIFT_BLOCK,
                      i / TM_DRIFT_BLOCK);
    tm_drift_counters_end(&m.counters);
}
