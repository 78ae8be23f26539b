/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LiNeS (Wang et al., "LiNeS: post-training layer scaling prevents forgetting
 * and enhances model merging", ICLR 2025, section 4): task arithmetic whose
 * factor grows with depth. In layer l of L
 *
 *     base + (alpha + beta * l / (L - 1)) * sum w_i t_i
 *
 * and alpha for what is in no layer. The paper's alpha is the 1-norm of the sum
 * of all vectors over K times that of what they were merged to: 1 / K for a
 * sum, which is the standard here. beta is tuned in lambda's place.
 */
#include "src/methods/methods.h"

enum { WEIGHT, ALPHA, BETA };

/* Stands for 1 / K. */
#define ONE_SHARE (-1)

static const struct tm_parameter parameters[] = {
    [WEIGHT] = {.name = "weight",
                .help = "factor of a vector",
                .is_own = true,
                .standard = 1,
                TM_ANY_NUMBER},
    [ALPHA] = {.name = "alpha",
               .help = "factor in the first layer; -1: one over the number of "
                       "vectors",
               .standard = ONE_SHARE,
               .least = ONE_SHARE,
               .most = 3.4e38},
    [BETA] = {.name = "beta",
              .help = "what the last layer's factor is larger by",
              .is_required = true,
              TM_ANY_NUMBER},
};

static const char *check(const struct tm_terms *terms)
{
    if (terms->values[ALPHA] < 0 && terms->values[ALPHA] != ONE_SHARE)
        return "'alpha': neither -1 nor 0 or above";
    return NULL;
}

static const char *conclude(struct tm_work *work)
{
    const struct tm_terms *terms = work->terms;
    double factor = terms->values[ALPHA];

    if (factor == ONE_SHARE)
        factor = 1 / (double)terms->count;
    if (terms->position >= 0)
        factor += terms->values[BETA] * terms->position;
    for (uint32_t i = 0; i < terms->count; i++)
        work->numbers[i] = terms->terms[i].values[WEIGHT] * factor;
    return NULL;
}

const struct tm_method tm_method_lines = {
    .name = "lines",
    .help = "task arithmetic that grows from the first layer to the last",
    .source = "Wang et al., ICLR 2025",
    .family = TM_LINEAR,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters),
    .check = check,
    .conclude = conclude,
};
