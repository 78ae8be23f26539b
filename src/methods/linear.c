/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weighted average of models (Wortsman et al., "Model soups", ICML 2022): sum
 * w_i x_i, divided by the sum of the weights if `normalize`; and passthrough,
 * which takes one model as it is, or scaled.
 */
#include "src/methods/methods.h"

#include <float.h>
#include <math.h>

#include "src/methods/pivot.h"

enum { WEIGHT, NORMALIZE };

static const struct tm_parameter parameters[] = {
    [WEIGHT] = {.name = "weight",
                .help = "factor of a model",
                .is_own = true,
                .is_required = true,
                TM_ANY_NUMBER},
    [NORMALIZE] = {.name = "normalize",
                   .help = "divide by the sum of the weights",
                   .kind = TM_FLAG,
                   .standard = 1,
                   .most = 1},
};

/* The sum of the weights; 0 too where it is what rounding leaves of zero. */
static double sum_of_weights(const struct tm_terms *terms)
{
    double sum = 0;
    double magnitudes = 0;

    for (uint32_t i = 0; i < terms->count; i++) {
        sum += terms->terms[i].values[WEIGHT];
        magnitudes += fabs(terms->terms[i].values[WEIGHT]);
    }
    return fabs(sum) <= magnitudes * terms->count * DBL_EPSILON ? 0 : sum;
}

static const char *check(const struct tm_terms *terms)
{
    if (terms->values[NORMALIZE] != 0 && sum_of_weights(terms) == 0)
        return "'weight': the weights add up to 0, and normalize divides by "
               "their sum";
    return NULL;
}

static const char *conclude(struct tm_work *work)
{
    const struct tm_terms *terms = work->terms;
    double sum = terms->values[NORMALIZE] != 0 ? sum_of_weights(terms) : 1;

    for (uint32_t i = 0; i < terms->count; i++)
        work->numbers[i] = terms->terms[i].values[WEIGHT] / sum;
    tm_pivot_choose(work);
    return NULL;
}

const struct tm_method tm_method_linear = {
    .name = "linear",
    .help = "weighted average of models",
    .source = "Wortsman et al., ICML 2022",
    .family = TM_LINEAR,
    .base = TM_BASE_IS_INPUT,
    .view = TM_VALUES,
    .least = 1,
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters),
    .skips_zero = true,
    .check = check,
    .conclude = conclude,
};

/* --- passthrough ---------------------------------------------------------*/

static const struct tm_parameter passthrough_parameters[] = {
    {.name = "scale",
     .help = "factor of the tensor",
     .is_own = true,
     .standard = 1,
     TM_ANY_NUMBER},
};

static const char *conclude_passthrough(struct tm_work *work)
{
    work->numbers[0] = work->terms->terms[0].values[0];
    tm_pivot_choose(work);
    return NULL;
}

const struct tm_method tm_method_passthrough = {
    .name = "passthrough",
    .help = "tensors of one model, as they are or scaled",
    .source = "mergekit",
    .family = TM_LINEAR,
    .base = TM_BASE_IS_INPUT,
    .view = TM_VALUES,
    .least = 1,
    .most = 1,
    TM_PARAMETERS(passthrough_parameters),
    .conclude = conclude_passthrough,
};
