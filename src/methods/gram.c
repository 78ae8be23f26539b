/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/gram.h"

#include <math.h>

#include "kernels/strip.h"

struct tm_work_sizes tm_gram_sizes(const struct tm_terms *terms, uint64_t row,
                                   uint64_t plane)
{
    const size_t k = terms->count;

    (void)row;
    (void)plane;
    return (struct tm_work_sizes){.sums = k * (k + 1) / 2, .numbers = k};
}

void tm_gram_measure(const struct tm_work *work, const struct tm_strip *strip)
{
    tm_strip_dots(strip->isa, (const float *const *)strip->x,
                  work->terms->count, strip->n, strip->sums);
}

/* Lanes are added in the order the engine adds them in. */
void tm_gram_pair(const struct tm_strip *strip, size_t i, size_t j,
                  double products[3])
{
    const float *const pair[2] = {strip->x[i], strip->x[j]};
    double lanes[3][TM_LANES] = {{0}};

    tm_strip_dots(strip->isa, pair, 2, strip->n, lanes);
    for (size_t p = 0; p < 3; p++) {
        const double *l = lanes[p];

        products[p] =
            ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
    }
}

double tm_gram_dot(const struct tm_work *work, size_t i, size_t j)
{
    const size_t k = work->terms->count;

    return work->sums[i <= j ? tm_pair(k, i, j) : tm_pair(k, j, i)];
}

double tm_gram_norm(const struct tm_work *work, size_t i)
{
    return sqrt(tm_gram_dot(work, i, i));
}

double tm_gram_square(const struct tm_work *work, const double *c)
{
    const size_t k = work->terms->count;
    double sum = 0;

    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++)
            sum += c[i] * c[j] * tm_gram_dot(work, i, j);
    return sum > 0 ? sum : 0;
}
