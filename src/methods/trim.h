/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trim: what ties and breadcrumbs keep of each tensor: the elements whose rank
 * by magnitude is within a band, exactly (kernels/select.h), in two phases.
 *
 * A band is two selections, one inside the other: what the larger selects is
 * kept, what the smaller selects is dropped again. Where all that is asked
 * for is the largest, there is but one. Of term i they are
 *
 *     selects[i * per_term]        the larger; the smaller is the next
 *
 * and the method sets their `wanted` when phase 0 is over, before it calls
 * tm_trim_conclude (which it calls without phases, too). A selection that wants
 * nothing is left alone.
 *
 * With `rescale`, work->numbers[i] becomes mergekit's factor (blend.h);
 * the sums of magnitudes come from the same two phases: of upper bits above
 * the threshold's in the second phase, the rest from the histogram of lower
 * bits itself.
 */
#ifndef TM_SRC_METHODS_TRIM_H
#define TM_SRC_METHODS_TRIM_H

#include "src/methods/blend.h"

unsigned tm_trim_phases(const struct tm_terms *terms);

/* numbers: a factor for each term, then a sum of magnitudes. */
struct tm_work_sizes tm_trim_sizes(const struct tm_terms *terms,
                                   size_t per_term);

void tm_trim_measure(const struct tm_work *work, const struct tm_strip *strip,
                     size_t per_term);
void tm_trim_conclude(struct tm_work *work, size_t per_term);
void tm_trim_count(const struct tm_work *work, const struct tm_strip *strip,
                   size_t per_term);

/* Leaves of strip->x[i] what is kept, all or nothing too. */
void tm_trim_apply(const struct tm_work *work, const struct tm_strip *strip,
                   size_t per_term);

#endif
