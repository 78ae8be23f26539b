/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DELLA (Deep et al., "DELLA-Merging: reducing interference in model merging
 * through magnitude-based sampling", 2024, section 3): as DARE, but the larger
 * an element is among those of its row, the likelier it is kept. Of n elements
 * the one of rank r, from 0 for the smallest, is kept with the chance
 *
 *     p = density - epsilon + 2 epsilon r / (n - 1)
 *
 * The paper divides what is kept by its p (`rescale_by_density`); mergekit
 * since 0.1 scales each tensor to the sum of magnitudes it had (`rescale`).
 */
#include "src/methods/methods.h"

#include "kernels/chance.h"
#include "kernels/row.h"
#include "src/methods/dither.h"
#include "src/methods/thin.h"

/* What rounding may do to sums like 0.7 + 0.3. */
#define ROUNDING 1e-12

enum { EPSILON = TM_BLEND_MORE, BY_DENSITY };

/* della normalises, della_linear does not. */
#define TABLE(normalizes)                                                      \
    TM_BLEND_TABLE(normalizes, 1),                                             \
        [EPSILON] = {.name = "epsilon",                                        \
                     .help = "how far chances go from the density",            \
                     .is_own = true,                                           \
                     .standard = 0.15,                                         \
                     .most = 1},                                               \
        [BY_DENSITY] = TM_BLEND_BY_DENSITY

static const struct tm_parameter parameters[] = {TABLE(1)};
static const struct tm_parameter parameters_linear[] = {TABLE(0)};

static unsigned phases(const struct tm_terms *terms)
{
    return tm_thin_phases(terms, terms->values[TM_BLEND_RESCALE] != 0 &&
                                     terms->values[BY_DENSITY] == 0);
}

static enum tm_scope scope(const struct tm_terms *terms)
{
    return tm_blend_thins_any(terms) ? TM_BY_ROW : TM_BY_ELEMENT;
}

static const char *check(const struct tm_terms *terms)
{
    for (uint32_t i = 0; i < terms->count; i++) {
        const double density = terms->terms[i].values[TM_BLEND_DENSITY];
        const double epsilon = terms->terms[i].values[EPSILON];

        if (!tm_blend_thins(&terms->terms[i]))
            continue;
        if (density - epsilon <= ROUNDING)
            return "'epsilon': density - epsilon, the least chance of an "
                   "element to be kept, is not above 0";
        if (density + epsilon > 1 + ROUNDING)
            return "'epsilon': density + epsilon, the largest chance of an "
                   "element to be kept, is above 1";
    }
    return NULL;
}

/* Divides what is kept by the chance that it had, which takes every rank. */
static void thin_divided(const struct tm_strip *strip, struct tm_chance chance,
                         float *number, uint32_t *rank, float *x)
{
    tm_row_rank(strip->isa, x, strip->n, rank, strip->scratch);
    for (size_t i = 0; i < strip->n; i++) {
        float p = (float)(chance.least + chance.step * rank[i]);

        x[i] = number[i] < p ? x[i] / p : 0;
    }
}

/* The only element of a row is neither large nor small. */
static struct tm_chance chance_of(const double *values, size_t n)
{
    const double density = values[TM_BLEND_DENSITY];
    const double epsilon = values[EPSILON];

    if (n == 1)
        return (struct tm_chance){density - epsilon + epsilon, 0};
    return (struct tm_chance){density - epsilon, 2 * epsilon / (double)(n - 1)};
}

static void thin(const struct tm_work *work, const struct tm_strip *strip,
                 size_t term)
{
    const struct tm_chance chance =
        chance_of(work->terms->terms[term].values, strip->n);
    uint32_t *rank = (void *)strip->spare[0];
    float *number = strip->spare[1];
    float *x = strip->x[term];

    tm_mask_uniform(strip->isa, tm_mask_for(work, term), strip->first, strip->n,
                    number);
    if (work->terms->values[BY_DENSITY] != 0)
        thin_divided(strip, chance, number, rank, x);
    else
        tm_chance_drop(strip->isa, chance, x, strip->n, number, rank,
                       strip->scratch);
}

static void measure(const struct tm_work *work, const struct tm_strip *strip)
{
    tm_thin_measure(work, strip, thin);
}

static const char *conclude(struct tm_work *work)
{
    tm_thin_conclude(work);
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

#define SHARED                                                                 \
    .source = "Deep et al., 2024", .family = TM_THRESHOLD,                     \
    .base = TM_BASE_NEEDED, .view = TM_DIFFERENCES, .least = 1,                \
    .is_random = true, .skips_zero = true, .phases = phases, .scope = scope,   \
    .check = check, .sizes = tm_thin_sizes, .measure = measure,                \
    .conclude = conclude

const struct tm_method tm_method_della = {
    .name = "della",
    .help = "vectors thinned out by rank and chance, averaged where signs "
            "agree",
    .most = TM_VOTE_MOST,
    TM_PARAMETERS(parameters),
    SHARED,
    .apply = apply_vote,
};

const struct tm_method tm_method_della_linear = {
    .name = "della_linear",
    .help = "vectors thinned out by rank and chance, added up",
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters_linear),
    SHARED,
    .apply = apply_sum,
    .is_sum = tm_blend_is_whole,
};
