/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consensus merging (Wang et al., "Localizing task information for improved
 * model merging and compression", ICML 2024, sections 4 and 5): with T the sum
 * of all vectors, the TALL mask of vector i has those elements in which
 *
 *     |t_i| > lambda_mask_i * |T - t_i|
 *
 * and T is kept where at least k masks have an element: with k = 2, what no
 * vector or only one needs is dropped.
 */
#include "src/methods/methods.h"

#include <string.h>

#include "kernels/strip.h"

enum { LAMBDA_MASK, K, LAMBDA };

static const struct tm_parameter parameters[] = {
    [LAMBDA_MASK] = {.name = "lambda_mask",
                     .help = "how much larger than the others' sum an element "
                             "must be",
                     .is_own = true,
                     .standard = 0.4,
                     .most = 3.4e38},
    [K] = {.name = "k",
           .help = "how many vectors must need an element",
           .kind = TM_WHOLE,
           .standard = 2,
           .most = 1e6},
    [LAMBDA] = {.name = "lambda",
                .help = "factor of the sum",
                .standard = 1,
                TM_ANY_NUMBER},
};

static void apply(const struct tm_work *work, const struct tm_strip *strip,
                  float *out)
{
    const struct tm_terms *terms = work->terms;
    const float k = (float)terms->values[K];
    const float lambda = (float)terms->values[LAMBDA];
    float *total = strip->spare[0];
    float *masks = strip->spare[1];

    memset(masks, 0, strip->n * sizeof(*masks));
    for (uint32_t j = 0; j < terms->count; j++)
        tm_strip_add(strip->isa, total, strip->x[j], strip->n, 1, j == 0);
    for (uint32_t j = 0; j < terms->count; j++)
        tm_strip_count_needed(strip->isa, masks, strip->x[j], total, strip->n,
                              (float)terms->terms[j].values[LAMBDA_MASK]);
    tm_strip_add(strip->isa, out, total, strip->n, lambda, true);
    tm_strip_mask_least(strip->isa, out, masks, strip->n, k);
}

const struct tm_method tm_method_consensus = {
    .name = "consensus",
    .help = "sum of the vectors where several of them need it",
    .source = "Wang et al., ICML 2024",
    .family = TM_LINEAR,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters),
    .conclude = tm_methods_no_conclusion,
    .apply = apply,
};
