/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NearSwap (mergekit): elements in which the two models are nearer than `t` are
 * the other's, the further they are apart the more they are the base's:
 *
 *     out = base + d * clamp(t / max(|d|, 1e-6), 0, 1),  d = other - base
 */
#include "src/methods/methods.h"

#include <string.h>

#include "kernels/strip.h"

enum { T };

static const struct tm_parameter parameters[] = {
    [T] = {.name = "t",
           .help = "distance up to which an element is taken whole",
           .is_required = true,
           .least = 0,
           .most = 3.4e38},
};

static void apply(const struct tm_work *work, const struct tm_strip *strip,
                  float *out)
{
    memcpy(out, strip->x[0], strip->n * sizeof(*out));
    tm_strip_near(strip->isa, out, strip->n, (float)work->terms->values[T]);
}

const struct tm_method tm_method_nearswap = {
    .name = "nearswap",
    .help = "takes from another model what is near the base",
    .source = "mergekit",
    .family = TM_LINEAR,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = 1,
    TM_PARAMETERS(parameters),
    .conclude = tm_methods_no_conclusion,
    .apply = apply,
};
