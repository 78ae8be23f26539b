/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/thin.h"

#include "kernels/strip.h"

unsigned tm_thin_phases(const struct tm_terms *terms, bool rescales)
{
    return rescales && tm_blend_thins_any(terms) ? 1 : 0;
}

struct tm_work_sizes tm_thin_sizes(const struct tm_terms *terms, uint64_t row,
                                   uint64_t plane)
{
    (void)row;
    (void)plane;
    return (struct tm_work_sizes){.sums = 2 * (size_t)terms->count,
                                  .numbers = terms->count};
}

void tm_thin_measure(const struct tm_work *work, const struct tm_strip *strip,
                     tm_thin *thin)
{
    for (uint32_t i = 0; i < work->terms->count; i++) {
        if (!tm_blend_thins(&work->terms->terms[i]))
            continue;
        tm_strip_sum_magnitudes(strip->isa, strip->x[i], strip->n,
                                strip->sums[2 * i]);
        thin(work, strip, i);
        tm_strip_sum_magnitudes(strip->isa, strip->x[i], strip->n,
                                strip->sums[2 * i + 1]);
    }
}

void tm_thin_conclude(struct tm_work *work)
{
    const struct tm_method *method = work->method;

    tm_blend_start(work);
    if (tm_method_is_sum(method, work->terms))
        tm_blend_conclude_sum(work);
    else if (tm_method_phases(method, work->terms) > 0)
        for (uint32_t i = 0; i < work->terms->count; i++)
            if (tm_blend_thins(&work->terms->terms[i]))
                work->numbers[i] =
                    tm_blend_rescale(work->sums[2 * i], work->sums[2 * i + 1]);
}

void tm_thin_apply(const struct tm_work *work, const struct tm_strip *strip,
                   tm_thin *thin)
{
    tm_blend_drop(work, strip);
    for (uint32_t i = 0; i < work->terms->count; i++)
        if (tm_blend_thins(&work->terms->terms[i]))
            thin(work, strip, i);
}
