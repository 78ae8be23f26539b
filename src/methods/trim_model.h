/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trim_model: what ties keeps where each vector is trimmed as a whole, over
 * all tensors of the model, in one look at them: the elements from a magnitude
 * on whose upper 15 bits are such that their number comes nearest to what is
 * wanted. Of 8 bits of mantissa that is the resolution; all elements that are
 * equal to it are kept. Where `rescale` asks for it, the factors are measured
 * for each tensor, in a second phase.
 *
 * Used as src/methods/trim.h is, with one selection for each term.
 */
#ifndef TM_SRC_METHODS_TRIM_MODEL_H
#define TM_SRC_METHODS_TRIM_MODEL_H

#include "src/methods/blend.h"

unsigned tm_trim_model_phases(const struct tm_terms *terms);
struct tm_work_sizes tm_trim_model_sizes(const struct tm_terms *terms);
void tm_trim_model_measure(const struct tm_work *work,
                           const struct tm_strip *strip);
void tm_trim_model_conclude(struct tm_work *work);

#endif
