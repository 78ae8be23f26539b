/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/trim.h"

#include <string.h>

#include "kernels/strip.h"

static bool rescales(const struct tm_work *work)
{
    return work->terms->values[TM_BLEND_RESCALE] != 0;
}

unsigned tm_trim_phases(const struct tm_terms *terms)
{
    return tm_blend_thins_any(terms) ? 2 : 0;
}

struct tm_work_sizes tm_trim_sizes(const struct tm_terms *terms,
                                   size_t per_term)
{
    const size_t selects = terms->count * per_term;
    struct tm_work_sizes sizes = {.numbers = 2 * (size_t)terms->count};

    if (tm_blend_thins_any(terms)) {
        sizes.sums = selects;
        sizes.counts = selects * TM_LOW_BINS;
        sizes.selects = selects;
    }
    return sizes;
}

static void measure_high(const struct tm_work *work,
                         const struct tm_strip *strip, size_t i)
{
    tm_select_high(strip->isa, strip->x[i], strip->n,
                   strip->counts + i * TM_HIGH_BINS);
    if (rescales(work))
        tm_strip_sum_magnitudes(strip->isa, strip->x[i], strip->n,
                                strip->sums[i]);
}

static void measure_low(const struct tm_work *work,
                        const struct tm_strip *strip, size_t i, size_t s)
{
    const struct tm_select *select = &work->selects[s];

    if (select->wanted == 0)
        return;
    tm_select_low(strip->isa, strip->x[i], strip->n, select->high,
                  strip->counts + s * TM_LOW_BINS);
    if (rescales(work))
        tm_strip_sum_above(strip->isa, strip->x[i], strip->n, select->high,
                           strip->sums[s]);
}

void tm_trim_measure(const struct tm_work *work, const struct tm_strip *strip,
                     size_t per_term)
{
    for (uint32_t i = 0; i < work->terms->count; i++) {
        if (!tm_blend_thins(&work->terms->terms[i]))
            continue;
        if (work->phase == 0)
            measure_high(work, strip, i);
        else
            for (size_t s = i * per_term; s < (i + 1) * per_term; s++)
                measure_low(work, strip, i, s);
    }
}

/* --- what follows --------------------------------------------------------*/

static double magnitude(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* The sum of the magnitudes that a selection selects. */
static double sum_selected(const struct tm_work *work, size_t s)
{
    const struct tm_select *select = &work->selects[s];
    const uint64_t *counts = work->counts + s * TM_LOW_BINS;
    double sum = 0;

    if (select->wanted == 0)
        return 0;
    for (uint32_t low = TM_LOW_BINS - 1; low > (select->bits & 0xffff); low--)
        if (counts[low] != 0)
            sum += (double)counts[low] * magnitude(select->high << 16 | low);
    sum += (double)select->quota * magnitude(select->bits);
    return sum + work->sums[s];
}

static void conclude_high(struct tm_work *work, size_t i, size_t per_term)
{
    for (size_t s = i * per_term; s < (i + 1) * per_term; s++)
        if (work->selects[s].wanted > 0)
            tm_select_find_high(work->counts + i * TM_HIGH_BINS,
                                &work->selects[s]);
    work->numbers[work->terms->count + i] = work->sums[i];
}

static void conclude_low(struct tm_work *work, size_t i, size_t per_term)
{
    const size_t first = i * per_term;
    double after;

    for (size_t s = first; s < first + per_term; s++)
        if (work->selects[s].wanted > 0)
            tm_select_find_low(work->counts + s * TM_LOW_BINS,
                               &work->selects[s]);
    if (!rescales(work))
        return;
    after = sum_selected(work, first);
    if (per_term > 1)
        after -= sum_selected(work, first + 1);
    work->numbers[i] =
        tm_blend_rescale(work->numbers[work->terms->count + i], after);
}

void tm_trim_conclude(struct tm_work *work, size_t per_term)
{
    if (work->phase == 0)
        tm_blend_start(work);
    for (uint32_t i = 0; i < work->terms->count; i++) {
        if (!tm_blend_thins(&work->terms->terms[i]))
            continue;
        if (work->phase == 0)
            conclude_high(work, i, per_term);
        else
            conclude_low(work, i, per_term);
    }
}

void tm_trim_count(const struct tm_work *work, const struct tm_strip *strip,
                   size_t per_term)
{
    for (uint32_t i = 0; i < work->terms->count; i++) {
        if (!tm_blend_thins(&work->terms->terms[i]))
            continue;
        for (size_t s = i * per_term; s < (i + 1) * per_term; s++)
            if (work->selects[s].wanted > 0)
                strip->ties[s] += tm_select_equal(strip->isa, strip->x[i],
                                                  strip->n, &work->selects[s]);
    }
}

/*
 * The larger selection first: an element that is equal to the thresholds of
 * both still counts for the smaller one as long as that has some quota left.
 */
void tm_trim_apply(const struct tm_work *work, const struct tm_strip *strip,
                   size_t per_term)
{
    tm_blend_drop(work, strip);
    for (uint32_t i = 0; i < work->terms->count; i++) {
        if (!tm_blend_thins(&work->terms->terms[i]))
            continue;
        for (size_t s = i * per_term; s < (i + 1) * per_term; s++)
            if (work->selects[s].wanted > 0)
                tm_select_apply(strip->isa, strip->x[i], strip->n,
                                &work->selects[s], s == i * per_term,
                                &strip->ties[s]);
    }
}
