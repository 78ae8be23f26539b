/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/trim_model.h"

#include "kernels/strip.h"

unsigned tm_trim_model_phases(const struct tm_terms *terms)
{
    return terms->values[TM_BLEND_RESCALE] != 0 ? 2 : 1;
}

struct tm_work_sizes tm_trim_model_sizes(const struct tm_terms *terms)
{
    const size_t count = terms->count;

    return (struct tm_work_sizes){.sums = 2 * count,
                                  .counts = count * TM_HIGH_BINS,
                                  .numbers = count,
                                  .selects = count};
}

/* What is kept of the tensor: upper bits from the threshold's on. */
static void measure_sums(const struct tm_work *work,
                         const struct tm_strip *strip, uint32_t i)
{
    const uint32_t high = work->selects[i].high;
    double *kept = strip->sums[work->terms->count + i];

    tm_strip_sum_magnitudes(strip->isa, strip->x[i], strip->n, strip->sums[i]);
    if (high > 0)
        tm_strip_sum_above(strip->isa, strip->x[i], strip->n, high - 1, kept);
    else
        tm_strip_sum_magnitudes(strip->isa, strip->x[i], strip->n, kept);
}

void tm_trim_model_measure(const struct tm_work *work,
                           const struct tm_strip *strip)
{
    for (uint32_t i = 0; i < work->terms->count; i++)
        if (work->phase == 0) /* also where all of it is kept */
            tm_select_high(strip->isa, strip->x[i], strip->n,
                           strip->counts + i * TM_HIGH_BINS);
        else if (tm_blend_thins(&work->terms->terms[i]))
            measure_sums(work, strip, i);
}

/* All elements from the lower edge of a bin on, at least one. */
static void find_edge(const uint64_t *counts, struct tm_select *select)
{
    uint64_t above = 0;
    uint32_t bin = TM_HIGH_BINS;

    while (bin > 0 && above < select->wanted)
        above += counts[--bin];
    /* `above` is now as many as are wanted or more; without the last bin it
     * would be fewer, which may be nearer. */
    if (bin < TM_HIGH_BINS && above > counts[bin] &&
        select->wanted - (above - counts[bin]) < above - select->wanted)
        above -= counts[bin++];
    select->high = bin;
    select->bits = bin << 16;
    select->above = above;
    select->quota = UINT64_MAX;
    select->equal = UINT64_MAX;
}

void tm_trim_model_conclude(struct tm_work *work)
{
    const uint32_t count = work->terms->count;

    tm_blend_start(work);
    for (uint32_t i = 0; i < count; i++) {
        if (!tm_blend_thins(&work->terms->terms[i]))
            continue;
        if (work->phase == 0)
            find_edge(work->counts + i * TM_HIGH_BINS, &work->selects[i]);
        else
            work->numbers[i] =
                tm_blend_rescale(work->sums[i], work->sums[count + i]);
    }
}
