/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thin: dropping elements of task vectors where it needs no ranks in the
 * whole tensor: at random, or by ranks within a row. What is to be dropped is
 * found again in every phase; with `rescale` there is one beside the last, in
 * which magnitudes are added up before and after (src/methods/blend.h: f_i).
 */
#ifndef TM_SRC_METHODS_THIN_H
#define TM_SRC_METHODS_THIN_H

#include "src/methods/blend.h"

/* Zeros what is dropped of strip->x[term], whose density is inside (0, 1). */
typedef void tm_thin(const struct tm_work *work, const struct tm_strip *strip,
                     size_t term);

/* `rescales`: with the phase. */
unsigned tm_thin_phases(const struct tm_terms *terms, bool rescales);
struct tm_work_sizes tm_thin_sizes(const struct tm_terms *terms, uint64_t row,
                                   uint64_t plane);

void tm_thin_measure(const struct tm_work *work, const struct tm_strip *strip,
                     tm_thin *thin);

/* Sets f_i; 1 without the phase, and the coefficients where is_sum holds. */
void tm_thin_conclude(struct tm_work *work);

/* Thins every term, those too of which nothing is kept. */
void tm_thin_apply(const struct tm_work *work, const struct tm_strip *strip,
                   tm_thin *thin);

#endif
