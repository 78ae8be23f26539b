/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/varied.h"

#include <string.h>

#include "kernels/strip.h"

enum { HIGH, LOW, SQUARES };

/* Behind the histogram of upper bits: how many elements vary. */
#define VARYING TM_HIGH_BINS

_Static_assert(VARYING < TM_VARIED_COUNTS, "there is room behind it");

static float *variance(const struct tm_work *work, const struct tm_strip *strip)
{
    float *out = strip->spare[0];

    tm_strip_variance(strip->isa, (const float *const *)strip->x,
                      work->terms->count, strip->n, out);
    return out;
}

/* Of what varies more than the threshold, and of what varies as much. */
static void measure_squares(const struct tm_work *work,
                            const struct tm_strip *strip, const float *v)
{
    const float least = tm_select_value(&work->selects[0]);

    for (uint32_t k = 0; k < work->terms->count; k++)
        tm_strip_sum_squares_by(strip->isa, strip->x[k], v, strip->n, least,
                                strip->sums[2 * k], strip->sums[2 * k + 1]);
}

void tm_varied_measure(const struct tm_work *work, const struct tm_strip *strip)
{
    const struct tm_select *select = &work->selects[0];
    const float *v;

    if (work->phase != HIGH && select->wanted == 0)
        return;
    v = variance(work, strip);
    if (work->phase == HIGH) {
        tm_select_high(strip->isa, v, strip->n, strip->counts);
        strip->counts[VARYING] +=
            (uint32_t)tm_strip_count_nonzero(strip->isa, v, strip->n);
    } else if (work->phase == LOW) {
        tm_select_low(strip->isa, v, strip->n, select->high, strip->counts);
    } else {
        measure_squares(work, strip, v);
    }
}

static void conclude_squares(struct tm_work *work)
{
    const struct tm_select *select = &work->selects[0];
    double share = 0;

    if (select->wanted > 0 && select->equal > 0)
        share = (double)select->quota / (double)select->equal;
    for (uint32_t k = 0; k < work->terms->count; k++)
        work->numbers[k] = work->sums[2 * k] + share * work->sums[2 * k + 1];
}

void tm_varied_conclude(struct tm_work *work, double fraction)
{
    struct tm_select *select = &work->selects[0];

    if (work->phase == HIGH)
        select->wanted = (uint64_t)((double)work->counts[VARYING] * fraction);
    if (work->phase == SQUARES)
        conclude_squares(work);
    else if (select->wanted == 0)
        return;
    else if (work->phase == HIGH)
        tm_select_find_high(work->counts, select);
    else
        tm_select_find_low(work->counts, select);
}

void tm_varied_count(const struct tm_work *work, const struct tm_strip *strip)
{
    if (work->selects[0].wanted > 0)
        strip->ties[0] += tm_select_equal(strip->isa, variance(work, strip),
                                          strip->n, &work->selects[0]);
}

void tm_varied_apply(const struct tm_work *work, const struct tm_strip *strip)
{
    const struct tm_select *select = &work->selects[0];
    const float *v = variance(work, strip);
    const uint64_t before = strip->ties[0];

    for (uint32_t k = 0; k < work->terms->count; k++) {
        strip->ties[0] = before; /* the same ones of every term */
        if (select->wanted > 0)
            tm_select_apply_by(strip->isa, v, strip->x[k], strip->n, select,
                               true, &strip->ties[0]);
        else
            memset(strip->x[k], 0, strip->n * sizeof(float));
    }
}
