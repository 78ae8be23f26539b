/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/pivot.h"

#include <float.h>
#include <math.h>

void tm_pivot_choose(struct tm_work *work)
{
    const struct tm_terms *terms = work->terms;
    double sum = 0;

    if (work->pivot != TM_NO_COLUMN || terms->count == 0)
        return;
    for (uint32_t i = 0; i < terms->count; i++)
        sum += work->numbers[i];
    /* Quotients and their sum are each off by half a unit at most; what gives
     * the coefficients of karcher by some more. */
    if (fabs(sum - 1) <= 16 * DBL_EPSILON * terms->count)
        work->pivot = terms->terms[0].column;
}
