/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NuSlerp (mergekit): two models, or the task vectors of two models, and the
 * point on the arc between them (arc.h) at the fraction of the weights
 * that is the second's. An arc for the tensor as a whole (nuslerp_flatten), or
 * for each row along the last dimension, or for each column along the first
 * (nuslerp_row_wise, as mergekit calls it). A tensor of one dimension is one
 * row, and one column.
 */
#include "src/methods/methods.h"

#include <math.h>

#include "kernels/strip.h"
#include "src/methods/arc.h"
#include "src/methods/columns.h"
#include "src/methods/gram.h"
#include "src/methods/pivot.h"

enum { WEIGHT, FLATTEN, ROW_WISE };

static const struct tm_parameter parameters[] = {
    [WEIGHT] = {.name = "weight",
                .help = "share of a model, with that of the other",
                .is_own = true,
                .is_required = true,
                TM_ANY_NUMBER},
    [FLATTEN] = {.name = "nuslerp_flatten",
                 .help = "take a tensor as one vector",
                 .kind = TM_FLAG,
                 .standard = 1,
                 .most = 1},
    [ROW_WISE] = {.name = "nuslerp_row_wise",
                  .help = "if not: as vectors along the first dimension, "
                          "instead of the last",
                  .kind = TM_FLAG,
                  .most = 1},
};

static bool is_sum(const struct tm_terms *terms)
{
    return terms->values[FLATTEN] != 0;
}

static bool is_by_column(const struct tm_terms *terms)
{
    return !is_sum(terms) && terms->values[ROW_WISE] != 0;
}

static unsigned phases(const struct tm_terms *terms)
{
    return is_sum(terms) || is_by_column(terms);
}

static enum tm_scope scope(const struct tm_terms *terms)
{
    return phases(terms) == 0 ? TM_BY_ROW : TM_BY_ELEMENT;
}

static struct tm_work_sizes sizes(const struct tm_terms *terms, uint64_t row,
                                  uint64_t plane)
{
    const size_t columns = is_by_column(terms) ? plane : 1;

    (void)row;
    return (struct tm_work_sizes){.sums = TM_COLUMN_SUMS * columns,
                                  .numbers = 2 * columns};
}

/* Columns that differ; a tensor of one dimension has but one. */
static uint64_t num_columns(const struct tm_work *work)
{
    return is_by_column(work->terms) && work->plane < work->elements
               ? work->plane
               : 1;
}

static void measure(const struct tm_work *work, const struct tm_strip *strip)
{
    if (num_columns(work) > 1)
        tm_columns_measure(strip, num_columns(work));
    else
        tm_gram_measure(work, strip);
}

static struct tm_arc arc_of(const struct tm_terms *terms,
                            const double *products)
{
    const double other = terms->terms[1].values[WEIGHT];
    const double sum = terms->terms[0].values[WEIGHT] + other;

    return tm_arc_between(products, fabs(sum) < 1e-6 ? 0.5 : other / sum);
}

static const char *conclude(struct tm_work *work)
{
    const uint64_t columns = phases(work->terms) ? num_columns(work) : 0;

    for (uint64_t i = 0; i < columns; i++) {
        struct tm_arc arc =
            arc_of(work->terms, work->sums + TM_COLUMN_SUMS * i);

        work->numbers[2 * i] = arc.first;
        work->numbers[2 * i + 1] = arc.other;
    }
    if (is_sum(work->terms))
        tm_pivot_choose(work);
    return NULL;
}

/* The strip is a row. */
static void apply_row(const struct tm_work *work, const struct tm_strip *strip,
                      float *out)
{
    double products[TM_COLUMN_SUMS];
    struct tm_arc arc;

    tm_gram_pair(strip, 0, 1, products);
    arc = arc_of(work->terms, products);
    tm_strip_add(strip->isa, out, strip->x[0], strip->n, (float)arc.first,
                 true);
    tm_strip_add(strip->isa, out, strip->x[1], strip->n, (float)arc.other,
                 false);
}

static void apply(const struct tm_work *work, const struct tm_strip *strip,
                  float *out)
{
    if (is_by_column(work->terms))
        tm_columns_add(strip, num_columns(work), work->numbers, out);
    else
        apply_row(work, strip, out);
}

const struct tm_method tm_method_nuslerp = {
    .name = "nuslerp",
    .help = "spherical interpolation between two models or task vectors",
    .source = "mergekit",
    .family = TM_GRAM,
    .base = TM_BASE_OPTIONAL,
    .view = TM_DIFFERENCES,
    .least = 2,
    .most = 2,
    TM_PARAMETERS(parameters),
    .phases = phases,
    .scope = scope,
    .sizes = sizes,
    .measure = measure,
    .conclude = conclude,
    .apply = apply,
    .is_sum = is_sum,
};
