/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unified vector of EMR-Merging (Huang et al., "EMR-Merging: tuning-free
 * high-performance model merging", NeurIPS 2024, section 3): at each place the
 * sign of the sum of all vectors (zero counts as negative, as in the paper's
 * program), and of the elements with that sign the largest magnitude. The
 * paper then has a mask and a factor for each task, which one model that is to
 * serve all of them cannot have.
 */
#include "src/methods/methods.h"

#include "kernels/strip.h"

enum { LAMBDA };

static const struct tm_parameter parameters[] = {
    [LAMBDA] = {.name = "lambda",
                .help = "factor of the unified vector",
                .standard = 1,
                TM_ANY_NUMBER},
};

static void apply(const struct tm_work *work, const struct tm_strip *strip,
                  float *out)
{
    tm_strip_largest(strip->isa, (const float *const *)strip->x,
                     work->terms->count, strip->n, out);
    tm_strip_scale(strip->isa, out, strip->n,
                   (float)work->terms->values[LAMBDA]);
}

const struct tm_method tm_method_emr = {
    .name = "emr",
    .help = "largest element at each place that has the sign of the sum",
    .source = "Huang et al., NeurIPS 2024",
    .family = TM_LINEAR,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters),
    .conclude = tm_methods_no_conclusion,
    .apply = apply,
};
