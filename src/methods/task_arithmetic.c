/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Task arithmetic (Ilharco et al., "Editing models with task arithmetic", ICLR
 * 2023, section 2): base + lambda * sum w_i t_i. A negative weight negates, and
 * "A is to B as C is to D" is C + (B - A). `normalize` is mergekit's: the sum
 * is divided by that of the weights.
 */
#include "src/methods/methods.h"

#include "src/methods/blend.h"

enum { WEIGHT, NORMALIZE, LAMBDA };

static const struct tm_parameter parameters[] = {
    [WEIGHT] = {.name = "weight",
                .help = "factor of a vector; negative takes it away",
                .is_own = true,
                .is_required = true,
                TM_ANY_NUMBER},
    [NORMALIZE] = {.name = "normalize",
                   .help = "divide by the sum of the weights",
                   .kind = TM_FLAG,
                   .most = 1},
    [LAMBDA] = {.name = "lambda",
                .help = "factor of the sum",
                .standard = 1,
                TM_ANY_NUMBER},
};

static const char *conclude(struct tm_work *work)
{
    const struct tm_terms *terms = work->terms;
    double factor = terms->values[LAMBDA];

    if (terms->values[NORMALIZE] != 0)
        factor /= tm_blend_divisor(terms, WEIGHT);
    for (uint32_t i = 0; i < terms->count; i++)
        work->numbers[i] = terms->terms[i].values[WEIGHT] * factor;
    return NULL;
}

const struct tm_method tm_method_task_arithmetic = {
    .name = "task_arithmetic",
    .help = "weighted sum of task vectors, added to the base",
    .source = "Ilharco et al., ICLR 2023",
    .family = TM_LINEAR,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters),
    .skips_zero = true,
    .conclude = conclude,
};
