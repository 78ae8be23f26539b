/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model Breadcrumbs (Davari and Belilovsky, "Model breadcrumbs: scaling
 * multi-task model merging with sparse masks", ECCV 2024, section 3): drop the
 * largest of a vector's elements, the fraction gamma, keep the next, the
 * fraction density, drop the rest; then the vectors are added up (breadcrumbs),
 * or elected as in TIES (breadcrumbs_ties).
 *
 * By default ranks are those in the tensor, as mergekit 0.1.5 has it; `scope:
 * row` ranks within rows of the last dimension, as the paper's program does.
 */
#include "src/methods/methods.h"

#include "src/methods/band.h"
#include "src/methods/thin.h"
#include "src/methods/trim.h"

enum { GAMMA = TM_BLEND_MORE, SCOPE };

static const char *const scopes[] = {"tensor", "row", NULL};

static const struct tm_parameter parameters[] = {
    TM_BLEND_TABLE(0, 0),
    [GAMMA] = {.name = "gamma",
               .help = "fraction of the largest elements to drop",
               .is_own = true,
               .standard = 0.01,
               .most = 1},
    [SCOPE] = {.name = "scope",
               .help = "what elements are ranked in: the tensor, or each row",
               .kind = TM_CHOICE,
               .most = 1,
               .choices = scopes},
};

static bool is_by_row(const struct tm_terms *terms)
{
    return terms->values[SCOPE] != 0 && tm_blend_thins_any(terms);
}

static enum tm_scope scope(const struct tm_terms *terms)
{
    return is_by_row(terms) ? TM_BY_ROW : TM_BY_ELEMENT;
}

static unsigned phases(const struct tm_terms *terms)
{
    if (is_by_row(terms))
        return tm_thin_phases(terms, terms->values[TM_BLEND_RESCALE] != 0);
    return tm_trim_phases(terms);
}

static struct tm_work_sizes sizes(const struct tm_terms *terms, uint64_t row,
                                  uint64_t plane)
{
    return is_by_row(terms) ? tm_thin_sizes(terms, row, plane)
                            : tm_trim_sizes(terms, 2);
}

static struct tm_band band_of(const struct tm_term *term, uint64_t n)
{
    return tm_band_of(term->values[TM_BLEND_DENSITY], term->values[GAMMA], n);
}

static void thin(const struct tm_work *work, const struct tm_strip *strip,
                 size_t term)
{
    tm_band_thin(strip, term, band_of(&work->terms->terms[term], strip->n));
}

static void set_wanted(struct tm_work *work)
{
    for (uint32_t i = 0; i < work->terms->count; i++) {
        struct tm_band band = band_of(&work->terms->terms[i], work->elements);

        work->selects[2 * i].wanted = band.end;
        work->selects[2 * i + 1].wanted = band.begin;
    }
}

static void measure(const struct tm_work *work, const struct tm_strip *strip)
{
    if (is_by_row(work->terms))
        tm_thin_measure(work, strip, thin);
    else
        tm_trim_measure(work, strip, 2);
}

static const char *conclude(struct tm_work *work)
{
    if (is_by_row(work->terms) || !tm_blend_thins_any(work->terms)) {
        tm_thin_conclude(work);
        return NULL;
    }
    if (work->phase == 0)
        set_wanted(work);
    tm_trim_conclude(work, 2);
    return NULL;
}

static void count(const struct tm_work *work, const struct tm_strip *strip)
{
    if (!is_by_row(work->terms))
        tm_trim_count(work, strip, 2);
}

static void keep(const struct tm_work *work, const struct tm_strip *strip)
{
    if (is_by_row(work->terms))
        tm_thin_apply(work, strip, thin);
    else
        tm_trim_apply(work, strip, 2);
}

static void apply_sum(const struct tm_work *work, const struct tm_strip *strip,
                      float *out)
{
    keep(work, strip);
    tm_blend_sum(work, strip, out);
}

static void apply_vote(const struct tm_work *work, const struct tm_strip *strip,
                       float *out)
{
    keep(work, strip);
    tm_blend_vote(work, strip, out);
}

#define SHARED                                                                 \
    .family = TM_THRESHOLD, .base = TM_BASE_NEEDED, .view = TM_DIFFERENCES,    \
    .least = 1, .skips_zero = true, .phases = phases, .scope = scope,          \
    .sizes = sizes, .measure = measure, .conclude = conclude, .count = count

const struct tm_method tm_method_breadcrumbs = {
    .name = "breadcrumbs",
    .help = "vectors without their largest and smallest elements, added up",
    .source = "Davari and Belilovsky, ECCV 2024",
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters),
    SHARED,
    .apply = apply_sum,
    .is_sum = tm_blend_is_whole,
};

const struct tm_method tm_method_breadcrumbs_ties = {
    .name = "breadcrumbs_ties",
    .help = "vectors without their largest and smallest elements, averaged "
            "where signs agree",
    .source = "Davari and Belilovsky, ECCV 2024; Yadav et al., NeurIPS 2023",
    .most = TM_VOTE_MOST,
    TM_PARAMETERS(parameters),
    SHARED,
    .apply = apply_vote,
};
