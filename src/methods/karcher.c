/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Karcher mean (mergekit): the mean of the models' directions on the sphere
 * (sphere.h), times the mean of their lengths. All models count alike; an
 * input too short to have a direction still has a length.
 */
#include "src/methods/methods.h"

#include "src/methods/gram.h"
#include "src/methods/pivot.h"
#include "src/methods/sphere.h"

enum { MAX_ITER, TOL };

static const struct tm_parameter parameters[] = {
    [MAX_ITER] = {.name = "max_iter",
                  .help = "steps at most",
                  .kind = TM_WHOLE,
                  .standard = 10,
                  .most = 10000},
    [TOL] = {.name = "tol",
             .help = "angle, in radians, below which a step is the last",
             .standard = 1e-5,
             .most = 1},
};

static struct tm_work_sizes sizes(const struct tm_terms *terms, uint64_t row,
                                  uint64_t plane)
{
    struct tm_work_sizes sizes = tm_gram_sizes(terms, row, plane);

    sizes.numbers = 3 * (size_t)terms->count;
    return sizes;
}

static const char *conclude(struct tm_work *work)
{
    const size_t count = work->terms->count;
    struct tm_sphere sphere = {.work = work,
                               .tol = work->terms->values[TOL],
                               .m = work->numbers,
                               .g = work->numbers + count,
                               .lengths = work->numbers + 2 * count};
    double length = 0;

    tm_sphere_mean(&sphere, (unsigned)work->terms->values[MAX_ITER]);
    for (size_t i = 0; i < count; i++)
        length += tm_gram_norm(work, i) / (double)count;
    for (size_t i = 0; i < count; i++)
        if (sphere.m[i] != 0)
            work->numbers[i] = length * sphere.m[i] / sphere.lengths[i];
    if (count == 1)
        work->numbers[0] = 1;
    tm_pivot_choose(work);
    return NULL;
}

const struct tm_method tm_method_karcher = {
    .name = "karcher",
    .help = "mean of the models' directions on the sphere",
    .source = "Karcher 1977; mergekit",
    .family = TM_GRAM,
    .base = TM_BASE_IS_INPUT,
    .view = TM_VALUES,
    .least = 1,
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters),
    .phases = tm_methods_one_phase,
    .sizes = sizes,
    .measure = tm_gram_measure,
    .conclude = conclude,
};
