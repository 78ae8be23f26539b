/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DARE (Yu et al., "Language models are super Mario", ICML 2024, section 3):
 * each element of a vector is dropped at random, and what is kept is scaled
 * up; then the vectors are added up (dare_linear), or elected as in TIES
 * (dare_ties).
 *
 * The paper divides by the density (`rescale_by_density`). mergekit since 0.1
 * scales each tensor to the sum of magnitudes it had (`rescale`).
 */
#include "src/methods/methods.h"

#include "src/methods/dither.h"
#include "src/methods/thin.h"

enum { BY_DENSITY = TM_BLEND_MORE };

static const struct tm_parameter parameters[] = {
    TM_BLEND_TABLE(0, 1),
    [BY_DENSITY] = TM_BLEND_BY_DENSITY,
};

static unsigned phases(const struct tm_terms *terms)
{
    return tm_thin_phases(terms, terms->values[TM_BLEND_RESCALE] != 0 &&
                                     terms->values[BY_DENSITY] == 0);
}

static void thin(const struct tm_work *work, const struct tm_strip *strip,
                 size_t term)
{
    const double density = work->terms->terms[term].values[TM_BLEND_DENSITY];

    tm_mask_drop(strip->isa, tm_mask_for(work, term), strip->first, strip->n,
                 (float)density, strip->x[term]);
}

static void measure(const struct tm_work *work, const struct tm_strip *strip)
{
    tm_thin_measure(work, strip, thin);
}

static const char *conclude(struct tm_work *work)
{
    const struct tm_terms *terms = work->terms;

    tm_thin_conclude(work);
    for (uint32_t i = 0; i < terms->count; i++)
        if (terms->values[BY_DENSITY] != 0 && tm_blend_thins(&terms->terms[i]))
            work->numbers[i] = 1 / terms->terms[i].values[TM_BLEND_DENSITY];
    return NULL;
}

static void apply_sum(const struct tm_work *work, const struct tm_strip *strip,
                      float *out)
{
    tm_thin_apply(work, strip, thin);
    tm_blend_sum(work, strip, out);
}

static void apply_vote(const struct tm_work *work, const struct tm_strip *strip,
                       float *out)
{
    tm_thin_apply(work, strip, thin);
    tm_blend_vote(work, strip, out);
}

const struct tm_method tm_method_dare_linear = {
    .name = "dare_linear",
    .help = "task vectors thinned out at random, added up",
    .source = "Yu et al., ICML 2024",
    .family = TM_THRESHOLD,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters),
    .is_random = true,
    .skips_zero = true,
    .phases = phases,
    .sizes = tm_thin_sizes,
    .measure = measure,
    .conclude = conclude,
    .apply = apply_sum,
    .is_sum = tm_blend_is_whole,
};

const struct tm_method tm_method_dare_ties = {
    .name = "dare_ties",
    .help = "task vectors thinned out at random, averaged where signs agree",
    .source = "Yu et al., ICML 2024; Yadav et al., NeurIPS 2023",
    .family = TM_THRESHOLD,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = TM_VOTE_MOST,
    TM_PARAMETERS(parameters),
    .is_random = true,
    .skips_zero = true,
    .phases = phases,
    .sizes = tm_thin_sizes,
    .measure = measure,
    .conclude = conclude,
    .apply = apply_vote,
};
