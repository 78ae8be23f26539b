/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/methods.h"

#include <string.h>

#include "src/nearest.h"

const struct tm_method *const tm_methods[] = {
    &tm_method_task_arithmetic,
    &tm_method_linear,
    &tm_method_slerp,
    &tm_method_nuslerp,
    &tm_method_multislerp,
    &tm_method_karcher,
    &tm_method_model_stock,
    &tm_method_metagpt,
    &tm_method_ties,
    &tm_method_breadcrumbs,
    &tm_method_breadcrumbs_ties,
    &tm_method_dare_linear,
    &tm_method_dare_ties,
    &tm_method_della,
    &tm_method_della_linear,
    &tm_method_sce,
    &tm_method_ram,
    &tm_method_ramplus_tl,
    &tm_method_consensus,
    &tm_method_emr,
    &tm_method_lines,
    &tm_method_nearswap,
    &tm_method_arcee_fusion,
    &tm_method_passthrough,
    NULL,
};

const struct tm_method *tm_method_find(const char *name)
{
    for (size_t i = 0; tm_methods[i] != NULL; i++)
        if (strcmp(tm_methods[i]->name, name) == 0)
            return tm_methods[i];
    return NULL;
}

const char *tm_method_nearest(const char *name)
{
    struct tm_nearest nearest = {.word = name};

    for (size_t i = 0; tm_methods[i] != NULL; i++)
        tm_nearest_try(&nearest, tm_methods[i]->name);
    return nearest.name;
}

unsigned tm_methods_one_phase(const struct tm_terms *terms)
{
    (void)terms;
    return 1;
}

const char *tm_methods_no_conclusion(struct tm_work *work)
{
    (void)work;
    return NULL;
}

/*
 * What is a parameter of some method, and what published recipes have beside
 * these: int8_mask and the last few are of methods that mergekit once had, or
 * had otherwise.
 */
const char *const tm_known_parameters[] = {
    "weight",
    "density",
    "normalize",
    "lambda",
    "rescale",
    "int8_mask",
    "gamma",
    "epsilon",
    "t",
    "scale",
    "filter_wise",
    "select_topk",
    "nuslerp_flatten",
    "nuslerp_row_wise",
    "normalize_weights",
    "eps",
    "max_iter",
    "tol",
    "r",
    "alpha",
    "beta",
    "k",
    "lambda_mask",
    "rescale_by_density",
    "scope",
    "election",
    "smooth",
    "allow_negative_weights",
    "embed_slerp",
    NULL,
};
