/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model Stock (Jang et al., "Model Stock: all we need is just a few fine-tuned
 * models", ECCV 2024, section 4.2): with c the mean cosine between the vectors
 * of N fine-tunes, pair by pair,
 *
 *     r = N c / (1 + (N - 1) c)
 *     out = base + r * mean of t_i
 *
 * for a tensor as a whole, or row by row (`filter_wise`). Lengths, and what r
 * is divided by, count as zero below 1e-6, as in mergekit.
 */
#include "src/methods/methods.h"

#include <math.h>
#include <string.h>

#include "kernels/strip.h"
#include "src/methods/gram.h"

#define NOTHING 1e-6

enum { FILTER_WISE };

static const struct tm_parameter parameters[] = {
    [FILTER_WISE] = {.name = "filter_wise",
                     .help = "decide for each row on its own",
                     .kind = TM_FLAG,
                     .most = 1},
};

static bool is_sum(const struct tm_terms *terms)
{
    return terms->values[FILTER_WISE] == 0;
}

static unsigned phases(const struct tm_terms *terms)
{
    return is_sum(terms);
}

static enum tm_scope scope(const struct tm_terms *terms)
{
    return is_sum(terms) ? TM_BY_ELEMENT : TM_BY_ROW;
}

/* The cosine between two vectors, from their inner products. */
static double cosine(double square_a, double dot, double square_b)
{
    double c = dot / fmax(sqrt(square_a) * sqrt(square_b), NOTHING);

    return fmax(-1, fmin(c, 1));
}

/* The factor of each vector: r / N, from the sum of all cosines. */
static double share(size_t count, double cosines)
{
    const double n = (double)count;
    const double c = count > 1 ? cosines / (n * (n - 1) / 2) : 1;
    const double divisor = 1 + (n - 1) * c;

    return fabs(divisor) < NOTHING ? 0 : c / divisor;
}

/* --- the tensor as a whole -----------------------------------------------*/

static const char *conclude(struct tm_work *work)
{
    const size_t count = work->terms->count;
    double cosines = 0;

    if (!is_sum(work->terms))
        return NULL;
    for (size_t i = 0; i < count; i++)
        for (size_t j = i + 1; j < count; j++)
            cosines += cosine(tm_gram_dot(work, i, i), tm_gram_dot(work, i, j),
                              tm_gram_dot(work, j, j));
    for (size_t i = 0; i < count; i++)
        work->numbers[i] = share(count, cosines);
    return NULL;
}

/* --- a row ---------------------------------------------------------------*/

static double row_cosine(const struct tm_strip *strip, size_t i, size_t j)
{
    double products[3];

    tm_gram_pair(strip, i, j, products);
    return cosine(products[0], products[1], products[2]);
}

static void apply(const struct tm_work *work, const struct tm_strip *strip,
                  float *out)
{
    const size_t count = work->terms->count;
    double cosines = 0;

    for (size_t i = 0; i < count; i++)
        for (size_t j = i + 1; j < count; j++)
            cosines += row_cosine(strip, i, j);
    for (size_t i = 0; i < count; i++)
        tm_strip_add(strip->isa, out, strip->x[i], strip->n,
                     (float)share(count, cosines), i == 0);
}

const struct tm_method tm_method_model_stock = {
    .name = "model_stock",
    .help = "mean of fine-tunes, drawn to the base by the angle between them",
    .source = "Jang et al., ECCV 2024",
    .family = TM_GRAM,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 2,
    .most = SIZE_MAX,
    TM_PARAMETERS(parameters),
    .phases = phases,
    .scope = scope,
    .sizes = tm_gram_sizes,
    .measure = tm_gram_measure,
    .conclude = conclude,
    .apply = apply,
    .is_sum = is_sum,
};
