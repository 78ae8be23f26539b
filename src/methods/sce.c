/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SCE (Wan et al., "FuseChat: knowledge fusion of chat models", 2024, section
 * 3.3): select the elements in which the vectors vary most (`select_topk`, a
 * fraction of those in which they vary at all, by tensor), calculate a
 * coefficient of each vector as its share of the mean squares of what is
 * selected, erase what goes against the sign of the sum, as TIES does, and
 * average the rest. As mergekit 0.1.5 has it: coefficients are equal where the
 * mean squares add up to less than 1e-6, which they mostly do.
 */
#include "src/methods/methods.h"

#include <string.h>

#include "kernels/strip.h"
#include "src/methods/blend.h"
#include "src/methods/varied.h"

enum { TOPK };

/* Sums of coefficients, and of mean squares, that count as none. */
#define LITTLE 1e-6
static const struct tm_parameter parameters[] = {
    [TOPK] = {.name = "select_topk",
              .help = "fraction of the elements that vary to keep",
              .standard = 1,
              .most = 1},
};

static bool selects(const struct tm_terms *terms)
{
    return terms->values[TOPK] < 1;
}

static unsigned phases(const struct tm_terms *terms)
{
    if (terms->values[TOPK] <= 0)
        return 0;
    return selects(terms) ? TM_VARIED_PHASES : 1;
}

static struct tm_work_sizes sizes(const struct tm_terms *terms, uint64_t row,
                                  uint64_t plane)
{
    (void)row;
    (void)plane;
    return (struct tm_work_sizes){
        .sums = 2 * (size_t)terms->count,
        .counts = selects(terms) ? TM_VARIED_COUNTS : 0,
        .numbers = terms->count,
        .selects = selects(terms),
    };
}

static void measure(const struct tm_work *work, const struct tm_strip *strip)
{
    if (selects(work->terms)) {
        tm_varied_measure(work, strip);
        return;
    }
    for (uint32_t k = 0; k < work->terms->count; k++)
        tm_strip_sum_squares(strip->isa, strip->x[k], strip->n, strip->sums[k]);
}

static const char *conclude(struct tm_work *work)
{
    const uint32_t count = work->terms->count;
    double total = 0;

    if (selects(work->terms) && phases(work->terms) > 0)
        tm_varied_conclude(work, work->terms->values[TOPK]);
    else
        memcpy(work->numbers, work->sums, count * sizeof(*work->sums));
    if (work->phase + 1 < phases(work->terms))
        return NULL;
    for (uint32_t k = 0; k < count; k++) {
        work->numbers[k] /= (double)work->elements;
        total += work->numbers[k];
    }
    for (uint32_t k = 0; k < count; k++)
        work->numbers[k] =
            total < LITTLE ? 1 / (double)count : work->numbers[k] / total;
    return NULL;
}

static void count(const struct tm_work *work, const struct tm_strip *strip)
{
    if (selects(work->terms) && phases(work->terms) > 0)
        tm_varied_count(work, strip);
}

static void apply(const struct tm_work *work, const struct tm_strip *strip,
                  float *out)
{
    const uint32_t count = work->terms->count;
    float weights[TM_VOTE_MOST];
    float *weight = strip->spare[1];

    if (phases(work->terms) == 0) {
        memset(out, 0, strip->n * sizeof(*out));
        return;
    }
    if (selects(work->terms))
        tm_varied_apply(work, strip);
    for (uint32_t k = 0; k < count; k++)
        weights[k] = (float)work->numbers[k];
    tm_strip_vote(strip->isa, (const float *const *)strip->x, weights, count,
                  strip->n, out, weight);
    tm_strip_divide_least(strip->isa, out, weight, strip->n, (float)LITTLE);
}

const struct tm_method tm_method_sce = {
    .name = "sce",
    .help = "what varies most between vectors, averaged where signs agree",
    .source = "Wan et al., 2024; mergekit",
    .family = TM_THRESHOLD,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = TM_VOTE_MOST,
    TM_PARAMETERS(parameters),
    .phases = phases,
    .sizes = sizes,
    .measure = measure,
    .conclude = conclude,
    .count = count,
    .apply = apply,
};
