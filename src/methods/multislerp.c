/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MultiSlerp (mergekit): with u_i the directions of the models, or of their
 * task vectors, and m that of M = sum w_i u_i, a step from m along
 *
 *     T = sum w_i (u_i - (u_i . m) m),    theta = |T| + eps
 *     out = (m cos theta + T sin theta / theta) * sum w_i |x_i|
 *
 * But T = M - (M . m) m = 0, since M is m times its length: what a program
 * finds there is rounding. So theta = eps, and
 *
 *     out = sum of w_i / (|x_i| + eps) x_i * cos eps / |M| * sum w_j |x_j|.
 *
 * Where M has no direction, two models are averaged on the straight line.
 */
#include "src/methods/methods.h"

#include <math.h>

#include "kernels/angle.h"
#include "src/methods/gram.h"
#include "src/methods/pivot.h"

enum { WEIGHT, NORMALIZE, EPS };

static const struct tm_parameter parameters[] = {
    [WEIGHT] = {.name = "weight",
                .help = "weight of a model",
                .is_own = true,
                .is_required = true,
                TM_ANY_NUMBER},
    [NORMALIZE] = {.name = "normalize_weights",
                   .help = "divide the weights by their sum",
                   .kind = TM_FLAG,
                   .standard = 1,
                   .most = 1},
    [EPS] = {.name = "eps",
             .help = "length below which there is no direction",
             .standard = 1e-8,
             .most = 1},
};

static double sum_of_weights(const struct tm_terms *terms)
{
    double sum = 0;

    for (uint32_t i = 0; i < terms->count; i++)
        sum += terms->terms[i].values[WEIGHT];
    return sum;
}

static const char *check(const struct tm_terms *terms)
{
    if (terms->values[NORMALIZE] != 0 && terms->count > 1 &&
        fabs(sum_of_weights(terms)) < 1e-12)
        return "'weight': the weights add up to 0, and normalize_weights "
               "divides by their sum";
    return NULL;
}

static double weight_of(const struct tm_terms *terms, uint32_t i)
{
    const double sum =
        terms->values[NORMALIZE] != 0 ? sum_of_weights(terms) : 1;

    return terms->terms[i].values[WEIGHT] / sum;
}

/* No direction: opposite vectors, or tensors that nothing has changed. */
static const char *conclude_straight(struct tm_work *work)
{
    const uint32_t count = work->terms->count;

    for (uint32_t i = 0; i < count; i++) {
        work->numbers[i] = weight_of(work->terms, i);
        if (count > 2 && tm_gram_norm(work, i) > 0)
            return "the weighted directions add up to zero, so that there is "
                   "none to go in";
    }
    return NULL;
}

/* The coefficients of M; returns sum w_i |x_i|. */
static double sum_directions(struct tm_work *work)
{
    const double eps = work->terms->values[EPS];
    double length = 0;

    for (uint32_t i = 0; i < work->terms->count; i++) {
        const double norm = tm_gram_norm(work, i);
        const double w = weight_of(work->terms, i);

        work->numbers[i] = norm > 0 ? w / (norm + eps) : 0;
        length += w * norm;
    }
    return length;
}

static const char *conclude(struct tm_work *work)
{
    const double eps = work->terms->values[EPS];
    const uint32_t count = work->terms->count;
    const double length = sum_directions(work);
    const double norm = sqrt(tm_gram_square(work, work->numbers));
    const char *problem = NULL;

    if (count == 1)
        work->numbers[0] = 1;
    else if (norm < eps || norm == 0)
        problem = conclude_straight(work);
    else
        for (uint32_t i = 0; i < count; i++)
            work->numbers[i] *= tm_cos(eps) / norm * length;
    tm_pivot_choose(work);
    return problem;
}

const struct tm_method tm_method_multislerp = {
    .name = "multislerp",
    .help = "average of directions and lengths of any number of models",
    .source = "mergekit",
    .family = TM_GRAM,
    .base = TM_BASE_OPTIONAL,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters),
    .phases = tm_methods_one_phase,
    .check = check,
    .sizes = tm_gram_sizes,
    .measure = tm_gram_measure,
    .conclude = conclude,
};
