/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/columns.h"

void tm_columns_measure(const struct tm_strip *strip, uint64_t count)
{
    uint64_t column = strip->first % count;

    for (size_t i = 0; i < strip->n; i++) {
        double(*sums)[TM_LANES] = strip->sums + TM_COLUMN_SUMS * column;
        const size_t lane = (strip->first + i) % TM_LANES;
        const double x = strip->x[0][i];
        const double y = strip->x[1][i];

        sums[0][lane] += x * x;
        sums[1][lane] += x * y;
        sums[2][lane] += y * y;
        column = column + 1 < count ? column + 1 : 0;
    }
}

void tm_columns_add(const struct tm_strip *strip, uint64_t count,
                    const double *numbers, float *out)
{
    uint64_t column = strip->first % count;

    for (size_t i = 0; i < strip->n; i++) {
        const float x = (float)numbers[2 * column] * strip->x[0][i];
        const float y = (float)numbers[2 * column + 1] * strip->x[1][i];

        out[i] = x + y;
        column = column + 1 < count ? column + 1 : 0;
    }
}
