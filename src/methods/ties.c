/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TIES (Yadav et al., "TIES-Merging: resolving interference when merging
 * models", NeurIPS 2023, section 3): trim each vector to its largest
 * elements, elect a sign at each place, average what has that sign.
 *
 * By default as mergekit 0.1.5 does it: each tensor is trimmed on its own, and
 * weighted vectors vote. `scope: model` trims the whole model at once, as the
 * paper does, at the edge of the upper 15 bits of the magnitude that comes
 * nearest to the density, so that all is known after one look at the model;
 * `election: paper` lets the vectors vote as they are. Where a sum cancels to
 * zero the sign is positive (the paper's program takes the sign of the sum of
 * all signs).
 */
#include "src/methods/methods.h"

#include <string.h>

#include "src/methods/trim.h"
#include "src/methods/trim_model.h"

enum { SCOPE = TM_BLEND_MORE, ELECTION };

static const char *const scopes[] = {"tensor", "model", NULL};
static const char *const elections[] = {"mergekit", "paper", NULL};

static const struct tm_parameter parameters[] = {
    TM_BLEND_TABLE(1, 0),
    [SCOPE] = {.name = "scope",
               .help = "what a vector is trimmed by: each tensor, or the whole "
                       "model",
               .kind = TM_CHOICE,
               .most = 1,
               .choices = scopes},
    [ELECTION] = {.name = "election",
                  .help = "whether weighted vectors vote, or vectors as they "
                          "are",
                  .kind = TM_CHOICE,
                  .most = 1,
                  .choices = elections},
};

static bool is_whole(const struct tm_terms *terms)
{
    return terms->values[SCOPE] != 0 && tm_blend_thins_any(terms);
}

static unsigned phases(const struct tm_terms *terms)
{
    return is_whole(terms) ? tm_trim_model_phases(terms)
                           : tm_trim_phases(terms);
}

static struct tm_work_sizes sizes(const struct tm_terms *terms, uint64_t row,
                                  uint64_t plane)
{
    (void)row;
    (void)plane;
    return is_whole(terms) ? tm_trim_model_sizes(terms)
                           : tm_trim_sizes(terms, 1);
}

static void measure(const struct tm_work *work, const struct tm_strip *strip)
{
    if (is_whole(work->terms))
        tm_trim_model_measure(work, strip);
    else
        tm_trim_measure(work, strip, 1);
}

/* Of the whole model. */
static void recall(struct tm_work *work, size_t term,
                   const struct tm_recorded *recorded)
{
    memcpy(work->counts + term * TM_HIGH_BINS, recorded->high,
           TM_HIGH_BINS * sizeof(*recorded->high));
}

static void set_wanted(struct tm_work *work)
{
    const uint64_t n = work->elements;

    for (uint32_t i = 0; i < work->terms->count; i++) {
        double density = work->terms->terms[i].values[TM_BLEND_DENSITY];
        uint64_t wanted = (uint64_t)(density * (double)n);

        if (density > 0 && wanted == 0)
            wanted = 1;
        work->selects[i].wanted = wanted < n ? wanted : n;
    }
}

static const char *conclude(struct tm_work *work)
{
    if (work->phase == 0 && tm_blend_thins_any(work->terms))
        set_wanted(work);
    if (is_whole(work->terms))
        tm_trim_model_conclude(work);
    else
        tm_trim_conclude(work, 1);
    return NULL;
}

/* The whole model's thresholds keep all that is equal to them. */
static void count(const struct tm_work *work, const struct tm_strip *strip)
{
    if (!is_whole(work->terms))
        tm_trim_count(work, strip, 1);
}

static void apply(const struct tm_work *work, const struct tm_strip *strip,
                  float *out)
{
    tm_trim_apply(work, strip, 1);
    if (work->terms->values[ELECTION] != 0)
        tm_blend_vote_plain(work, strip, out);
    else
        tm_blend_vote(work, strip, out);
}

const struct tm_method tm_method_ties = {
    .name = "ties",
    .help = "largest elements of each vector, averaged where signs agree",
    .source = "Yadav et al., NeurIPS 2023",
    .family = TM_THRESHOLD,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = TM_VOTE_MOST,
    TM_PARAMETERS(parameters),
    .skips_zero = true,
    .phases = phases,
    .is_whole = is_whole,
    .sizes = sizes,
    .measure = measure,
    .recall = recall,
    .conclude = conclude,
    .count = count,
    .apply = apply,
};
