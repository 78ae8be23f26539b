/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arcee Fusion (mergekit): takes from another model the elements that matter.
 * An element's importance is |x - b| times the divergence of its row's softmax
 * from the base's (kernels/row.h); what is at least the median plus one and a
 * half times the distance of the quartiles is taken, the rest stays the base's.
 * A quantile q of n elements is the one at floor(q (n - 1)) in ascending order.
 *
 * In values, not differences: every element of the output is one of the two
 * (as a float, where they are F64).
 */
#include "src/methods/methods.h"

#include <math.h>

#include "kernels/row.h"
#include "kernels/strip.h"

enum { FIRST_QUARTER, MEDIAN, THIRD_QUARTER, QUANTILES };

static unsigned phases(const struct tm_terms *terms)
{
    (void)terms;
    return 2;
}

static enum tm_scope scope(const struct tm_terms *terms)
{
    (void)terms;
    return TM_BY_ROW;
}

static struct tm_work_sizes sizes(const struct tm_terms *terms, uint64_t row,
                                  uint64_t plane)
{
    (void)terms;
    (void)row;
    (void)plane;
    return (struct tm_work_sizes){
        .counts = QUANTILES * TM_LOW_BINS, .numbers = 1, .selects = QUANTILES};
}

/* The row's importances, to spare[0]. A divergence is not negative. */
static const float *importance(const struct tm_strip *strip)
{
    const float *x = strip->x[0];
    const float *base = strip->base;
    float *out = strip->spare[0];
    double divergence = tm_row_divergence(strip->isa, x, base, strip->n,
                                          (double *)(void *)strip->scratch);

    tm_row_weigh(strip->isa, x, base, strip->n, fmax(divergence, 0), out);
    return out;
}

static void measure(const struct tm_work *work, const struct tm_strip *strip)
{
    const float *v = importance(strip);

    if (work->phase == 0) {
        tm_select_high(strip->isa, v, strip->n, strip->counts);
        return;
    }
    for (size_t q = 0; q < QUANTILES; q++)
        tm_select_low(strip->isa, v, strip->n, work->selects[q].high,
                      strip->counts + q * TM_LOW_BINS);
}

static void conclude_high(struct tm_work *work)
{
    const uint64_t n = work->elements;

    for (size_t q = 0; q < QUANTILES; q++) {
        double place = (double)(q + 1) / 4 * (double)(n - 1);

        work->selects[q].wanted = n - (uint64_t)place;
        tm_select_find_high(work->counts, &work->selects[q]);
    }
}

static const char *conclude(struct tm_work *work)
{
    double values[QUANTILES];

    if (work->phase == 0) {
        conclude_high(work);
        return NULL;
    }
    for (size_t q = 0; q < QUANTILES; q++) {
        tm_select_find_low(work->counts + q * TM_LOW_BINS, &work->selects[q]);
        values[q] = tm_select_value(&work->selects[q]);
    }
    work->numbers[0] =
        values[MEDIAN] + 1.5 * (values[THIRD_QUARTER] - values[FIRST_QUARTER]);
    return NULL;
}

/* The least float that is not below v. */
static float float_from(double v)
{
    const float near = (float)v;

    return (double)near < v ? nextafterf(near, INFINITY) : near;
}

static void apply(const struct tm_work *work, const struct tm_strip *strip,
                  float *out)
{
    const float *v = importance(strip);

    tm_strip_choose(strip->isa, out, strip->x[0], strip->base, v, strip->n,
                    float_from(work->numbers[0]));
}

const struct tm_method tm_method_arcee_fusion = {
    .name = "arcee_fusion",
    .help = "takes from another model the elements that matter most",
    .source = "mergekit",
    .family = TM_THRESHOLD,
    .base = TM_BASE_NEEDED,
    .view = TM_VALUES,
    .least = 1,
    .most = 1,
    .wants_base = true,
    .phases = phases,
    .scope = scope,
    .sizes = sizes,
    .measure = measure,
    .conclude = conclude,
    .apply = apply,
};
