/* SPDX-License-Identifier: Apache-2.0 */
/*
 * varied: the elements in which a tensor's inputs vary most, as many as a
 * fraction of those in which they vary at all; exactly (kernels/select.h), in
 * two phases, and in a third the sums of squares of what was found.
 *
 * Which of several elements of equal variance belong is decided by their
 * order, which only tm_varied_apply knows; the sums of squares count all of
 * them, by the share of them that belongs.
 *
 * One selection; sums: two for each term; counts: TM_VARIED_COUNTS.
 */
#ifndef TM_SRC_METHODS_VARIED_H
#define TM_SRC_METHODS_VARIED_H

#include "src/method.h"

#define TM_VARIED_PHASES 3
#define TM_VARIED_COUNTS TM_LOW_BINS

void tm_varied_measure(const struct tm_work *work,
                       const struct tm_strip *strip);

/*
 * After phase 0 and 1, and 2: then work->numbers[i] is the sum of the squares
 * of what was found of term i.
 */
void tm_varied_conclude(struct tm_work *work, double fraction);

void tm_varied_count(const struct tm_work *work, const struct tm_strip *strip);

/* Zeros all else in strip->x. */
void tm_varied_apply(const struct tm_work *work, const struct tm_strip *strip);

#endif
