/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/blend.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/strip.h"

/* Below these a sum counts as zero (mergekit). */
#define NO_WEIGHT    1e-8
#define NO_MAGNITUDE 1e-7

double tm_blend_divisor(const struct tm_terms *terms, size_t weight)
{
    double sum = 0;

    for (uint32_t i = 0; i < terms->count; i++)
        sum += terms->terms[i].values[weight];
    return fabs(sum) < NO_WEIGHT ? 1 : sum;
}

bool tm_blend_thins(const struct tm_term *term)
{
    return term->values[TM_BLEND_DENSITY] > 0 &&
           term->values[TM_BLEND_DENSITY] < 1;
}

bool tm_blend_thins_any(const struct tm_terms *terms)
{
    for (uint32_t i = 0; i < terms->count; i++)
        if (tm_blend_thins(&terms->terms[i]))
            return true;
    return false;
}

bool tm_blend_is_whole(const struct tm_terms *terms)
{
    for (uint32_t i = 0; i < terms->count; i++)
        if (terms->terms[i].values[TM_BLEND_DENSITY] < 1)
            return false;
    return true;
}

void tm_blend_start(struct tm_work *work)
{
    for (uint32_t i = 0; i < work->terms->count; i++)
        work->numbers[i] = 1;
}

double tm_blend_rescale(double before, double after)
{
    return before >= NO_MAGNITUDE && after >= NO_MAGNITUDE ? before / after : 1;
}

/* What the sum of all w_i d_i is multiplied by. */
static double factor_of_sum(const struct tm_terms *terms)
{
    double factor = terms->values[TM_BLEND_LAMBDA];

    if (terms->values[TM_BLEND_NORMALIZE] != 0)
        factor /= tm_blend_divisor(terms, TM_BLEND_WEIGHT);
    return factor;
}

void tm_blend_conclude_sum(struct tm_work *work)
{
    const struct tm_terms *terms = work->terms;
    const double factor = factor_of_sum(terms);

    for (uint32_t i = 0; i < terms->count; i++)
        work->numbers[i] = terms->terms[i].values[TM_BLEND_WEIGHT] * factor;
}

void tm_blend_drop(const struct tm_work *work, const struct tm_strip *strip)
{
    for (uint32_t i = 0; i < work->terms->count; i++)
        if (work->terms->terms[i].values[TM_BLEND_DENSITY] <= 0)
            memset(strip->x[i], 0, strip->n * sizeof(float));
}

void tm_blend_sum(const struct tm_work *work, const struct tm_strip *strip,
                  float *out)
{
    const struct tm_terms *terms = work->terms;
    const double factor = factor_of_sum(terms);

    if (terms->count == 0)
        memset(out, 0, strip->n * sizeof(*out));
    for (uint32_t i = 0; i < terms->count; i++) {
        const double w = terms->terms[i].values[TM_BLEND_WEIGHT];

        tm_strip_add(strip->isa, out, strip->x[i], strip->n,
                     (float)(w * work->numbers[i] * factor), i == 0);
    }
}

static void multiply(const struct tm_strip *strip, float *x, float c)
{
    if (c != 1)
        tm_strip_scale(strip->isa, x, strip->n, c);
}

void tm_blend_vote(const struct tm_work *work, const struct tm_strip *strip,
                   float *out)
{
    const struct tm_terms *terms = work->terms;
    float weights[TM_VOTE_MOST];

    assert(terms->count <= TM_VOTE_MOST);
    for (uint32_t i = 0; i < terms->count; i++) {
        const double w = terms->terms[i].values[TM_BLEND_WEIGHT];

        weights[i] = (float)w;
        multiply(strip, strip->x[i], (float)(w * work->numbers[i]));
    }
    if (terms->count == 0)
        memset(out, 0, strip->n * sizeof(*out));
    else
        tm_strip_elect(strip->isa, (const float *const *)strip->x, weights,
                       terms->count, strip->n,
                       terms->values[TM_BLEND_NORMALIZE] != 0, out);
    multiply(strip, out, (float)terms->values[TM_BLEND_LAMBDA]);
}

void tm_blend_vote_plain(const struct tm_work *work,
                         const struct tm_strip *strip, float *out)
{
    const struct tm_terms *terms = work->terms;
    float weights[TM_VOTE_MOST];
    float *weight = strip->spare[1];

    assert(terms->count <= TM_VOTE_MOST);
    for (uint32_t i = 0; i < terms->count; i++) {
        weights[i] = (float)terms->terms[i].values[TM_BLEND_WEIGHT];
        multiply(strip, strip->x[i], (float)work->numbers[i]);
    }
    tm_strip_vote(strip->isa, (const float *const *)strip->x, weights,
                  terms->count, strip->n, out, weight);
    if (terms->values[TM_BLEND_NORMALIZE] != 0)
        tm_strip_divide(strip->isa, out, weight, strip->n);
    multiply(strip, out, (float)terms->values[TM_BLEND_LAMBDA]);
}
