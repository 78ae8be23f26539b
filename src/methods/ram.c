/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RAM (Yuan et al., "Behavior knowledge merge in reinforced agentic models",
 * arXiv:2601.13572, 2026; mergekit): an element of a vector is active if it is
 * larger than `epsilon`. Where one vector alone is active its element is taken,
 * where several are, the mean of theirs. RAM+ scales what is a vector's alone
 * by
 *
 *     1 + r * clamp(shared / unique, 0, alpha)
 *
 * with how many of its active elements, in the tensor, are shared or its own.
 */
#include "src/methods/methods.h"

#include <math.h>
#include <string.h>

#include "kernels/strip.h"

enum { EPSILON, R, ALPHA };
enum { UNIQUE, SHARED, COUNTS };

#define EPSILON_PARAMETER                                                      \
    [EPSILON] = {.name = "epsilon",                                            \
                 .help = "magnitude above which an element is active",         \
                 .standard = 1e-5,                                             \
                 .most = 3.4e38}

static const struct tm_parameter parameters[] = {EPSILON_PARAMETER};

static const struct tm_parameter parameters_plus[] = {
    EPSILON_PARAMETER,
    [R] = {.name = "r",
           .help = "how much what is a vector's alone is scaled up",
           .standard = 0.1,
           TM_ANY_NUMBER},
    [ALPHA] = {.name = "alpha",
               .help = "most that shared elements count against unique ones",
               .standard = 0.2,
               .most = 3.4e38},
};

static const float *count_active(const struct tm_work *work,
                                 const struct tm_strip *strip)
{
    float *count = strip->spare[0];

    tm_strip_count_active(strip->isa, (const float *const *)strip->x,
                          work->terms->count, strip->n,
                          (float)work->terms->values[EPSILON], count);
    return count;
}

static struct tm_work_sizes sizes(const struct tm_terms *terms, uint64_t row,
                                  uint64_t plane)
{
    (void)row;
    (void)plane;
    return (struct tm_work_sizes){.counts = COUNTS * (size_t)terms->count,
                                  .numbers = terms->count};
}

static void measure(const struct tm_work *work, const struct tm_strip *strip)
{
    const float *count = count_active(work, strip);
    const float epsilon = (float)work->terms->values[EPSILON];

    for (uint32_t k = 0; k < work->terms->count; k++) {
        uint32_t *counts = strip->counts + COUNTS * (size_t)k;

        tm_strip_count_shared(strip->isa, strip->x[k], count, strip->n, epsilon,
                              &counts[UNIQUE], &counts[SHARED]);
    }
}

static const char *conclude(struct tm_work *work)
{
    for (uint32_t k = 0; k < work->terms->count; k++)
        work->numbers[k] = 1;
    return NULL;
}

static const char *conclude_plus(struct tm_work *work)
{
    const double *values = work->terms->values;

    for (uint32_t k = 0; k < work->terms->count; k++) {
        const uint64_t *counts = work->counts + COUNTS * (size_t)k;
        double ratio = 0;

        if (counts[SHARED] > 0)
            ratio = (double)counts[SHARED] /
                    fmax((double)counts[UNIQUE], values[EPSILON]);
        work->numbers[k] = 1 + values[R] * fmin(ratio, values[ALPHA]);
    }
    return NULL;
}

static void apply(const struct tm_work *work, const struct tm_strip *strip,
                  float *out)
{
    const float *count = count_active(work, strip);
    const float epsilon = (float)work->terms->values[EPSILON];

    memset(out, 0, strip->n * sizeof(*out));
    for (uint32_t k = 0; k < work->terms->count; k++)
        tm_strip_add_active(strip->isa, out, strip->x[k], count, strip->n,
                            epsilon, (float)work->numbers[k]);
}

const struct tm_method tm_method_ram = {
    .name = "ram",
    .help = "mean of the vectors that are active at each place",
    .source = "Yuan et al., 2026; mergekit",
    .family = TM_LINEAR,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters),
    .conclude = conclude,
    .apply = apply,
};

const struct tm_method tm_method_ramplus_tl = {
    .name = "ramplus_tl",
    .help = "ram, with what is one vector's alone scaled up",
    .source = "Yuan et al., 2026; mergekit",
    .family = TM_THRESHOLD,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters_plus),
    .phases = tm_methods_one_phase,
    .sizes = sizes,
    .measure = measure,
    .conclude = conclude_plus,
    .apply = apply,
};
